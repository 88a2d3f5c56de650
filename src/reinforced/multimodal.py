"""Reading a dataset that CLIP teachers have reinforced: views, captions, and where the teachers put both.

An epoch takes one draw of every image, its caption and one synthetic caption, and reads of each shard what it uses: of
ten draws and five captions with two teachers of 768 dimensions 9 kB an image instead of 49 kB.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reinforced import counter
from reinforced.clip_step import CAPTIONS_KEY, ClipTeachers, text_of_draw
from reinforced.dataset import Dataset
from reinforced.draw_layer import as_numpy
from reinforced.epoch import EpochReader
from reinforced.errors import RequestError
from reinforced.images import Pixels
from reinforced.shard_epoch import ShardEpoch

Embedding = npt.NDArray[np.float16]


class ClipSample(NamedTuple):
    """A view, uint8 (height, width, 3), an image's caption, a synthetic one, and the teachers' embeddings of each.

    Embeddings are float16 (dimensions of all teachers together), in the order of the teachers.
    """

    key: str
    pixels: Pixels
    caption: str
    synthetic: str
    view_embedding: Embedding
    caption_embedding: Embedding
    synthetic_embedding: Embedding


@dataclass(frozen=True)
class ClipShardEpoch:
    """What an epoch takes of one shard's kept rows."""

    views: ShardEpoch
    texts: pa.Table
    draw: int
    """Which synthetic caption, from 1."""
    view_embeddings: Embedding
    caption_embeddings: Embedding
    synthetic_embeddings: Embedding

    def sample(self, row: int) -> ClipSample:
        """Decode and augment one row. Raises: RequestError naming shard and key when the image is not what it was."""
        caption, captions = (self.texts.column(i)[row].as_py() for i in range(2))
        return ClipSample(
            key=self.views.images.column("key")[row].as_py(),
            pixels=self.views.sample(row).pixels,
            caption=text_of_draw(caption, captions, 0),
            synthetic=text_of_draw(caption, captions, self.draw),
            view_embedding=self.view_embeddings[row],
            caption_embedding=self.caption_embeddings[row],
            synthetic_embedding=self.synthetic_embeddings[row],
        )


class ClipEpochReader:
    """A dataset reinforced by `reinforce_clip` and `embed.captions`, epoch by epoch, as NumPy arrays.

    path: the dataset. layer, captions: the layers of the views and of the texts. Epoch e takes the draws as
    `EpochReader` does; of n synthetic captions each shard takes every one once in n epochs, in a random order of its
    own, so that a view does not always meet the same text. settings: seed, shuffle, window, images and images_by of
    `EpochReader`.
    Raises: RequestError as `EpochReader` does, and if the two layers are not of the same teachers.
    """

    def __init__(
        self,
        path: str | Dataset,
        *,
        layer: str = "reinforced_clip",
        captions: str = "caption_embeddings",
        **settings: Any,
    ) -> None:
        self.views = EpochReader(path, layer=layer, **settings)
        self.dataset, self.layer, self.captions = self.views.dataset, layer, captions
        self.teachers, of_texts = (
            ClipTeachers.parse(self.dataset.metadata(name), f"{self.dataset.path}, layer '{name}'")
            for name in (layer, captions)
        )
        if self.teachers != of_texts:
            raise RequestError(
                f"{self.dataset.path}: layers '{layer}' and '{captions}' are of other teachers "
                f"({', '.join(t.name for t in self.teachers.teachers)}; {', '.join(t.name for t in of_texts.teachers)})"
                ": make both with the same `teachers`"
            )
        stated = json.loads(self.dataset.metadata(captions)[CAPTIONS_KEY])
        self.columns: list[str] = [stated["caption"], stated["captions"]]
        self.texts: int = stated["draws"]

    def __len__(self) -> int:
        """Return the number of images in an epoch."""
        return len(self.views)

    def caption_draw(self, shard: int, epoch: int) -> int:
        """Return which synthetic caption of a shard's images, from 1, an epoch takes."""
        synthetic = self.texts - 1
        name = self.dataset.shards[shard].name
        words = counter.words(self.views.seed, "loader.captions", [name], [epoch // synthetic], synthetic)
        return 1 + int(np.argsort(words.ravel(), kind="stable")[epoch % synthetic])

    def load(self, shard: int, epoch: int) -> ClipShardEpoch:
        """Read what an epoch takes of a shard: its images and texts, one draw of the views, two of the texts."""
        found, views = self.dataset.shards[shard], self.views
        draw, text, kept = views.draw(shard, epoch), self.caption_draw(shard, epoch), views.layers[0].kept[shard]
        parts = [(self.layer, "view_embedding", draw)]
        parts += [(self.captions, "caption_embedding", number) for number in (0, text)]
        vectors = []
        for layer, column, number in parts:
            (table,) = self.dataset.read_draws(layer, found, [(number, [column])])
            table = table if kept is None else table.filter(kept)
            vectors.append(as_numpy(table.column(column), f"{self.dataset.path}, layer '{layer}', shard {found.name}"))
        texts = self.dataset.read_shard(found.name, self.columns)
        return ClipShardEpoch(views.take(shard, views.images(shard), draw), texts, text, *vectors)

    def samples(self, epoch: int, *, part: int = 0, parts: int = 1) -> Iterator[ClipSample]:
        """Yield the samples of one of several equal parts of an epoch."""
        yield from self.span(epoch, len(self) * part // parts, len(self) * (part + 1) // parts)

    def span(self, epoch: int, first: int, last: int) -> Iterator[ClipSample]:
        """Yield the samples from `first` to `last` of an epoch, shuffled within windows counted from `first`."""
        loaded: dict[int, ClipShardEpoch] = {}
        for shards, rows in self.views.order(epoch, first, last):
            needed = np.unique(shards).tolist()
            loaded = {shard: loaded[shard] if shard in loaded else self.load(shard, epoch) for shard in needed}
            for shard, row in zip(shards.tolist(), rows.tolist(), strict=True):
                yield loaded[shard].sample(row)
