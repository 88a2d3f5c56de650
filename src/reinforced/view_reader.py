"""Several stored views of each image at once, for methods that compare, predict or cluster views."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from reinforced.dataset import Dataset, open_dataset
from reinforced.epoch import EpochReader
from reinforced.errors import RequestError
from reinforced.reinforcement import Reinforcement
from reinforced.sample import Sample
from reinforced.shard_epoch import ShardEpoch


class View(NamedTuple):
    """One view of an image: its pixels with what the teachers said, and the stored parameters that made it."""

    sample: Sample
    layer: str
    parameters: dict[str, Any]


class ImageViews(NamedTuple):
    """An image's views, in the order they were asked for, all from one decoding."""

    key: str
    label: int
    views: list[View]


class ViewReader:
    """A reinforced dataset image by image, each with several of its stored views.

    path: the dataset. views: how many views of which layer, such as `{"global": 2, "local": 6}`; the layers are made by
    `reinforce` steps with `into`, with or without teachers. Epoch e takes the draws after those of epoch e - 1, around
    the end; no image is shown with the same draw twice. seed, shuffle, window: as for `EpochReader`.
    Raises: RequestError as `EpochReader` does, if a layer has fewer draws than are asked for, and if two layers were
    drawn with the same seed, so that their views lie alike.
    """

    def __init__(
        self,
        path: str | Dataset,
        views: Mapping[str, int],
        *,
        seed: int = 0,
        shuffle: bool = True,
        window: int = 2048,
    ) -> None:
        self.dataset = path if isinstance(path, Dataset) else open_dataset(path)
        self.views = dict(views)
        self.readers = {
            layer: EpochReader(self.dataset, layer=layer, seed=seed, shuffle=shuffle, window=window) for layer in views
        }
        if not views:
            raise RequestError("name at least one layer and how many views of it are wanted")
        for layer, reader in self.readers.items():
            if not 1 <= views[layer] <= reader.draws:
                raise RequestError(
                    f"{views[layer]} views of layer '{layer}' are asked for, it has {reader.draws} draws"
                )
        self._order = next(iter(self.readers.values()))
        _refuse_alike({layer: reader.reinforcement for layer, reader in self.readers.items()})

    def __len__(self) -> int:
        """Return the number of images in an epoch."""
        return len(self._order)

    def images(self, epoch: int, *, part: int = 0, parts: int = 1) -> Iterator[ImageViews]:
        """Yield the images of one of several equal parts of an epoch with their views."""
        first, last = len(self) * part // parts, len(self) * (part + 1) // parts
        loaded: dict[int, tuple[pa.Table, list[tuple[str, ShardEpoch]]]] = {}
        for shards, rows in self._order.order(epoch, first, last):
            needed = np.unique(shards).tolist()
            loaded = {shard: loaded[shard] if shard in loaded else self._load(shard, epoch) for shard in needed}
            for shard, row in zip(shards.tolist(), rows.tolist(), strict=True):
                yield self._image(*loaded[shard], row)

    def _load(self, shard: int, epoch: int) -> tuple[pa.Table, list[tuple[str, ShardEpoch]]]:
        images = self._order.images(shard)
        found = []
        for layer, reader in self.readers.items():
            count = self.views[layer]
            start = reader.draw(shard, 0) + epoch * count
            found += [(layer, reader.take(shard, images, (start + i) % reader.draws)) for i in range(count)]
        return images, found

    @staticmethod
    def _image(images: pa.Table, epochs: list[tuple[str, ShardEpoch]], row: int) -> ImageViews:
        pixels = epochs[0][1].image(row)
        views = [View(epoch.sample(row, pixels), layer, epoch.row(row)) for layer, epoch in epochs]
        return ImageViews(images.column("key")[row].as_py(), views[0].sample.label, views)


def _refuse_alike(layers: Mapping[str, Reinforcement]) -> None:
    """Raise RequestError if two layers have draws of the same seed and number, whose random choices are the same."""
    for (one, made), (other, its) in itertools.combinations(layers.items(), 2):
        apart = made.first_draw >= its.first_draw + its.draws or its.first_draw >= made.first_draw + made.draws
        if made.seed == its.seed and not apart:
            raise RequestError(
                f"layers '{one}' and '{other}' were drawn from the same words: their crops lie alike; give the step "
                f"that makes '{other}' a seed of its own, such as seed: {its.seed + 1}"
            )
