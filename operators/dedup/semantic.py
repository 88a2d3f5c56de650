"""Semantic duplicates, by embedding."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from reinforced import columns, embeddings
from reinforced.batch import Batch
from reinforced.duplicates import rows_of
from reinforced.operator import Columns, Global

if TYPE_CHECKING:
    import duckdb


class DedupSemantic(Global):
    """Drops images whose embedding is nearly that of another of their k-means cluster (SemDeDup, Abbas et al. 2023).

    In each cluster the rows are put in the order of `keep`, and a row is dropped if an earlier one, dropped or not, is
    more similar to it than `min_similarity`. The reason is `semantic duplicate: like <key>`, the score the cosine.
    The layer holds every row's cluster and its largest cosine to an earlier row. Embeddings are compared as float16 of
    unit length and lie on disk, not in memory.
    """

    layer: ClassVar = "semantic_duplicates"
    writes: ClassVar = ("semantic_cluster", "semantic_similarity")
    examples: ClassVar = ()

    embedding: Annotated[str, Field(description="Column with the embeddings: lists of floats of one length.")]
    min_similarity: Annotated[float, Field(gt=-1, le=1, description="Cosine from which a row is a duplicate.")] = 0.95
    clusters: Annotated[
        int | None, Field(ge=1, description="Number of clusters; default: the square root of the number of rows.")
    ] = None
    keep: Annotated[
        Literal["farthest", "nearest", "largest"],
        Field(
            description="Which row of several survives: by cosine to the centroid (the paper's is farthest) or pixels."
        ),
    ] = "farthest"
    seed: Annotated[int, Field(ge=0, description="Seed of k-means.")] = 0

    def inputs(self) -> pa.Schema:
        """Return the embedding and the size."""
        return pa.schema([pa.field(self.embedding, pa.null()), *columns.resolve(["width", "height"])])

    def check(self, available: pa.Schema) -> None:
        """Refuse a column that is no list of floats, and an installation without faiss."""
        embeddings.check(available.field(self.embedding))
        embeddings.need_faiss()

    def sketch_schema(self) -> pa.Schema:
        """Return the embedding as bytes, whatever its length, and the pixels."""
        return pa.schema(
            [
                columns.column("embedding", "binary", "Unit vector, float16."),
                columns.column("pixels", "int64", "Size.", "px"),
            ]
        )

    def sketch(self, batch: Batch) -> Columns:
        """Scale the embeddings to unit length."""
        vectors = embeddings.units(batch.table.column(self.embedding)).astype(np.float16)
        sizes = zip(batch.values("width"), batch.values("height"), strict=True)
        return {"embedding": [vector.tobytes() for vector in vectors], "pixels": [w * h for w, h in sizes]}

    def reduce(self, sketches: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        """Cluster the embeddings and compare within clusters."""
        sketches.query(
            "sketches",
            "CREATE TEMP TABLE ranked AS SELECT row_number() OVER (ORDER BY pixels DESC, key) - 1 AS place, "
            "shard, row, key FROM sketches WHERE embedding IS NOT NULL",
        )
        placed = "SELECT place, embedding FROM sketches JOIN ranked USING (shard, row)"
        with tempfile.TemporaryDirectory(prefix="reinforced-") as folder:
            rows = rows_of(sketches, "SELECT count(*) FROM ranked").fetchall()[0][0]
            count = self.clusters or max(1, round(rows**0.5))
            vectors = embeddings.on_disk(rows_of(sketches, placed), rows, Path(folder, "embeddings"))
            cluster, centroid = embeddings.k_means(vectors, count, self.seed)
            orders = {"farthest": centroid, "nearest": -centroid, "largest": np.zeros_like(centroid)}
            order = orders[self.keep]
            similarity, like = embeddings.nearest_before(vectors, cluster, order)
        found = pa.table({"place": np.arange(len(like)), "cluster": cluster, "cosine": similarity, "other": like})
        result = sketches.query(  # here, where DuckDB sees `found`
            "sketches",
            f"""
            SELECT r.shard, r.row, CASE WHEN cosine > {self.min_similarity!r}
                THEN 'semantic duplicate: like ' || o.key END AS reason,
                cosine::DOUBLE AS score, cluster AS semantic_cluster,
                CASE WHEN other >= 0 THEN cosine END AS semantic_similarity
            FROM found JOIN ranked r USING (place) LEFT JOIN ranked o ON o.place = found.other
            """,
        )
        assert result is not None and found.num_rows == len(like)
        return result
