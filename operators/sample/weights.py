"""Mix parts of a dataset by weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import pyarrow as pa
from pydantic import Field

from reinforced import columns, counter
from reinforced.batch import Batch
from reinforced.errors import RequestError
from reinforced.operator import Columns, Global

if TYPE_CHECKING:
    import duckdb


class SampleWeights(Global):
    """Keeps a random part of each group of rows, so that their numbers stand to each other as the weights.

    As many rows stay as the scarcest group allows, or `count` in all. The reason is `not sampled`, or `no weight` in
    a group that is not named.
    """

    examples: ClassVar = ({"column": "split", "weights": {"train": 2, "test": 1}},)

    column: Annotated[str, Field(description="Column that says which group a row belongs to.")]
    weights: Annotated[
        dict[str, Annotated[float, Field(gt=0)]], Field(min_length=1, description="Weight of each group, any scale.")
    ]
    count: Annotated[int | None, Field(ge=1, description="Rows to keep in all, if the groups have so many.")] = None
    seed: Annotated[int, Field(description="Seed of the sampling.")] = 0

    def inputs(self) -> pa.Schema:
        """Return the group."""
        return pa.schema([pa.field(self.column, pa.null())])

    def sketch_schema(self) -> pa.Schema:
        """Return the group as text and a random word."""
        return pa.schema([columns.column("part", "string", "Group."), columns.column("word", "uint32", "Random.")])

    def sketch(self, batch: Batch) -> Columns:
        """Draw a word for every row."""
        parts = [None if value is None else str(value) for value in batch.values(self.column)]
        return {"part": parts, "word": counter.words(self.seed, "sample.weights", batch.keys, [0], 1).ravel()}

    def reduce(self, sketches: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        """Find how many rows of each group fit, and take those with the smallest words."""
        counts = dict(sketches.aggregate("part, count(*)", "part").fetchall())
        if missing := sorted(set(self.weights) - set(counts)):
            raise RequestError(f"sample.weights: no row has '{missing[0]}' in column '{self.column}'")
        total = sum(self.weights.values())
        rows = min(counts[part] * total / weight for part, weight in self.weights.items())
        rows = min(rows, self.count) if self.count is not None else rows
        quota = pa.table(
            {
                "part": pa.array(self.weights, pa.string()),
                "quota": pa.array([round(rows * weight / total) for weight in self.weights.values()], pa.int64()),
            }
        )
        dropped = sketches.query(
            "sketches",
            """
            SELECT shard, row, CASE WHEN quota IS NULL THEN 'no weight' ELSE 'not sampled' END AS reason,
                NULL::DOUBLE AS score
            FROM sketches LEFT JOIN quota USING (part)
            QUALIFY quota IS NULL OR row_number() OVER (PARTITION BY part ORDER BY word, key) > quota
            """,
        )
        assert dropped is not None and len(quota) == len(self.weights)
        return dropped
