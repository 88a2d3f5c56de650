"""Handwritten digits that need no download: the 1,797 small scans bundled with scikit-learn."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Annotated, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from reinforced import columns
from reinforced.counter import hash64
from reinforced.images import Pixels, encode_png
from reinforced.operator import ShardSpec, Source

SAMPLES = 1797
TRAIN, CALIBRATION = 1047, 300
"""Target sizes of the first two splits; the rest is test."""

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class ReadDigits(Source):
    """Reads 1,797 handwritten digits as grey 8 x 8 PNGs with labels and a train, calibration and test split.

    The scans are the test part of the UCI set *Optical Recognition of Handwritten Digits* (Alpaydin and Kaynak 1998),
    bundled with scikit-learn; their 17 grey levels are spread over 0 to 255. The split is stratified by class and
    decided by the hash of the key, so it never changes: about 1,047, 300 and 450 images.
    """

    reads: ClassVar = ()
    writes: ClassVar = ("key", "image", "path", "label", "label_name", "split")

    shard_rows: Annotated[int, Field(gt=0, description="Images in a shard.")] = 300

    def columns(self) -> pa.Schema:
        """Return the columns of every shard."""
        return columns.resolve(self.writes)

    def shards(self) -> Iterator[ShardSpec]:
        """Yield the first and the last row (exclusive) of every shard."""
        for start in range(0, SAMPLES, self.shard_rows):
            yield {"start": start, "stop": min(start + self.shard_rows, SAMPLES)}

    def read(self, shard: ShardSpec) -> pa.Table:
        """Read a shard: images encoded as PNG, `path` null because the scans are rows of one file."""
        images, labels = _digits()
        rows = range(shard["start"], shard["stop"])
        values = {
            "key": [_key(i) for i in rows],
            "image": [encode_png(images[i]) for i in rows],
            "path": [None] * len(rows),
            "label": [labels[i] for i in rows],
            "label_name": [NAMES[labels[i]] for i in rows],
            "split": [_splits()[i] for i in rows],
        }
        return pa.table(values, schema=self.columns())


def _key(row: int) -> str:
    return f"digit/{row:04d}"


@functools.cache
def _digits() -> tuple[Pixels, list[int]]:
    from sklearn.datasets import load_digits

    found = load_digits()
    assert found.images.shape == (SAMPLES, 8, 8)
    return np.round(found.images * (255 / 16)).astype(np.uint8), found.target.tolist()


@functools.cache
def _splits() -> list[str]:
    """Deal each class out in the order of its keys' hashes, in the proportions of the whole."""
    labels = _digits()[1]
    splits = ["test"] * SAMPLES
    for label in range(len(NAMES)):
        members = sorted((i for i in range(SAMPLES) if labels[i] == label), key=lambda i: hash64(_key(i)))
        train = round(len(members) * TRAIN / SAMPLES)
        calibration = round(len(members) * CALIBRATION / SAMPLES)
        for rank, i in enumerate(members[: train + calibration]):
            splits[i] = "train" if rank < train else "calibration"
    return splits
