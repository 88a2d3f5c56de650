"""Near-duplicate texts, by MinHash."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from reinforced import columns, min_hash
from reinforced.batch import Batch
from reinforced.duplicates import NearDuplicates
from reinforced.hamming import Places
from reinforced.operator import Columns


class DedupText(NearDuplicates):
    """Drops rows whose text is nearly that of another one: MinHash over shingles of five characters, with banding.

    Case, compatibility forms and white space do not count. Of each cluster the longest text survives, then the
    smallest key. The reason is `near-duplicate: <key> is kept`, the score the estimated Jaccard distance to it. Rows
    without a text, or with an empty one, are duplicates of none.
    """

    layer: ClassVar = "text_duplicates"
    writes: ClassVar = ("text_cluster", "text_distance")
    prefer: ClassVar = ("characters",)
    examples: ClassVar = ({"column": "label_name", "min_similarity": 0.5},)

    column: Annotated[str, Field(description="Column with the texts.")] = "caption"
    min_similarity: Annotated[
        float, Field(ge=0.1, le=1, description="Jaccard similarity of the shingles from which texts are duplicates.")
    ] = 0.8
    seed: Annotated[int, Field(ge=0, description="Seed of the hashing.")] = 0

    def inputs(self) -> pa.Schema:
        """Return the text."""
        return pa.schema([pa.field(self.column, pa.string())])

    def sketch_schema(self) -> pa.Schema:
        """Return the signature as bytes, null where there is no text, and the length."""
        return pa.schema(
            [columns.column("signature", "binary", "MinHash."), columns.column("characters", "int64", "Length.")]
        )

    def sketch(self, batch: Batch) -> Columns:
        """Hash the texts."""
        texts = [min_hash.normalized(text or "") for text in batch.values(self.column)]
        signatures = [min_hash.signature(text, self.seed).tobytes() if text else None for text in texts]
        return {"signature": signatures, "characters": [len(text) for text in texts]}

    def cluster(self, sketches: pa.Table) -> tuple[Places, npt.NDArray[np.floating[Any]]]:
        """Join the texts that are alike enough."""
        raw = b"".join(sketches.column("signature").to_pylist())
        signatures = np.frombuffer(raw, np.uint32).reshape(-1, min_hash.SIZE)
        first = min_hash.clusters(signatures, self.min_similarity)
        return first, (signatures != signatures[first]).mean(1)
