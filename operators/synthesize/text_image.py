"""Pictures of vectors: text, or any other features, for networks that take images."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, PrivateAttr

from reinforced import columns, embeddings
from reinforced.batch import Batch
from reinforced.images import encode_png
from reinforced.operator import Generator
from reinforced.pixel_layout import Layout, read_layout
from reinforced.weight_files import hash_file


class SynthesizeTextImage(Generator):
    """Makes a grey picture of each row's embedding, a feature a pixel; like features stand side by side.

    The layout is a file of `reinforced.pixel_layout.fit_layout`, fitted once on the training split and used for all:
    a pixel means the same in every picture. Features on one pixel are averaged. Keys are `parent/image`; the other
    columns of the parent are passed on. A row without a vector, or of another length, fails.
    """

    writes: ClassVar = ("key", "image", "parent")
    examples: ClassVar = ()

    layout: Annotated[str, Field(min_length=1, description="Layout file: a local path or fsspec URL.")]
    embedding: Annotated[str, Field(description="Column with the vectors: lists of floats of one length.")]
    size_px: Annotated[int, Field(ge=2, le=1024, description="Width and height of a picture.")] = 32

    _layout: Layout | None = PrivateAttr(None)

    def inputs(self) -> pa.Schema:
        """Return the key and the embedding."""
        return pa.schema([*columns.resolve(["key"]), pa.field(self.embedding, pa.null())])

    def check(self, available: pa.Schema) -> None:
        """Refuse a column that is no list of floats, and a file that is no layout."""
        embeddings.check(available.field(self.embedding))
        read_layout(self.layout)

    def ingredients(self) -> dict[str, str]:
        """Return the hash of the layout."""
        return {"layout": hash_file(self.layout)}

    def setup(self) -> None:
        """Read the layout."""
        self._layout = read_layout(self.layout)

    def generate(self, batch: Batch) -> pa.Table:
        """Return a picture of each row."""
        assert self._layout is not None, "setup() comes first"
        vectors = batch.values(self.embedding)
        if None in vectors:
            raise ValueError(f"the row has no {self.embedding}")
        pictures = self._layout.pictures(np.array(vectors, np.float64), self.size_px)
        made = {
            "key": [f"{key}/image" for key in batch.keys],
            "image": [encode_png(picture) for picture in pictures],
            "parent": batch.keys,
        }
        return batch.descendants(range(len(batch)), made, self.outputs())

    def __getstate__(self) -> dict[Any, Any]:
        return super().__getstate__() | {"__pydantic_private__": {"_layout": None}}
