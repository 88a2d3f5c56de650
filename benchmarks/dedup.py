"""Deduplication: hashing against the peers, recall and false pairs, millions of hashes, SemDeDup against its parts."""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from environments import PEERS, interpreter, seconds_of
from measure import Metric, alternate, report
from PIL import Image
from workload import PHOTOGRAPHS

from reinforced import embeddings
from reinforced.batch import Batch
from reinforced.operators.dedup.semantic import DedupSemantic
from reinforced.perceptual_hash import Hashes, hamming, perceptual_hash

DISTANCE = 10
DIMENSIONS, COSINE = 512, 0.95
ENVIRONMENTS = {"reinforced": "reinforced", "imagededup": "imagededup", "data_juicer": "data_juicer_images"}


def hashing(rounds: int) -> list[Metric]:
    """CPU seconds of hashing the photographs from their files, each library in a process with one thread."""
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    script = str(PEERS / "phash.py")
    commands = {n: [interpreter(peer), script, n, str(PHOTOGRAPHS)] for n, peer in ENVIRONMENTS.items()}
    taken = alternate({name: lambda c=c: seconds_of(c) for name, c in commands.items()}, rounds)  # type: ignore[misc]
    count = len(list(PHOTOGRAPHS.iterdir()))
    rates = {name: count / seconds for name, seconds in taken.items()}
    best = max(rate for name, rate in rates.items() if name != "reinforced")
    ratio = rates["reinforced"] / best
    return [
        *(Metric(f"phash_images_per_cpu_s_{name}", rate, "images/s") for name, rate in rates.items()),
        Metric("phash_vs_best_peer", ratio, "times", best, ratio, "≥ 3"),
    ]


def copies(data: bytes) -> Iterator[bytes]:
    """Yield a photograph in other sizes, qualities and formats."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    width, height = picture.size
    settings: list[tuple[float, str, dict[str, int]]] = [
        *((1.0, "JPEG", {"quality": quality}) for quality in (20, 50, 90)),
        *((scale, "JPEG", {"quality": 80}) for scale in (0.25, 0.5, 0.75, 1.5)),
        (1.0, "WEBP", {"quality": 60}),
        (0.4, "PNG", {}),
    ]
    for scale, format, options in settings:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        buffer = io.BytesIO()
        picture.resize(size, Image.Resampling.LANCZOS).save(buffer, format, **options)
        yield buffer.getvalue()


def recall() -> list[Metric]:
    """Share of the copies found at 10 bits or less, and of the pairs of different photographs taken for copies."""
    photographs = [path.read_bytes() for path in sorted(PHOTOGRAPHS.iterdir())]
    hashes, _ = perceptual_hash(photographs, "phash")
    found = [hamming(perceptual_hash(list(copies(d)), "phash")[0], h) for d, h in zip(photographs, hashes, strict=True)]
    small = pq.read_table(PHOTOGRAPHS.parent / "cifar10" / "test.parquet", columns=["image"])
    tiny, _ = perceptual_hash(small.column("image").to_pylist(), "phash")
    return [
        Metric("phash_recall", float((np.concatenate(found) <= DISTANCE).mean()), "share", target="≥ 0.99"),
        Metric("phash_false_pair_rate", false_pairs(hashes), "share", target="< 1e-4"),
        Metric("phash_false_pair_rate_cifar", false_pairs(tiny), "share", target="< 1e-4"),
    ]


def false_pairs(hashes: Hashes) -> float:
    """Return the share of all pairs that are within the distance."""
    near = sum(int((hamming(hashes[i + 1 :], hashes[i]) <= DISTANCE).sum()) for i in range(len(hashes)))
    return near / (len(hashes) * (len(hashes) - 1) / 2)


def clustering(rows: int) -> list[Metric]:
    """Time and memory of clustering, in a process of its own."""
    script = str(Path(__file__).with_name("cluster_hashes.py"))
    done = subprocess.run([sys.executable, script, str(rows)], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    name = f"cluster_{rows // 10**6}m"
    return [
        Metric(f"{name}_seconds", found["seconds"], "s", target="< 600"),
        Metric(f"{name}_cpu_seconds", found["cpu_s"], "s"),
        Metric(f"{name}_peak_gb", found["peak_gb"], "GB", target="< 8"),
        Metric(f"{name}_recall", found["found"], "share", target="1"),
    ]


def vectors(rows: int) -> npt.NDArray[np.float32]:
    """Return unit vectors around 1,000 centres, a tenth of them copies of others with a little noise."""
    numbers = np.random.default_rng(0)
    centres = numbers.normal(size=(1000, DIMENSIONS)).astype(np.float32)
    found = centres[numbers.integers(0, 1000, rows)] + numbers.normal(size=(rows, DIMENSIONS)).astype(np.float32)
    twins, originals = np.split(numbers.permutation(rows)[: rows // 5], 2)
    noise = numbers.uniform(0.1, 0.7, (len(twins), 1)) * numbers.normal(size=(len(twins), DIMENSIONS))
    found[twins] = found[originals] + noise
    unit: npt.NDArray[np.float32] = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit


def bare(found: npt.NDArray[np.float32], clusters: int) -> set[int]:
    """Return the rows that SemDeDup removes: faiss's k-means in float32, then one whole matrix for each cluster.

    Seed and training rows are the operator's: which of two twins is farther from the centroid hangs on the centroid.
    """
    import faiss

    means = faiss.Kmeans(DIMENSIONS, clusters, niter=embeddings.ITERATIONS, seed=0, spherical=True)
    means.train(found[np.linspace(0, len(found) - 1, min(len(found), embeddings.POINTS * clusters)).astype(int)])
    near, cluster = (values[:, 0] for values in means.index.search(found, 1))
    return removed(found, cluster, near)


def removed(found: npt.NDArray[np.float32], cluster: npt.NDArray[Any], near: npt.NDArray[Any]) -> set[int]:
    """Return what SemDeDup removes, as its paper says it: the farthest first, a whole matrix a cluster."""
    gone: set[int] = set()
    for number in np.unique(cluster):
        rows = np.flatnonzero(cluster == number)
        rows = rows[np.argsort(near[rows], kind="stable")]
        gone.update(rows[np.triu(found[rows] @ found[rows].T, 1).max(0) > COSINE].tolist())
    return gone


def semantic(rows: int) -> list[Metric]:
    """The whole reduction of dedup.semantic, from sketches to verdicts, against k-means and the matrices alone."""
    import duckdb

    found, clusters = vectors(rows), round(rows**0.5)
    operator = DedupSemantic(embedding="embedding", min_similarity=COSINE, clusters=clusters)
    sketch = _sketch(operator, found)
    start = time.process_time()
    with duckdb.connect() as connection:
        dropped = operator.reduce(connection.from_arrow(sketch)).filter("reason IS NOT NULL").to_arrow_table()
    took, start = time.process_time() - start, time.process_time()
    expected = bare(found, clusters)
    alone = time.process_time() - start
    gone = set(dropped.column("row").to_pylist())
    cluster, near = embeddings.k_means(found.astype(np.float16), clusters, operator.seed)
    same_means = removed(found, cluster, near)
    return [
        Metric("semantic_agreement", _agreement(gone, same_means), "share", target="≥ 0.99"),
        Metric("semantic_agreement_k_means_in_float32", _agreement(gone, expected), "share"),
        Metric("semantic_vs_bare", alone / took, "times", 1.0, alone / took),
        Metric("semantic_cpu_s", took, "s", alone),
    ]


def _agreement(one: set[int], other: set[int]) -> float:
    return len(one & other) / len(one | other)


def _sketch(operator: DedupSemantic, found: npt.NDArray[Any]) -> pa.Table:
    rows = len(found)
    column = pa.FixedSizeListArray.from_arrays(pa.array(found.reshape(-1)), DIMENSIONS)
    sizes = pa.array([1] * rows, pa.int32())
    table = pa.table({operator.embedding: column, "width": sizes, "height": sizes})
    sketch = operator.sketch(Batch(table))
    keys = pa.array([f"{i:08d}" for i in range(rows)])
    made = {f.name: pa.array(sketch[f.name], f.type) for f in operator.sketch_schema()}
    return pa.table({"shard": pa.array(["0"] * rows), "row": pa.array(range(rows)), "key": keys} | made)


def main() -> None:
    """Run the parts that are asked for, all by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hashes", type=int, default=10_000_000, help="hashes to cluster")
    parser.add_argument("--vectors", type=int, default=1_000_000, help="embeddings of 512 dimensions")
    parser.add_argument("--only", choices=["hashing", "recall", "clustering", "semantic"])
    asked = parser.parse_args()
    parts: dict[str, Callable[[], list[Metric]]] = {
        "hashing": lambda: hashing(asked.rounds),
        "recall": recall,
        "clustering": lambda: clustering(asked.hashes),
        "semantic": lambda: semantic(asked.vectors),
    }
    metrics = [metric for name, part in parts.items() if asked.only in (None, name) for metric in part()]
    report("Deduplication", metrics, asked.json)


if __name__ == "__main__":
    main()
