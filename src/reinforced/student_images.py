"""Images to train and to test students on, taken out of a dataset: stored views with their labels, and whole images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from reinforced import sparse
from reinforced.augment import Augment
from reinforced.comparison import HARD, REINFORCED, SMOOTHED
from reinforced.counter import hash64
from reinforced.dataset import Dataset
from reinforced.epoch import EpochReader
from reinforced.errors import RequestError
from reinforced.images import Pixels, decode
from reinforced.metrics import Floats, Labels
from reinforced.scoring import HeldOut
from reinforced.student import Lessons

SMOOTHING = 0.1


@dataclass(frozen=True)
class Views:
    """The pixels all arms train on: uint8 (views, height, width, 3), each with its label and what the teachers said."""

    pixels: Pixels
    labels: Labels
    teacher: npt.NDArray[np.float32]

    def lessons(self) -> dict[str, Lessons]:
        """Return what each arm learns from: the same pixels, other targets.

        Raises: RequestError when a label is none of the classes the teachers know.
        """
        low, high, classes = self.labels.min(), self.labels.max(), self.teacher.shape[1]
        if not 0 <= low <= high < classes:
            raise RequestError(
                f"the teachers know {classes} classes, the training images have labels {low} to {high}: reinforce them "
                "with teachers whose `labels` maps their classes to these"
            )
        return {arm: Lessons(self.pixels, self.targets(arm)) for arm in (HARD, SMOOTHED, REINFORCED)}

    def targets(self, arm: str) -> npt.NDArray[np.float32]:
        """Return the probabilities the student of this arm is to match, (views, classes)."""
        if arm == REINFORCED:
            return self.teacher
        classes = self.teacher.shape[1]
        hard = np.eye(classes, dtype=np.float32)[self.labels]
        return hard if arm == HARD else (1 - SMOOTHING) * hard + np.float32(SMOOTHING / classes)


class Row(NamedTuple):
    """Where a labelled sample lies: the position of its shard, its row among the kept ones, label and key."""

    shard: int
    row: int
    label: int
    key: str


def chosen_rows(dataset: Dataset, split: str, part: str, count: int | None = None) -> list[Row]:
    """Return the labelled samples of a part of the dataset, all or `count` of them at random.

    Which ones is decided by the hashes of their keys, so it stays the same in another order or with more shards.
    Raises: RequestError when there are none, or fewer than `count`.
    """
    found: list[tuple[int, Row]] = []
    parts = set()
    for shard, info in enumerate(dataset.shards):
        table = dataset.read_shard(info.name, list(dict.fromkeys(["key", "label", split])))
        rows = zip(*(table.column(name).to_pylist() for name in ("key", "label", split)), strict=True)
        for row, (key, label, own) in enumerate(rows):
            parts.add(own)
            if own == part and label is not None:
                found.append((hash64(key), Row(shard, row, label, key)))
    if not found or (count is not None and len(found) < count):
        raise RequestError(
            f"this needs {count or 'some'} labelled images whose {split} is '{part}', {dataset.path} has "
            f"{len(found)}; it has {split}: {', '.join(sorted(map(str, parts))[:10])}"
        )
    return sorted(row for _, row in sorted(found)[:count])


def stored_views(reader: EpochReader, rows: Sequence[Row], draws: int) -> Views:
    """Replay the stored augmentations of some samples, `draws` of each, with what the teachers said of them."""
    pixels: list[Pixels] = []
    labels: list[int] = []
    teacher: list[Floats] = []
    for epoch in range(draws):
        for shard in sorted({row.shard for row in rows}):
            loaded = reader.load(shard, epoch)
            wanted = [row.row for row in rows if row.shard == shard]
            samples = [loaded.sample(row) for row in wanted]
            pixels.extend(sample.pixels for sample in samples)
            labels.extend(sample.label for sample in samples)
            teacher.append(sparse.densify(loaded.targets, reader.classes)[wanted])
    return Views(np.stack(pixels), np.array(labels), np.concatenate(teacher))


def clean_images(dataset: Dataset, rows: Sequence[Row], size: tuple[int, int]) -> Pixels:
    """Decode some samples and resize them whole to (width, height) px: uint8 (N, height, width, 3)."""
    resize = Augment(size_px=size)
    images: list[Pixels] = []
    for shard in sorted({row.shard for row in rows}):
        encoded = dataset.read_shard(dataset.shards[shard].name, ["image"]).column("image")
        images.extend(resize.apply(decode(encoded[row.row].as_py()), {}) for row in rows if row.shard == shard)
    return np.stack(images)


def held_out(dataset: Dataset, rows: Sequence[Row], size: tuple[int, int], **corrupted: Any) -> HeldOut:
    """Return some samples to score on, whole at (width, height) px; `corrupted` are further fields of `HeldOut`."""
    labels, keys = np.array([row.label for row in rows]), [row.key for row in rows]
    return HeldOut(clean_images(dataset, rows, size), labels, keys, **corrupted)
