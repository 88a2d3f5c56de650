"""How fast a training loop gets its images: with plain labels, and with what the teachers stored."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from reinforced.epoch import EpochReader
from reinforced.images import decode


def seconds_per_epoch(
    reader: EpochReader, batch_size: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Measure one pass over the dataset as a training loop sees it, with plain and with stored labels.

    Plain draws the same kind of augmentation on the spot and yields labels; stored reads augmentation and
    probabilities back. Decoding and augmenting are the same code on one thread. The faster of three passes counts.
    clock: returns seconds; `time.process_time` counts the processor's own, which other work on the machine sways less.
    """

    def plain() -> None:
        augment, dataset = reader.reinforcement.augment, reader.dataset
        for shard in dataset.shards:
            table = dataset.read_shard(shard.name, ["key", "image", "label"])
            for start in range(0, table.num_rows, batch_size):
                part = table.slice(start, batch_size)
                images = [decode(value.as_py()) for value in part.column("image")]
                sides = [i.shape[1] for i in images], [i.shape[0] for i in images]
                drawn = augment.parameters(0, part.column("key").to_pylist(), [0], *sides)
                np.stack([augment.apply(image, {k: v[i] for k, v in drawn.items()}) for i, image in enumerate(images)])
                part.column("label").to_numpy()

    def stored() -> None:
        for batch in reader.batches(0, batch_size):
            batch.dense(reader.classes)

    passes = [
        (_seconds(plain, clock), _seconds(stored, clock)) for _ in range(3)
    ]  # in turns: what slows the machine slows both
    return {"plain": min(first for first, _ in passes), "stored": min(second for _, second in passes)}


def _seconds(work: Callable[[], None], clock: Callable[[], float]) -> float:
    start = clock()
    work()
    return clock() - start
