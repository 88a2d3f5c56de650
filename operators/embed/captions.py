"""Embed captions: store where CLIP teachers put each image's own caption and the synthetic ones."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar

import pyarrow as pa
import pyarrow.types as types
from pydantic import Field

from reinforced.batch import Batch
from reinforced.clip_step import CAPTIONS_KEY, PARQUET, ClipStep, text_of_draw
from reinforced.operator import Columns
from reinforced.views import arrow_column


class EmbedCaptions(ClipStep):
    """Stores CLIP teachers' embeddings of an image's caption (draw 0) and of its synthetic captions (draws 1 and on).

    The layer lies draw by draw, so an epoch reads the real caption and one synthetic one of each image, not all of
    them. An image with fewer synthetic captions than are asked for begins again at its first; one without any, or
    without a caption, fails. Texts are cut off where a model's context ends.
    """

    layer: ClassVar[str] = "caption_embeddings"
    parquet: ClassVar[dict[str, Any]] = PARQUET

    caption: Annotated[str, Field(description="Column with the image's own caption, a string.")] = "caption"
    captions: Annotated[str, Field(description="Column with the synthetic captions, a list of strings.")] = "captions"
    draws: Annotated[int, Field(ge=2, le=65_535, description="Texts of each image: its caption and the synthetic.")] = 6

    @property
    def rows_per_sample(self) -> int:
        """The draws."""
        return self.draws

    def inputs(self) -> pa.Schema:
        """Return the two columns."""
        return pa.schema([pa.field(self.caption, pa.string()), pa.field(self.captions, pa.null())])

    def check(self, available: pa.Schema) -> None:
        """Refuse synthetic captions that are no list of strings."""
        kind = available.field(self.captions).type
        lists = types.is_list(kind) or types.is_large_list(kind)
        if not lists or not (types.is_string(kind.value_type) or types.is_large_string(kind.value_type)):
            raise ValueError(f"column '{self.captions}' is {kind}, not a list of strings")

    def outputs(self) -> pa.Schema:
        """Return the embedding."""
        return pa.schema([self.embedding("caption_embedding")])

    def metadata(self) -> dict[str, str]:
        """Return the documents on the teachers and on the texts."""
        chosen = self.model_dump(include={"caption", "captions", "draws"})
        return super().metadata() | {CAPTIONS_KEY: json.dumps(chosen)}

    def transform(self, batch: Batch) -> Columns:
        """Return the embeddings of all images' texts, image by image; equal texts are asked about once."""
        rows = zip(batch.values(self.caption), batch.values(self.captions), strict=True)
        texts = [text_of_draw(own, synthetic, draw) for own, synthetic in rows for draw in range(self.draws)]
        place = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        found = self.ensemble.texts(list(place))
        return {"caption_embedding": arrow_column(found[[place[text] for text in texts]])}
