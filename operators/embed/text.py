"""Vectors of texts."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, PrivateAttr

from reinforced import columns
from reinforced.batch import Batch
from reinforced.operator import Columns, Transform
from reinforced.text_encoder import Encode, TextModel, load_encoder
from reinforced.views import arrow_column


class EmbedText(Transform):
    """Adds the vector of each row's text, of unit length, by the text side of a CLIP model or by a text model.

    With the same CLIP model, `embed.clip` stores vectors in the same space. A second column is another step with its
    own `into` and `column`. A row without a text fails.
    """

    layer: ClassVar[str] = "text_embeddings"
    writes: ClassVar[tuple[str | pa.Field, ...]] = ("text_embedding",)
    parquet: ClassVar[dict[str, Any]] = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    alone: ClassVar[bool] = True
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    model: Annotated[TextModel, Field(description="The model: `open_clip` or `transformers`, a local folder.")]
    source: Annotated[str, Field(pattern=r"^\w+$", description="Column with the texts.")] = "caption"
    column: Annotated[str, Field(pattern=r"^\w+$", description="Name of the column.")] = "text_embedding"
    store: Annotated[Literal["float16", "float32"], Field(description="Type of the stored numbers.")] = "float16"
    batch_size: Annotated[int, Field(ge=1, description="Texts a CLIP model is asked about at once.")] = 64

    _encode: Encode | None = PrivateAttr(None)

    def __getstate__(self) -> dict[Any, Any]:
        """Leave the model behind: each worker loads its own."""
        return super().__getstate__() | {"__pydantic_private__": {"_encode": None}}

    def inputs(self) -> pa.Schema:
        """Return the texts."""
        return pa.schema([pa.field(self.source, pa.string())])

    def outputs(self) -> pa.Schema:
        """Return the column, of fixed-size lists as long as the model's space."""
        kind = pa.list_(columns.parse_type(self.store), self.model.dimensions())
        return pa.schema([columns.known_column("text_embedding").with_name(self.column).with_type(kind)])

    def ingredients(self) -> dict[str, str]:
        """Return the hashes of the model's files."""
        return self.model.hashes()

    def setup(self) -> None:
        """Load the model."""
        self._encode = load_encoder(self.model, self.resources, self.batch_size)

    def transform(self, batch: Batch) -> Columns:
        """Return a vector a row; equal texts are encoded once."""
        assert self._encode is not None, "setup() comes first"
        texts = batch.values(self.source)
        if None in texts:
            raise ValueError(f"null: {self.source}")
        different = sorted(set(texts))
        place = {text: i for i, text in enumerate(different)}
        vectors = self._encode(different)[[place[text] for text in texts]]
        if not np.isfinite(vectors).all():
            raise ValueError(f"vectors of {self.model.name} are NaN or infinite")
        return {self.column: arrow_column(vectors.astype(self.store))}
