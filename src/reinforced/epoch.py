"""Reading a reinforced dataset epoch by epoch, in plain NumPy: which draw, which order, which pixels.

An epoch takes one draw of every image. Each shard starts at a draw of its own and moves on by one an epoch, so that as
many epochs as there are draws see each reinforcement once. Shards come in a random order, samples are shuffled within a
window; both depend on (seed, epoch) alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reinforced import counter, sparse
from reinforced.dataset import Dataset, open_dataset
from reinforced.draw_layer import DrawLayer
from reinforced.errors import RequestError
from reinforced.own_images import By, open_images
from reinforced.reinforcement import Reinforcement, pixel_crc
from reinforced.sample import Batch, Sample
from reinforced.shard_epoch import ShardEpoch, gathered

Positions = npt.NDArray[np.int64]

_CHECKED = 4


class PixelMismatchError(RequestError):
    """Replaying a reinforcement does not give the pixels that the teachers saw."""


class EpochReader:
    """A reinforced dataset, for any framework: samples or batches of an epoch as NumPy arrays.

    path: the dataset. layer: which layer of reinforcements, or several whose draws follow each other. seed: decides the
    order and the draws. shuffle: off gives the order on disk. window: samples shuffled together, held in memory as
    encoded images. originals: share of the samples (other ones each epoch) that are the whole image, only resized, with
    all probability on its `label`. images: where to read the images, if not from the dataset, which may then lack them;
    a folder, WebDataset tars or another dataset. images_by: `name` finds an image by its `path` (in a dataset by its
    `key`), `sha256` by its content, for which a folder or tars are read once; see `reinforced.own_images`.
    Raises: RequestError if the layer is missing, newer than this version, or replays to other pixels than the teachers
    saw (PixelMismatchError); warns when the image libraries are not those that made it.
    """

    def __init__(
        self,
        path: str | Dataset,
        *,
        layer: str | Sequence[str] = "reinforced",
        seed: int = 0,
        shuffle: bool = True,
        window: int = 2048,
        originals: float = 0.0,
        images: str | None = None,
        images_by: By = "name",
    ) -> None:
        self.dataset = path if isinstance(path, Dataset) else open_dataset(path)
        self.seed, self.shuffle, self.window = seed, shuffle, max(1, window)
        names = [shard.name for shard in self.dataset.shards]
        self._kept = [self.dataset.kept(name) for name in names]
        asked = [layer] if isinstance(layer, str) else layer
        self.layers = [DrawLayer(self.dataset, name, self._kept) for name in asked]
        self.reinforcement = _agreed(self.layers)
        for own in self.layers:
            own.reinforcement.check_origin(own.where)
        self._ends = np.cumsum([own.reinforcement.draws for own in self.layers])
        self.classes, self.draws = self.reinforcement.classes, int(self._ends[-1])
        counts = [
            s.rows if kept is None else kept.true_count for s, kept in zip(self.dataset.shards, self._kept, strict=True)
        ]
        self.counts = np.array(counts, np.int64)
        offsets = counter.words(seed, "loader.draw", names, [0], 1).ravel() if names else np.zeros(0, np.uint32)
        self._first_draw = counter.below(offsets, self.draws)
        self._own_images = open_images(images, self.dataset, images_by) if images is not None else None
        self._columns = [n for n in ("key", "image", "label") if n in self.dataset.schema.names]
        self._check_columns(originals)
        self.originals = originals
        for own, end in zip(self.layers, self._ends, strict=True):
            self._check_pixels(own, int(end) - own.reinforcement.draws)

    def __len__(self) -> int:
        """Return the number of samples in an epoch."""
        return int(self.counts.sum())

    def draw(self, shard: int, epoch: int) -> int:
        """Return which draw of a shard (by its position) an epoch takes."""
        return int((self._first_draw[shard] + epoch) % self.draws)

    def images(self, shard: int) -> pa.Table:
        """Read the keys, encoded images and labels of a shard's kept rows."""
        name = self.dataset.shards[shard].name
        if self._own_images is None:
            return self.dataset.read_shard(name, self._columns)
        table = self.dataset.read_shard(name, [column for column in self._columns if column != "image"])
        return table.append_column("image", self._own_images.read(shard))

    def load(self, shard: int, epoch: int, images: pa.Table | None = None) -> ShardEpoch:
        """Read a shard's images, unless they are given, and the draw of its reinforcements that an epoch takes."""
        found = self.take(shard, self.images(shard) if images is None else images, self.draw(shard, epoch))
        return found if self.originals == 0 else self._with_originals(found, epoch)

    def take(self, shard: int, images: pa.Table, draw: int) -> ShardEpoch:
        """Join the images of a shard with one of its draws."""
        number = int(np.searchsorted(self._ends, draw, side="right"))
        layer, before = self.layers[number], self._ends[number] - self.layers[number].reinforcement.draws
        made = layer.read(shard, int(draw - before))
        return ShardEpoch(self.dataset.shards[shard].name, images, *made, layer.reinforcement)

    def samples(self, epoch: int, *, part: int = 0, parts: int = 1, start: int = 0) -> Iterator[Sample]:
        """Yield the samples of one of several equal parts of an epoch, from its sample number `start` on."""
        first, last = len(self) * part // parts, len(self) * (part + 1) // parts
        yield from self.span(epoch, first, last, start)

    def batches(self, epoch: int, batch_size: int, *, part: int = 0, parts: int = 1) -> Iterator[Batch]:
        """Yield the samples of a part of an epoch in batches; the last may be smaller."""
        first, last = len(self) * part // parts, len(self) * (part + 1) // parts
        places = self._places(epoch, first, last, 0)
        while waiting := list(itertools.islice(places, batch_size)):
            yield gathered(waiting)

    def span(self, epoch: int, first: int, last: int, start: int = 0) -> Iterator[Sample]:
        """Yield the samples from `first` to `last` of an epoch, shuffled within windows counted from `first`."""
        return (shard.sample(row) for shard, row in self._places(epoch, first, last, start))

    def _places(self, epoch: int, first: int, last: int, start: int) -> Iterator[tuple[ShardEpoch, int]]:
        loaded: dict[int, ShardEpoch] = {}
        begun = start // self.window * self.window
        skipped = start - begun
        for shards, rows in self.order(epoch, first + begun, last):
            needed = np.unique(shards).tolist()
            loaded = {s: loaded[s] if s in loaded else self.load(s, epoch) for s in needed}
            for shard, row in zip(shards[skipped:].tolist(), rows[skipped:].tolist(), strict=True):
                yield loaded[shard], row
            skipped = 0

    def order(self, epoch: int, first: int, last: int) -> Iterator[tuple[Positions, Positions]]:
        """Yield the samples from `first` to `last` of an epoch by window: their shards, and their kept rows in them."""
        order = self._shard_order(epoch)
        ends = np.cumsum(self.counts[order])
        for low in range(first, last, self.window):
            positions = self._window(epoch, low, min(low + self.window, last))
            places = np.searchsorted(ends, positions, side="right")
            yield order[places], positions - (ends - self.counts[order])[places]

    def _shard_order(self, epoch: int) -> Positions:
        names = [shard.name for shard in self.dataset.shards]
        if not self.shuffle or not names:
            return np.arange(len(names))
        return np.argsort(counter.words(self.seed, "loader.shards", names, [epoch], 1).ravel(), kind="stable")

    def _window(self, epoch: int, low: int, high: int) -> Positions:
        positions = np.arange(low, high)
        if not self.shuffle:
            return positions
        words = counter.words(self.seed, "loader.window", [f"{low}:{high}"], [epoch], high - low)
        return positions[np.argsort(words.ravel(), kind="stable")]

    def _with_originals(self, found: ShardEpoch, epoch: int) -> ShardEpoch:
        words = counter.words(self.seed, "loader.originals", found.images.column("key").to_pylist(), [epoch], 1).ravel()
        labels = found.images.column("label").combine_chunks()
        rows = np.flatnonzero(
            (words < round(self.originals * 2**32)) & labels.is_valid().to_numpy(zero_copy_only=False)
        )
        chosen = labels.take(pa.array(rows)).to_numpy()
        if len(rows) and not 0 <= chosen.min() <= chosen.max() < self.classes:
            raise RequestError(
                f"{self.dataset.path}, shard {found.name}: labels from {chosen.min()} to {chosen.max()} are not of "
                f"the {self.classes} classes that the teachers know: originals must be 0"
            )
        return replace(
            found, originals=frozenset(rows.tolist()), targets=sparse.with_labels(found.targets, rows, chosen)
        )

    def _check_columns(self, originals: float) -> None:
        path = self.dataset.path
        if self._own_images is None and self.dataset.shards and "image" not in self._columns:
            raise RequestError(f"{path} has no column 'image': say where the images are with images=...")
        if not 0 <= originals <= 1:
            raise RequestError(f"originals is {originals}: it is a share, from 0 to 1")
        if originals and self.dataset.shards and not ("label" in self._columns and self.classes):
            lacks = "no column 'label'" if self.classes else f"no teachers in '{self.layers[0].name}'"
            raise RequestError(f"{path} has {lacks}: originals, images with their label, must be 0")

    def _check_pixels(self, layer: DrawLayer, before: int) -> None:
        """Replay the first rows of a layer that have a pixel hash, and compare; `before` are the draws before it."""
        shard = next((i for i, count in enumerate(self.counts) if count), None)
        if shard is None:
            return
        images, checked = self.images(shard), 0
        for draw in range(layer.reinforcement.draws):
            hashes = layer.tables(shard, [(draw, ["row", "pixel_crc"])])[0]
            found = np.flatnonzero(hashes.column("pixel_crc").is_valid())[: _CHECKED - checked]
            checked += len(found)
            epoch = self.take(shard, images, before + draw) if len(found) else None
            for i in found:
                if epoch and pixel_crc(epoch.sample(int(i)).pixels) != hashes.column("pixel_crc")[i].as_py():
                    raise PixelMismatchError(
                        f"{layer.where}, shard {epoch.name}, row {hashes.column('row')[i]}, draw {draw}: the replayed "
                        "pixels differ from what the teachers saw. The layer was made with "
                        f"{layer.reinforcement.backends}; install those, or run the pipeline again"
                    )
            if checked == _CHECKED:
                return


def _agreed(layers: Sequence[DrawLayer]) -> Reinforcement:
    """Return the first layer's document. Raises: RequestError when another's draws do not fit beside its own."""
    if not layers:
        raise RequestError("name at least one layer of reinforcements")
    first = layers[0].reinforcement
    for other in layers[1:]:
        for what, mine, its in (
            ("size", first.augment.size, other.reinforcement.augment.size),
            ("classes", first.classes, other.reinforcement.classes),
            ("top_k", first.top_k, other.reinforcement.top_k),
        ):
            if mine != its:
                raise RequestError(f"{other.where} has {what} {its}, '{layers[0].name}' has {mine}: read them apart")
    return first
