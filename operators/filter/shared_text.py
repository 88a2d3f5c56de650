"""Texts that many images share, texts with rare words, images with many texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import pyarrow as pa
from pydantic import Field

from reinforced import columns
from reinforced.batch import Batch
from reinforced.operator import Columns, Global
from reinforced.words import words

if TYPE_CHECKING:
    import duckdb


class FilterSharedText(Global):
    """Drops rows by how often their text, its words and their image occur in the dataset (ALIGN, Jia et al. 2021).

    A row is an image with one of its texts; images are the same if their bytes are. The reasons, in this order, are
    `max_texts` (the image has more texts), `max_images` (the text has more images) and `rare: <gram>` (a word or a pair
    of neighbouring words is not among the most frequent ones; equals go by the alphabet). The score is the number
    counted, if any. Case, width and punctuation do not count; rows without a text are kept, see `filter.alt_text`.
    """

    examples: ClassVar = (
        {"column": "label_name", "max_images": 2},
        {"column": "path", "frequent_grams": 8, "max_texts": 1},
    )

    column: Annotated[str, Field(description="Column with the texts.")] = "caption"
    max_images: Annotated[int | None, Field(ge=1, description="Most images of one text.")] = 10
    max_texts: Annotated[int | None, Field(ge=1, description="Most texts of one image.")] = 1000
    frequent_grams: Annotated[
        int | None, Field(ge=1, description="Words and pairs that are frequent enough; none by default, ALIGN has 1e8.")
    ] = None

    def inputs(self) -> pa.Schema:
        """Return the text and the hash of the image."""
        return pa.schema([pa.field(self.column, pa.string()), columns.known_column("sha256")])

    def sketch_schema(self) -> pa.Schema:
        """Return the text's words and the image's hash."""
        return pa.schema(
            [
                columns.column("text", "string", "Words with a space between."),
                columns.column("image", "string", "SHA-256 of the file."),
            ]
        )

    def sketch(self, batch: Batch) -> Columns:
        """Bring texts into one form; those without words are null."""
        texts = [" ".join(words(text or "")) or None for text in batch.values(self.column)]
        return {"text": texts, "image": batch.values("sha256")}

    def reduce(self, sketches: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        """Count texts of images, images of texts, and grams."""
        texts, images = (limit if limit is not None else "NULL" for limit in (self.max_texts, self.max_images))
        rare = _NONE_RARE if self.frequent_grams is None else _RARE.format(frequent=self.frequent_grams)
        dropped = sketches.query("sketches", _COUNTED.format(texts=texts, images=images, rare=rare))
        assert dropped is not None
        return dropped


_NONE_RARE = "rare AS (SELECT shard, row, text AS gram FROM texts WHERE false)"
_RARE = """
    split AS (SELECT shard, row, string_split(text, ' ') AS words FROM texts),
    grams AS (
        SELECT shard, row, unnest(words) AS gram FROM split
        UNION ALL
        SELECT shard, row, unnest([words[i] || ' ' || words[i + 1] for i in range(1, len(words))]) FROM split
    ),
    frequent AS (SELECT gram FROM grams GROUP BY gram ORDER BY count(*) DESC, gram LIMIT {frequent}),
    rare AS (SELECT shard, row, min(gram) AS gram FROM grams ANTI JOIN frequent USING (gram) GROUP BY shard, row)
"""
_COUNTED = """
    WITH texts AS (SELECT shard, row, text, image FROM sketches WHERE text IS NOT NULL),
    many_texts AS (SELECT image, count(DISTINCT text) AS n FROM texts GROUP BY image HAVING n > {texts}),
    many_images AS (SELECT text, count(DISTINCT image) AS n FROM texts GROUP BY text HAVING n > {images}),
    {rare}
    SELECT shard, row,
        CASE WHEN many_texts.n IS NOT NULL THEN 'max_texts' WHEN many_images.n IS NOT NULL THEN 'max_images'
            ELSE 'rare: ' || rare.gram END AS reason,
        coalesce(many_texts.n, many_images.n)::DOUBLE AS score
    FROM texts LEFT JOIN many_texts USING (image) LEFT JOIN many_images USING (text) LEFT JOIN rare USING (shard, row)
    WHERE many_texts.n IS NOT NULL OR many_images.n IS NOT NULL OR rare.gram IS NOT NULL
"""
