"""What reinforcements take to store, read and make: python benchmarks/reinforce.py [--only PART] [--json]."""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core for everyone

import numpy as np
import pyarrow as pa
import torch
from measure import Metric, alternate, report, times_better
from pickles import read_pickle, write_pickles
from simulated import AUGMENT, CLASSES, photographs, reinforced_photographs
from torch.utils.data import DataLoader, IterableDataset
from workload import PHOTOGRAPHS

from reinforced import sparse
from reinforced.batch import Batch
from reinforced.epoch import EpochReader
from reinforced.images import decode
from reinforced.loader import ReinforcedStream
from reinforced.operators.reinforce import Reinforce

BATCH_SIZE, PICKLES = 64, 334
PUBLISHED_BYTES = 73.2
"""Bytes a reinforcement of the published ImageNet+ with random resized crop and RandAugment, 400 draws."""


@dataclass(frozen=True)
class Workload:
    """How many photographs, how many reinforcements of each, and how often each measurement is taken."""

    images: int
    draws: int
    rounds: int

    @property
    def dataset(self) -> str:
        return str(reinforced_photographs(self.images, self.draws))


Items = Iterator[tuple[torch.Tensor, Any]]


class Plain(IterableDataset[tuple[torch.Tensor, Any]]):
    """The loader anyone would write for the same crops: files, decoding, augmentation; and labels from `label_of`."""

    def __init__(self, reader: EpochReader, images: int, label_of: Callable[[int], tuple[Any, Any]] | None) -> None:
        self.augment, self.images, self.label_of = reader.reinforcement.augment, images, label_of
        self.files = sorted(PHOTOGRAPHS.glob("*.JPEG"))
        parameters, _ = reader.layers[0].read(0, reader.draw(0, 0))
        self.rows = [{name: values[row] for name, values in parameters.items()} for row in range(images)]

    def __iter__(self) -> Items:
        for row in range(self.images):
            parameters, label = (self.rows[row], row) if self.label_of is None else self.label_of(row)
            pixels = self.augment.apply(decode(self.files[row % len(self.files)].read_bytes()), parameters)
            yield torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), label


def seconds_of_epoch(dataset: IterableDataset[Any]) -> float:
    """Time all batches of a dataset in one process."""
    start = time.perf_counter()
    for images, _ in DataLoader(dataset, batch_size=BATCH_SIZE):
        assert images.shape[1:] == (3, 224, 224)
    return time.perf_counter() - start


def size(work: Workload) -> list[Metric]:
    file = Path(work.dataset, "reinforced", "00000.parquet")
    value = file.stat().st_size / (work.images * work.draws)
    return [Metric("bytes_per_reinforcement", value, "bytes", PUBLISHED_BYTES, PUBLISHED_BYTES / value)]


def loader(work: Workload) -> list[Metric]:
    path = work.dataset
    reader = EpochReader(path)
    pickles, names = write_pickles(reader, min(work.images, PICKLES)), list(reader.layers[0].read(0, 0)[0])
    few = min(work.images, PICKLES)
    draw = reader.draw(0, 0)

    def dense(row: int) -> tuple[Any, Any]:
        return read_pickle(pickles, row % few, draw, names)

    found = alternate(
        {
            "plain": lambda: seconds_of_epoch(Plain(reader, work.images, None)),
            "sparse": lambda: seconds_of_epoch(ReinforcedStream(path)),
            "dense": lambda: seconds_of_epoch(ReinforcedStream(path, targets="dense")),
            "pickles": lambda: seconds_of_epoch(Plain(reader, work.images, dense)),
        },
        work.rounds,
    )
    return [
        Metric("loader_images_per_s", work.images / found["sparse"], "images/s", work.images / found["plain"]),
        times_better("loader_vs_plain", found["plain"] / found["sparse"], ">= 0.97"),
        times_better("loader_vs_pickle_per_image", found["pickles"] / found["dense"]),
    ]


def labels(work: Workload) -> list[Metric]:
    """Time the labels alone, by processor time: rows a second and core."""
    reader = EpochReader(work.dataset)
    pickles, names = write_pickles(reader, min(work.images, PICKLES)), list(reader.layers[0].read(0, 0)[0])
    buffer = np.empty((work.images, CLASSES), np.float32)
    draws = itertools.count()

    def layer() -> float:
        start = time.process_time()
        for _ in range(20):
            _, said = reader.layers[0].read(0, next(draws) % work.draws)
            sparse.densify(said, CLASSES, out=buffer)
        return (time.process_time() - start) / (20 * work.images)

    def pickled() -> float:
        start = time.process_time()
        for image in range(50):
            read_pickle(pickles, image, next(draws) % work.draws, names)
        return (time.process_time() - start) / 50

    found = alternate({"layer": layer, "pickles": pickled}, work.rounds)
    return [
        Metric("label_rows_per_s", 1 / found["layer"], "rows/s", 1 / found["pickles"], None, ">= 400,000"),
        times_better("labels_vs_pickle_per_image", found["pickles"] / found["layer"], ">= 3"),
    ]


def generation(work: Workload) -> list[Metric]:
    from torchvision.models import resnet50

    images = photographs(8)
    teacher = {"factory": "torchvision.models.resnet50", "arguments": {}}
    operator = Reinforce.model_validate({"draws": 4, "augment": AUGMENT, "teachers": [teacher], "batch_size": 32})
    operator.setup()
    table = pa.table({"key": [str(i) for i in range(len(images))], "image": images})
    bare, batch = resnet50().eval(), torch.rand(32, 3, 224, 224)

    def transform() -> float:
        start = time.perf_counter()
        operator.transform(Batch(table))
        return time.perf_counter() - start

    def forward() -> float:
        start = time.perf_counter()
        with torch.inference_mode():
            bare(batch).softmax(1)
        return time.perf_counter() - start

    found = alternate({"transform": transform, "forward": forward}, work.rounds)
    return [times_better("generation_vs_forward", found["forward"] / found["transform"], ">= 0.95")]


PARTS: dict[str, Callable[[Workload], list[Metric]]] = {
    "size": size, "loader": loader, "labels": labels, "generation": generation,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(PARTS), action="append")
    parser.add_argument("--images", type=int, default=1002)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    work = Workload(arguments.images, arguments.draws, arguments.rounds)
    metrics = [metric for part in arguments.only or PARTS for metric in PARTS[part](work)]
    report("Reinforcements", metrics, arguments.json)


if __name__ == "__main__":
    main()
