"""Embed texts: store where a text encoder puts them."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, PrivateAttr

from reinforced import columns
from reinforced.batch import Batch
from reinforced.operator import Columns, Transform
from reinforced.text_encoder import AnyEncoder, Encode, normalized
from reinforced.views import arrow_column


class EmbedText(Transform):
    """Adds the vector of each row's text, by the text side of a CLIP model or a text model of transformers.

    With the same CLIP model, `embed.image` stores vectors in the same space. A second column is another step with its
    own `into` and `column`. A row without a text fails.
    """

    layer: ClassVar[str] = "text_embeddings"
    writes: ClassVar[tuple[str | pa.Field, ...]] = ("text_embedding",)
    parquet: ClassVar[dict[str, Any]] = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    alone: ClassVar[bool] = True
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    encoder: Annotated[AnyEncoder, Field(description="The model: `open_clip` or `transformers`, a local folder.")]
    source: Annotated[str, Field(pattern=r"^\w+$", description="Column with the texts.")] = "caption"
    column: Annotated[str, Field(pattern=r"^\w+$", description="Name of the column.")] = "text_embedding"
    normalize: Annotated[bool, Field(description="Whether each vector is divided by its Euclidean length.")] = True
    store: Annotated[Literal["float16", "float32"], Field(description="Type of the stored numbers.")] = "float16"
    width: Annotated[
        int | None, Field(ge=1, description="Numbers in a vector; default: planning loads the model and measures.")
    ] = None

    _width: int | None = PrivateAttr(None)
    _encode: Encode | None = PrivateAttr(None)

    def inputs(self) -> pa.Schema:
        """Return the texts."""
        return pa.schema([pa.field(self.source, pa.string())])

    def outputs(self) -> pa.Schema:
        """Return the column, of fixed-size lists."""
        if self._width is None:
            self._width = self.width or self._load()(["a text"]).shape[1]
        kind = pa.list_(columns.parse_type(self.store), self._width)
        return pa.schema([columns.known_column("text_embedding").with_name(self.column).with_type(kind)])

    def ingredients(self) -> dict[str, str]:
        """Return the hash of the model."""
        return {self.encoder.name: self.encoder.content_hash()}

    def metadata(self) -> dict[str, str]:
        """Return the document on the model and what was stored of it."""
        chosen = self.model_dump(mode="json", include={"source", "column", "normalize", "store"})
        model = {"name": self.encoder.name, "sha256": self.encoder.content_hash()}
        return {"text_embeddings": json.dumps({**chosen, "width": self._width, "encoder": model})}

    def setup(self) -> None:
        """Load the model."""
        self._encode = self._load()

    def transform(self, batch: Batch) -> Columns:
        """Return a vector a row; equal texts are encoded once."""
        assert self._encode is not None, "setup() comes first"
        texts = batch.values(self.source)
        if None in texts:
            raise ValueError(f"null: {self.source}")
        different = sorted(set(texts))
        place = {text: i for i, text in enumerate(different)}
        vectors = self._encode(different)[[place[text] for text in texts]]
        vectors = normalized(vectors) if self.normalize else vectors
        with np.errstate(over="ignore"):
            stored = vectors.astype(self.store)
        if not np.isfinite(stored).all():
            raise ValueError(f"vectors of {self.encoder.name} are NaN, infinite or too large for {self.store}")
        return {self.column: arrow_column(stored)}

    def _load(self) -> Encode:
        import torch

        return self.encoder.load(torch.device("cuda" if self.resources.gpus and torch.cuda.is_available() else "cpu"))

    def __getstate__(self) -> dict[Any, Any]:
        return super().__getstate__() | {"__pydantic_private__": {"_width": self._width, "_encode": None}}
