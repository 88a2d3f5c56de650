"""Image embeddings by a CLIP model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, PrivateAttr

from reinforced import columns
from reinforced.batch import Batch
from reinforced.clip import ClipEncoder, OpenClipModel
from reinforced.operator import Columns, Transform


class EmbedClip(Transform):
    """Adds each image's embedding by a CLIP model of open_clip, of unit length, as `clip_embedding`.

    Images are resized to cover the model's input and cropped at the centre, as published scores and thresholds expect;
    `embed.image` resizes them whole. The weights are read from files; nothing is downloaded. `score.clip`,
    `score.aesthetic`, `dedup.semantic` and `label.cluster` read the column.
    """

    version: ClassVar = 2
    layer: ClassVar = "clip_embeddings"
    reads: ClassVar = ("pixels",)
    alone: ClassVar = True
    examples: ClassVar = ()

    model: Annotated[OpenClipModel, Field(description="The CLIP model.")]
    batch_size: Annotated[int, Field(ge=1, description="Images the model is asked about at once.")] = 64

    _encoder: ClipEncoder | None = PrivateAttr(None)

    def __getstate__(self) -> dict[Any, Any]:
        """Leave the model behind: each worker loads its own."""
        return super().__getstate__() | {"__pydantic_private__": {"_encoder": None}}

    def outputs(self) -> pa.Schema:
        """Return the column, as long as the model's space."""
        kind = columns.parse_type(f"float16[{self.model.dimensions()}]")
        return pa.schema([columns.known_column("clip_embedding").with_type(kind)])

    def ingredients(self) -> dict[str, str]:
        """Return the hashes of the model's files."""
        return self.model.hashes()

    def metadata(self) -> dict[str, str]:
        """Return the document on the model and its files' hashes, by name without folders."""
        files = {Path(file).name: sha256 for file, sha256 in self.model.hashes().items()}
        return {
            "embeddings": json.dumps({"column": "clip_embedding", "clip": {"name": self.model.name, "files": files}})
        }

    def setup(self) -> None:
        """Load the model."""
        self._encoder = ClipEncoder(self.model, self.batch_size, self.resources)

    def transform(self, batch: Batch) -> Columns:
        """Return an embedding a row."""
        assert self._encoder is not None, "setup() comes first"
        found = self._encoder.images(batch.pixels).astype(np.float16)
        return {"clip_embedding": pa.FixedSizeListArray.from_arrays(pa.array(found.reshape(-1)), found.shape[1])}
