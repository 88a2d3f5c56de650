"""What global steps share that add columns worked out of the embeddings and labels of all rows."""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from reinforced import columns, embeddings
from reinforced.batch import Batch
from reinforced.operator import Columns, Global

if TYPE_CHECKING:
    import duckdb

Labels = npt.NDArray[np.int32]


class EmbeddingStep(Global):
    """A global step that looks at all embeddings as one array and drops nothing."""

    examples: ClassVar = ()
    needs_labels: ClassVar[bool] = True

    embedding: Annotated[str, Field(description="Column with the embeddings: lists of floats of one length.")]

    @abstractmethod
    def found(self, vectors: embeddings.Vectors, labels: Labels) -> Mapping[str, Any]:
        """Return the columns it writes, one value a row.

        vectors: float16 (rows, dimensions) of unit length in order of the keys, on disk; labels: -1 for none.
        """

    def inputs(self) -> pa.Schema:
        """Return the embedding, and the label where it counts."""
        label = [columns.known_column("label")] if self.needs_labels else []
        return pa.schema([pa.field(self.embedding, pa.null()), *label])

    def check(self, available: pa.Schema) -> None:
        """Refuse a column that is no list of floats."""
        embeddings.check(available.field(self.embedding))

    def sketch_schema(self) -> pa.Schema:
        """Return the embedding as bytes, whatever its length, and the label."""
        unit = columns.column("embedding", "binary", "Unit vector, float16.")
        return pa.schema([unit, columns.column("label", "int32", "Label.")])

    def sketch(self, batch: Batch) -> Columns:
        """Scale the embeddings to unit length."""
        vectors = embeddings.units(batch.table.column(self.embedding)).astype(np.float16)
        labels = batch.values("label") if self.needs_labels else [None] * len(batch)
        return {"embedding": [vector.tobytes() for vector in vectors], "label": labels}

    def reduce(self, sketches: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        """Work the columns out, with the rows in order of their keys."""
        sketches.query(
            "sketches",
            "CREATE TEMP TABLE ranked AS SELECT row_number() OVER (ORDER BY key) - 1 AS place, shard, row, "
            "coalesce(label, -1)::INTEGER AS label FROM sketches",
        )
        ordered = sketches.query("_", "SELECT label FROM ranked ORDER BY place")
        placed = sketches.query("sketches", "SELECT place, embedding FROM sketches JOIN ranked USING (shard, row)")
        assert ordered is not None and placed is not None
        labels = np.asarray(ordered.fetchnumpy()["label"])
        with tempfile.TemporaryDirectory(prefix="reinforced-") as folder:
            vectors = embeddings.on_disk(placed, len(labels), Path(folder, "embeddings"))
            added = pa.table({"place": np.arange(len(labels))} | dict(self.found(vectors, labels)))
        names = ", ".join(self.outputs().names)
        result = sketches.query(
            "_",
            f"SELECT shard, row, NULL::VARCHAR AS reason, NULL::DOUBLE AS score, {names} "
            "FROM added JOIN ranked USING (place)",
        )
        assert result is not None and added.num_rows == len(labels)
        return result
