"""What a peer's script is asked to do, and how it answers: one JSON line."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """One piece of work: `filter` is decode + size filter; `hash` adds exact deduplication and a hash column."""

    task: str
    images: Path
    out: Path
    workers: int
    decoder: str
    min_side_px: int


def answer(work: Callable[[Job], float | None]) -> None:
    """Run the job on the command line and print its seconds: of the whole call, or what `work` says it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=["filter", "hash"])
    parser.add_argument("images", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--decoder", default="pillow")
    parser.add_argument("--min-side-px", type=int, default=64)
    job = Job(**vars(parser.parse_args()))
    start = time.perf_counter()
    said = work(job)
    seconds = time.perf_counter() - start if said is None else said
    print(json.dumps({"seconds": seconds}), file=sys.__stdout__)  # Data-Juicer sends sys.stdout to its log
