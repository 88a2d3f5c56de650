"""No more than a few images of each author."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import pyarrow as pa
from pydantic import Field

from reinforced import columns, counter
from reinforced.batch import Batch
from reinforced.operator import Columns, Global

if TYPE_CHECKING:
    import duckdb


class SampleCapPerGroup(Global):
    """Keeps at most `most` images of each author, or of each value of another column, chosen at random.

    Which ones depends on the seed and their keys alone: each row has a number, and the smallest stay. The reason is
    `over the cap: <value>`, the score the rows of the group. A row without a value is no group: it is dropped with the
    reason `no group`, or kept with `keep_null`.
    """

    examples: ClassVar = ({"column": "label_name", "most": 2}, {"column": "label", "most": 1, "keep_null": True})

    most: Annotated[int, Field(ge=1, description="Most images of each value.")] = 80
    column: Annotated[str, Field(description="Column whose every value is a group.")] = "author"
    keep_null: Annotated[bool, Field(description="Whether to keep all rows without a value.")] = False
    seed: Annotated[int, Field(description="Seed of the choice.")] = 0

    def inputs(self) -> pa.Schema:
        """Return the column, of whatever type."""
        return pa.schema([pa.field(self.column, pa.null())])

    def sketch_schema(self) -> pa.Schema:
        """Return the group and a random number."""
        return pa.schema(
            [
                columns.column("part", "string", "The value as text."),
                columns.column("word", "uint64", "A random number from seed and key."),
            ]
        )

    def sketch(self, batch: Batch) -> Columns:
        """Return the value and the number of each row."""
        parts = [None if value is None else str(value) for value in batch.values(self.column)]
        high, low = counter.words(self.seed, self.name(), batch.keys, [0], 2)[:, 0].T.astype("uint64")
        return {"part": parts, "word": high << 32 | low}

    def reduce(self, sketches: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        """Return the rows beyond each group's smallest numbers."""
        dropped = sketches.query(
            "sketches",
            f"""
            WITH ranked AS (
                SELECT shard, row, part, row_number() OVER (PARTITION BY part ORDER BY word, key) AS place,
                    count(*) OVER (PARTITION BY part) AS rows FROM sketches
            )
            SELECT shard, row, CASE WHEN part IS NULL THEN 'no group' ELSE 'over the cap: ' || part END AS reason,
                CASE WHEN part IS NOT NULL THEN rows::DOUBLE END AS score
            FROM ranked WHERE CASE WHEN part IS NULL THEN {not self.keep_null} ELSE place > {self.most} END
            """,
        )
        assert dropped is not None
        return dropped
