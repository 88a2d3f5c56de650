"""How much of an endpoint's speed is used, how fast stored answers come back, and both against Ray's processor."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import environments
import numpy as np
import pyarrow as pa
from measure import Metric, report, times_better

from reinforced.answers import Answer, AnswerStore
from reinforced.batch import Batch
from reinforced.images import encode_png
from reinforced.operators.caption.describe import CaptionDescribe

SERVER = Path(__file__).parents[1] / "tests" / "language_server.py"
LATENCY_S = 0.1


@contextmanager
def serving(latency_s: float) -> Iterator[str]:
    """Start an endpoint in a process of its own and yield its address."""
    command = [sys.executable, str(SERVER), "--latency_s", str(latency_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin and server.stdout
        yield server.stdout.readline().strip()
        server.stdin.close()


def images(count: int) -> pa.Table:
    """Return rows with different images of 32 px."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return pa.table({"key": [f"{i:06d}" for i in range(count)], "image": [encode_png(one) for one in pixels]})


def described(url: str, cache: Path, concurrency: int) -> CaptionDescribe:
    """Return the operator, ready."""
    asked = {"cache": cache, "concurrency": concurrency}
    operator = CaptionDescribe.model_validate({"model": {"endpoint": url, "name": "small-eye"}, "requests": asked})
    operator.setup()
    return operator


def seconds(operator: CaptionDescribe, table: pa.Table) -> float:
    """Time a batch."""
    start = time.perf_counter()
    assert len(operator.apply(Batch(table))) == table.num_rows
    return time.perf_counter() - start


def share_of_ideal(url: str, folder: Path, concurrency: int, rounds: int) -> Metric:
    """Compare with requests x latency / concurrency, after one round that opens the connections."""
    table = images(concurrency * 12)
    best = 0.0
    for attempt in range(rounds):
        operator = described(url, folder / f"{concurrency}-{attempt}", concurrency)
        best = max(best, table.num_rows * LATENCY_S / concurrency / seconds(operator, table))
    return Metric(f"share_of_ideal_{concurrency}", best, "of 1", 1.0, best, "≥ 0.9")


def cached(folder: Path, rows: int) -> Metric:
    """Store answers to so many questions and time the operator over them, with the hashes of the images."""
    operator, table = described("http://127.0.0.1:9/v1", folder / "cached", 1), images(rows)
    (questions, _) = operator.questions(Batch(table))
    answer = Answer("A picture of nothing in particular, about as long as a caption is.", "stop", "m", 100, 20)
    identities = [operator.model.identify(row[0]) for row in questions]  # type: ignore[attr-defined]
    AnswerStore(folder / "cached").keep("a", [(identity, answer, 0.0) for identity in identities])
    rate = rows / min(seconds(operator, table) for _ in range(3))
    return Metric("cached_rows_per_s", rate, "rows/s", None, None, "≥ 20,000")


def against_ray(url: str, folder: Path, count: int) -> Metric:
    """Time Ray's processor, and ours with 32 requests at once, over the same images."""
    table, place = images(count), folder / "images"
    place.mkdir()
    for key, image in zip(table.column("key").to_pylist(), table.column("image").to_pylist(), strict=True):
        (place / f"{key}.png").write_bytes(image)
    ours = seconds(described(url, folder / "ours", 32), table)
    return times_better("vs_ray_http", environments.run("ray_http", url, place) / ours, "≥ 5")


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--rounds", type=int, default=3, help="the best of so many counts")
    parser.add_argument("--requests", type=int, default=256, help="requests against Ray's processor")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, serving(LATENCY_S) as url:
        folder = Path(name)
        metrics = [share_of_ideal(url, folder, concurrency, arguments.rounds) for concurrency in (32, 128)]
        metrics += [cached(folder, 20_000), against_ray(url, folder, arguments.requests)]
    report("Captions from an endpoint that takes 100 ms", metrics, arguments.json)


if __name__ == "__main__":
    main()
