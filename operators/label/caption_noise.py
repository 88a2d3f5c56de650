"""Wrong captions on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import pyarrow as pa
from pydantic import Field

from reinforced import columns, counter
from reinforced.batch import Batch
from reinforced.operator import Columns, Global

if TYPE_CHECKING:
    import duckdb


class LabelCaptionNoise(Global):
    """Adds captions of which exactly a given share comes from another image; the true ones stay in their column.

    The chosen rows stand in a random circle, and each gets the caption of the next: no caption is lost, and only equal
    captions can meet their own image. One row alone is not chosen.
    """

    layer: ClassVar = "noisy_captions"
    writes: ClassVar = ("noisy_caption", "caption_is_noisy")
    examples: ClassVar = ({"column": "path", "rate": 0.5},)

    rate: Annotated[float, Field(ge=0, le=1, description="Share of the captions that are wrong.")]
    column: Annotated[str, Field(description="Column with the captions.")] = "caption"
    seed: Annotated[int, Field(description="Seed of the noise.")] = 0

    def inputs(self) -> pa.Schema:
        """Return the caption."""
        return pa.schema([pa.field(self.column, pa.string())])

    def sketch_schema(self) -> pa.Schema:
        """Return the caption and a random word."""
        return pa.schema([columns.column("text", "string", "Caption."), columns.column("u", "uint32", "Random.")])

    def sketch(self, batch: Batch) -> Columns:
        """Draw a word for every row."""
        words = counter.words(self.seed, "label.caption_noise", batch.keys, [0], 1).ravel()
        return {"text": batch.values(self.column), "u": words}

    def reduce(self, sketches: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        """Put the rows with the smallest words into a circle, and pass captions on."""
        found = sketches.query(
            "sketches",
            f"""
            WITH placed AS (
                SELECT *, row_number() OVER (ORDER BY u, key) AS place, round({self.rate!r} * count(*) OVER ()) AS last
                FROM sketches WHERE text IS NOT NULL
            ),
            circle AS (SELECT * FROM placed WHERE place <= last AND last > 1),
            chosen AS (
                SELECT one.shard, one.row, next.text AS wrong
                FROM circle one JOIN circle next ON next.place = one.place % one.last + 1
            )
            SELECT shard, row, NULL::VARCHAR AS reason, NULL::DOUBLE AS score,
                coalesce(wrong, text) AS noisy_caption, wrong IS NOT NULL AS caption_is_noisy
            FROM sketches LEFT JOIN chosen USING (shard, row)
            """,
        )
        assert found is not None
        return found
