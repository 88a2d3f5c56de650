"""The best rows by a score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Self

import pyarrow as pa
import pyarrow.types as types
from pydantic import Field, model_validator

from reinforced import columns
from reinforced.batch import Batch
from reinforced.operator import Columns, Global

if TYPE_CHECKING:
    import duckdb


class FilterTop(Global):
    """Keeps the rows with the highest values of a column: a share or a number of them, of all rows or in each group.

    Equal values go by key. The reason is `not among the top`, the score the row's value; rows without a value, or
    without a group, are dropped with the reason `null`. DataComp keeps the top 30 % by `clip_score`.
    """

    examples: ClassVar = ({"column": "width", "share": 0.5}, {"column": "height", "count": 2, "per": "label_name"})

    column: Annotated[str, Field(description="Column with numbers; more is better.")]
    share: Annotated[float | None, Field(gt=0, le=1, description="Share of the rows to keep, rounded up.")] = None
    count: Annotated[int | None, Field(ge=1, description="Number of rows to keep.")] = None
    per: Annotated[str | None, Field(description="Column whose every value is a group of its own.")] = None

    @model_validator(mode="after")
    def _check_amount(self) -> Self:
        if (self.share is None) == (self.count is None):
            raise ValueError("give either share or count")
        return self

    def inputs(self) -> pa.Schema:
        """Return the value and the group."""
        return pa.schema([pa.field(name, pa.null()) for name in (self.column, self.per) if name])

    def check(self, available: pa.Schema) -> None:
        """Refuse a column that holds no numbers."""
        found = available.field(self.column).type
        if not (types.is_integer(found) or types.is_floating(found)):
            raise ValueError(f"column '{self.column}' is {found}; only numbers have an order of good and bad")

    def sketch_schema(self) -> pa.Schema:
        """Return the value and the group as text."""
        return pa.schema(
            [columns.column("value", "float64", "The value."), columns.column("part", "string", "The group.")]
        )

    def sketch(self, batch: Batch) -> Columns:
        """Return values and groups."""
        parts = [None if v is None else str(v) for v in batch.values(self.per)] if self.per else [""] * len(batch)
        return {"value": batch.table.column(self.column).cast(pa.float64()), "part": parts}

    def reduce(self, sketches: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        """Rank the rows of every group."""
        limit = f"{self.count}" if self.share is None else f"ceil({self.share!r} * count(*) OVER (PARTITION BY part))"
        dropped = sketches.query(
            "sketches",
            f"""
            SELECT shard, row, 'null' AS reason, NULL::DOUBLE AS score
            FROM sketches WHERE value IS NULL OR isnan(value) OR part IS NULL
            UNION ALL
            SELECT shard, row, 'not among the top' AS reason, value AS score
            FROM sketches WHERE value IS NOT NULL AND NOT isnan(value) AND part IS NOT NULL
            QUALIFY row_number() OVER (PARTITION BY part ORDER BY value DESC, key) > {limit}
            """,
        )
        assert dropped is not None
        return dropped
