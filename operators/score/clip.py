"""How well image and text fit together, by a CLIP model."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, PrivateAttr

from reinforced import columns
from reinforced.batch import Batch
from reinforced.clip import ClipEncoder, OpenClipModel
from reinforced.embeddings import check, units
from reinforced.operator import Columns, Transform


class ScoreClip(Transform):
    """Adds the cosine between the embeddings of each image and its text (CLIPScore, Hessel et al. 2021, unscaled).

    `filter.where` with `clip_score >= 0.28`, or `filter.top` with the share to keep, then chooses: DataComp keeps 30 %
    by ViT-L/14, LAION 0.28 by ViT-B/32. With `embedding`, the column of `embed.clip` by the same model, images are not
    embedded again. The weights are read from files; nothing is downloaded.
    """

    layer: ClassVar = "clip_scores"
    writes: ClassVar = ("clip_score",)
    alone: ClassVar = True
    examples: ClassVar = ()

    model: Annotated[OpenClipModel, Field(description="The CLIP model.")]
    column: Annotated[str, Field(description="Column with the texts.")] = "caption"
    embedding: Annotated[str | None, Field(description="Column with the images' embeddings by this model.")] = None
    batch_size: Annotated[int, Field(ge=1, description="Images or texts the model is asked about at once.")] = 64

    _encoder: ClipEncoder | None = PrivateAttr(None)

    def __getstate__(self) -> dict[Any, Any]:
        """Leave the model behind: each worker loads its own."""
        return super().__getstate__() | {"__pydantic_private__": {"_encoder": None}}

    def inputs(self) -> pa.Schema:
        """Return the text, and the image or its embedding."""
        image = pa.field(self.embedding, pa.null()) if self.embedding else columns.known_column("image")
        return pa.schema([pa.field(self.column, pa.string()), image])

    def check(self, available: pa.Schema) -> None:
        """Refuse embeddings that are not as long as this model's."""
        if self.embedding:
            check(available.field(self.embedding))
            if (size := available.field(self.embedding).type.list_size) != (wanted := self.model.dimensions()):
                raise ValueError(
                    f"column '{self.embedding}' has {size} dimensions, {self.model.name} has {wanted}: "
                    "give the model that made it"
                )

    def ingredients(self) -> dict[str, str]:
        """Return the hashes of the model's files."""
        return self.model.hashes()

    def setup(self) -> None:
        """Load the model."""
        self._encoder = ClipEncoder(self.model, self.batch_size, self.resources)

    def transform(self, batch: Batch) -> Columns:
        """Return a cosine a row, null where there is no text."""
        assert self._encoder is not None, "setup() comes first"
        texts = batch.values(self.column)
        images = units(batch.table.column(self.embedding)) if self.embedding else self._encoder.images(batch.pixels)
        cosines = (images * self._encoder.texts([text or "" for text in texts])).sum(1)
        return {"clip_score": pa.array(cosines, mask=np.array([not text for text in texts]))}
