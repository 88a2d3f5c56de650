"""What a script of the reading benchmark does: write the photographs in its own format, or read an epoch of them.

All give batches of BATCH_SIZE random resized crops of SIZE_PX, mirrored or not, as uint8 (n, 3, height, width), from
one process on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torchvision.transforms import v2

SIZE_PX, BATCH_SIZE = 224, 64
SHUFFLED = 1000
"""Samples that are shuffled together, where a reader must know."""
CROP_AND_FLIP = v2.Compose([v2.RandomResizedCrop(SIZE_PX), v2.RandomHorizontalFlip()])
PILLOW_TO_CROPS = v2.Compose([v2.RGB(), CROP_AND_FLIP, v2.PILToTensor()])
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}

Batches = Iterable[Any]
"""Of pixels and labels; each iteration is an epoch."""


def answer(write: Callable[[list[Path], Path], None], batches: Callable[[Path], Batches]) -> None:
    """Do what the command line asks; of reading, print the seconds of the second epoch by the clock asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=["write", "read"])
    parser.add_argument("photographs", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    asked = parser.parse_args()
    files = sorted(asked.photographs.glob("*.JPEG"))
    if asked.task == "write":
        write(files, asked.folder)
        print(json.dumps({"seconds": 0.0}))
        return
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    epochs = batches(asked.folder)
    _seconds(epochs, len(files), CLOCKS[asked.clock])  # the first one imports, opens and fills what others find
    print(json.dumps({"seconds": _seconds(epochs, len(files), CLOCKS[asked.clock])}))


def _seconds(epochs: Batches, images: int, clock: Callable[[], float]) -> float:
    start, count = clock(), 0
    for pixels, *_ in epochs:
        assert pixels.dtype == torch.uint8, pixels.dtype
        assert pixels.shape[1:] == (3, SIZE_PX, SIZE_PX), pixels.shape
        count += len(pixels)
    taken = clock() - start
    assert count == images, f"{count} of {images} images"
    return taken
