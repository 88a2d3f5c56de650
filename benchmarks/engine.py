"""How fast the engine starts, moves images, schedules shards and scales: against Data-Juicer, datatrove and Ray Data.

Run it with `python benchmarks/engine.py` (all, about ten minutes), `--only start` for one part, `--images 2000` for a
smaller workload, `--json` for one object a line. The first run makes the peers' environments and the images.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import environments
import pyarrow.parquet as pq
import workload
import yaml
from measure import Metric, alternate, report, times_better

WORKERS = 2
SHARDS = 2000
OURS = "reinforced"


def start(rounds: int, images: int) -> list[Metric]:
    """Time ten images from a cold start of the process to its end: read a folder, filter by size, write."""
    folder, _ = workload.jpegs(10)
    seconds = alternate(
        {
            OURS: partial(_command, folder),
            "data_juicer": partial(_process, "data_juicer", folder),
            "datatrove": partial(_process, "datatrove", folder),
        },
        rounds,
    )
    peers = [peer for peer in seconds if peer != OURS]
    return [
        Metric("start_10_rows", seconds[OURS], "s", target="< 1.5"),
        *(Metric(f"start_10_rows_{peer}", seconds[peer], "s") for peer in peers),
        *(times_better(f"start_10_rows_vs_{peer}", seconds[peer] / seconds[OURS], ">= 5") for peer in peers),
    ]


def throughput(rounds: int, images: int) -> list[Metric]:
    """Time decode + size filter + exact deduplication + hash column; everyone must keep the same pictures."""
    peers = ("data_juicer", "datatrove", "ray_data")
    contestants = {OURS: _hashing(OURS, images)}
    contestants |= {peer: _hashing(peer, images) for peer in peers}
    contestants |= {f"{peer}_simplejpeg": _hashing(peer, images, decoder="simplejpeg") for peer in peers}
    rate = {name: images / seconds for name, seconds in alternate(contestants, rounds).items()}
    best = max(rate[peer] for peer in peers)
    best_same = max(value for name, value in rate.items() if name.endswith("_simplejpeg"))
    return [
        Metric("images_per_s", rate[OURS], "images/s", best, rate[OURS] / best),
        *(Metric(f"images_per_s_{name}", value, "images/s") for name, value in rate.items() if name != OURS),
        times_better("images_per_s_vs_best_peer", rate[OURS] / best, ">= 2"),
        times_better("images_per_s_vs_best_peer_same_decoder", rate[OURS] / best_same),
    ]


def scaling(rounds: int, images: int) -> list[Metric]:
    """Time the same work with two workers and with one."""
    seconds = alternate({"2 workers": _hashing(OURS, images), "1 worker": _hashing(OURS, images, workers=1)}, rounds)
    ratio = seconds["1 worker"] / seconds["2 workers"]
    return [
        Metric("images_per_s_1_worker", images / seconds["1 worker"], "images/s"),
        times_better("speedup_2_workers", ratio, ">= 1.8"),
    ]


def scheduling(rounds: int, images: int) -> list[Metric]:
    """Time shards through a segment that does nothing, and whole runs over as many shards of one row."""
    script = Path(__file__).with_name("schedule.py")

    def milliseconds(task: str, engine: str) -> float:
        with tempfile.TemporaryDirectory() as out:
            command = [sys.executable, str(script), task, engine, str(SHARDS), str(WORKERS), out]
            return 1000 * environments.seconds_of(command) / SHARDS

    taken = alternate(
        {
            f"{task} {engine}": partial(milliseconds, task, engine)
            for task in ("map", "run")
            for engine in ("local", "ray")
        },
        rounds,
    )
    return [
        Metric("ms_per_shard_local", taken["map local"], "ms", target="< 2"),
        Metric("ms_per_shard_ray", taken["map ray"], "ms", target="< 5"),
        Metric("ms_per_one_row_shard_local", taken["run local"], "ms"),
        Metric("ms_per_one_row_shard_ray", taken["run ray"], "ms"),
    ]


def _command(folder: Path) -> float:
    """Time our command line, as a user types it."""
    with tempfile.TemporaryDirectory() as out:
        pipeline = Path(out) / "ten.yaml"
        size = {"op": "filter.image", "min_side_px": workload.MIN_SIDE_PX}
        source = {"op": "read.images", "path": str(folder)}
        pipeline.write_text(yaml.safe_dump({"name": "ten", "out": f"{out}/ten", "source": source, "steps": [size]}))
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "reinforced", "run", pipeline], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start


def _process(peer: str, folder: Path) -> float:
    """Time a peer's process on the ten images, with one worker: ten images need no more."""
    with tempfile.TemporaryDirectory() as out:
        environments.interpreter(peer)
        start = time.perf_counter()
        environments.run(peer, "filter", folder, Path(out) / "out", "--workers", "1")
        return time.perf_counter() - start


def _hashing(peer: str, images: int, workers: int = WORKERS, decoder: str = "pillow") -> Callable[[], float]:
    folder, kept = workload.jpegs(images)
    options = ("--workers", str(workers), "--decoder", decoder)

    def measure() -> float:
        with tempfile.TemporaryDirectory(dir=workload.cache_folder()) as out:
            seconds = environments.run(peer, "hash", folder, Path(out) / "out", *options)
            _check(peer, Path(out) / "out", images, kept)
        return seconds

    return measure


def _check(peer: str, out: Path, images: int, kept: int) -> None:
    """Compare what a contestant kept with what everyone before it kept: the same pictures, none of them twice."""
    files = sorted(path for path in out.rglob("*.parquet") if "_runs" not in path.parts)
    hashes: list[str] = []
    encoded = 0
    for path in files:
        schema = pq.read_schema(path)
        if "pixel_sha256" in schema.names and ("rows" not in path.parts):
            hashes += pq.read_table(path, columns=["pixel_sha256"]).column(0).to_pylist()
        if "image" in schema.names:
            column = pq.read_table(path, columns=["image"]).column(0)
            encoded += len(column) - column.null_count
    if not len(hashes) == len(set(hashes)) == encoded == kept:
        raise RuntimeError(f"{peer}: {len(hashes)} hashes and {encoded} images of {kept} expected")
    expected = _HASHES.setdefault(images, set(hashes))
    if set(hashes) != expected:
        raise RuntimeError(f"{peer} kept other pictures than the ones before it")


_HASHES: dict[int, set[str]] = {}
PARTS = {"start": start, "throughput": throughput, "scaling": scaling, "scheduling": scheduling}


def main() -> None:
    """Run the parts asked for and print their numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run")
    parser.add_argument("--images", type=int, default=20_000, help="images of the workload")
    parser.add_argument("--rounds", type=int, default=3, help="measurements, of which the median counts")
    parser.add_argument("--json", action="store_true", help="print one object a line")
    asked = parser.parse_args()
    metrics = [metric for part in asked.only for metric in PARTS[part](asked.rounds, asked.images)]
    report("Engine, 2 cores", metrics, asked.json)


if __name__ == "__main__":
    main()
