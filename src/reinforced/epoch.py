"""Reading a reinforced dataset epoch by epoch, in plain NumPy: which draw, which order, which pixels.

An epoch takes one draw of every image. Each shard starts at a draw of its own and moves on by one an epoch, so that as
many epochs as there are draws see each reinforcement once. Shards come in a random order, samples are shuffled within a
window; both depend on (seed, epoch) alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reinforced import counter, sparse
from reinforced.augmentation import Parameters
from reinforced.dataset import Dataset, open_dataset
from reinforced.draw_layer import DrawLayer
from reinforced.errors import RequestError
from reinforced.images import ImageError, Pixels, decode
from reinforced.reinforcement import Reinforcement, pixel_crc

_CHECKED = 4


class PixelMismatchError(RequestError):
    """Replaying a reinforcement does not give the pixels that the teachers saw."""


class Sample(NamedTuple):
    """One augmented image, uint8 (height, width, 3), and what the teachers said of it; `label` is -1 without one."""

    pixels: Pixels
    classes: sparse.Classes
    probabilities: sparse.Floats
    tail: np.float32
    label: int


class Batch(NamedTuple):
    """Samples as arrays: pixels uint8 (n, height, width, 3), classes and probabilities (n, k), tail and label (n,)."""

    pixels: Pixels
    classes: sparse.Classes
    probabilities: sparse.Floats
    tail: sparse.Floats
    labels: npt.NDArray[np.int64]

    def dense(self, classes: int, *, spread_tail: bool = True) -> sparse.Floats:
        """Return the probabilities of all classes, float32 (n, classes); see `sparse.densify`."""
        found = sparse.SparseProbabilities(self.classes, self.probabilities, self.tail)
        return sparse.densify(found, classes, spread_tail=spread_tail)


@dataclass(frozen=True)
class ShardEpoch:
    """The kept rows of one shard with one draw of their reinforcements."""

    name: str
    images: pa.Table
    parameters: Parameters
    targets: sparse.SparseProbabilities
    reinforcement: Reinforcement

    def sample(self, row: int) -> Sample:
        """Decode and augment one row. Raises: RequestError naming shard and key when the image is not what it was."""
        pixels = self.view(row, self.image(row))
        label = self.images.column("label")[row].as_py() if "label" in self.images.column_names else None
        targets = self.targets
        return Sample(
            pixels, targets.classes[row], targets.probabilities[row], targets.tail[row], -1 if label is None else label
        )

    def image(self, row: int) -> Pixels:
        """Decode the image of one row, uint8 (h, w, 3). Raises: RequestError naming shard and key when it is none."""
        try:
            return decode(self.images.column("image")[row].as_py() or b"")
        except ImageError as error:
            raise self._changed(row, error) from error

    def view(self, row: int, image: Pixels) -> Pixels:
        """Augment the decoded image of one row, and mix it with its partner's view where it has one."""
        try:
            return self.reinforcement.augment.view(lambda i: image if i == row else self.image(i), self.parameters, row)
        except ImageError as error:
            raise self._changed(row, error) from error

    def _changed(self, row: int, error: ImageError) -> RequestError:
        return RequestError(f"shard {self.name}, sample {self.images.column('key')[row].as_py()}: {error}")


class EpochReader:
    """A reinforced dataset, for any framework: samples or batches of an epoch as NumPy arrays.

    path: the dataset. layer: which layer of reinforcements, or several whose draws follow each other. seed: decides the
    order and the draws. shuffle: off gives the order on disk. window: samples shuffled together, held in memory as
    encoded images.
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
    ) -> None:
        self.dataset = path if isinstance(path, Dataset) else open_dataset(path)
        self.seed, self.shuffle, self.window = seed, shuffle, max(1, window)
        names = [shard.name for shard in self.dataset.shards]
        self._kept = [self.dataset.kept(name) for name in names]
        asked = [layer] if isinstance(layer, str) else layer
        self.layers = [DrawLayer(self.dataset, name, self._kept) for name in asked]
        self.reinforcement = _agreed(self.layers)
        self._ends = np.cumsum([own.reinforcement.draws for own in self.layers])
        self.classes, self.draws = self.reinforcement.classes, int(self._ends[-1])
        counts = [
            s.rows if kept is None else kept.true_count for s, kept in zip(self.dataset.shards, self._kept, strict=True)
        ]
        self.counts = np.array(counts, np.int64)
        offsets = counter.words(seed, "loader.draw", names, [0], 1).ravel() if names else np.zeros(0, np.uint32)
        self._first_draw = counter.below(offsets, self.draws)
        self._columns = ["key", "image", *(["label"] if "label" in self.dataset.schema.names else [])]
        for own, end in zip(self.layers, self._ends, strict=True):
            self._check_pixels(own, int(end) - own.reinforcement.draws)

    def __len__(self) -> int:
        """Return the number of samples in an epoch."""
        return int(self.counts.sum())

    def draw(self, shard: int, epoch: int) -> int:
        """Return which draw of a shard (by its position) an epoch takes."""
        return int((self._first_draw[shard] + epoch) % self.draws)

    def load(self, shard: int, epoch: int) -> ShardEpoch:
        """Read a shard's images and the draw of its reinforcements that an epoch takes."""
        name = self.dataset.shards[shard].name
        return self.take(shard, self.dataset.read_shard(name, self._columns), self.draw(shard, epoch))

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
        waiting: list[Sample] = []
        for sample in self.samples(epoch, part=part, parts=parts):
            waiting.append(sample)
            if len(waiting) == batch_size:
                yield _stack(waiting)
                waiting = []
        if waiting:
            yield _stack(waiting)

    def span(self, epoch: int, first: int, last: int, start: int = 0) -> Iterator[Sample]:
        """Yield the samples from `first` to `last` of an epoch, shuffled within windows counted from `first`."""
        order = self._shard_order(epoch)
        ends = np.cumsum(self.counts[order])
        loaded: dict[int, ShardEpoch] = {}
        for low in range(first + start // self.window * self.window, last, self.window):
            positions = self._window(epoch, low, min(low + self.window, last))
            places = np.searchsorted(ends, positions, side="right")
            rows = positions - (ends - self.counts[order])[places]
            needed = {int(order[place]) for place in np.unique(places)}
            loaded = {s: loaded[s] if s in loaded else self.load(s, epoch) for s in sorted(needed)}
            skipped = max(0, first + start - low)
            for place, row in zip(places[skipped:], rows[skipped:], strict=True):
                yield loaded[int(order[place])].sample(int(row))

    def _shard_order(self, epoch: int) -> npt.NDArray[np.int64]:
        names = [shard.name for shard in self.dataset.shards]
        if not self.shuffle or not names:
            return np.arange(len(names))
        return np.argsort(counter.words(self.seed, "loader.shards", names, [epoch], 1).ravel(), kind="stable")

    def _window(self, epoch: int, low: int, high: int) -> npt.NDArray[np.int64]:
        positions = np.arange(low, high)
        if not self.shuffle:
            return positions
        words = counter.words(self.seed, "loader.window", [f"{low}:{high}"], [epoch], high - low)
        return positions[np.argsort(words.ravel(), kind="stable")]

    def _check_pixels(self, layer: DrawLayer, before: int) -> None:
        """Replay the first rows of a layer that have a pixel hash, and compare; `before` are the draws before it."""
        shard = next((i for i, count in enumerate(self.counts) if count), None)
        if shard is None:
            return
        name, rows = self.dataset.shards[shard].name, self.dataset.shards[shard].rows
        hashes = self.dataset.read(layer.name, name, ["pixel_crc"]).column("pixel_crc")
        found = [i for i, value in enumerate(hashes.is_valid().to_pylist()) if value][:_CHECKED]
        kept = self._kept[shard]
        place = np.arange(rows) if kept is None else np.cumsum(kept.to_numpy(zero_copy_only=False)) - 1
        for draw in sorted({i // rows for i in found}):
            epoch = self.take(shard, self.dataset.read_shard(name, self._columns), before + draw)
            for i in (i for i in found if i // rows == draw):
                if pixel_crc(epoch.sample(int(place[i % rows])).pixels) != hashes[i].as_py():
                    raise PixelMismatchError(
                        f"{layer.where}, shard {name}, row {i % rows}, draw {draw}: the replayed pixels differ from "
                        f"what the teachers saw. The layer was made with {layer.reinforcement.backends}; install "
                        "those, or run the pipeline again"
                    )


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


def _stack(samples: list[Sample]) -> Batch:
    pixels, classes, probabilities, tail, labels = zip(*samples, strict=True)
    return Batch(
        np.stack(pixels), np.stack(classes), np.stack(probabilities), np.array(tail), np.array(labels, np.int64)
    )
