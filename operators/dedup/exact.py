"""Exact duplicates, by bytes or by pixels."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from reinforced import columns
from reinforced.batch import Batch
from reinforced.images import pixel_sha256
from reinforced.operator import Columns, Global

if TYPE_CHECKING:
    import duckdb


class DedupExact(Global):
    """Drops images that are the same as another one, and keeps of each group the one with the smallest key.

    Equal bytes or equal pixels have equal sizes, so nothing but the key tells the survivor from the others. The reason
    is `duplicate: <key> is kept`; rows without an image are no duplicates of each other. Existing `sha256` and
    `pixel_sha256` columns are used instead of hashing again.
    """

    examples: ClassVar = ({"by": "bytes"}, {"by": "pixels"})

    by: Annotated[
        Literal["bytes", "pixels"],
        Field(description="What must be equal: the encoded files, or the pictures whatever their encoding."),
    ] = "bytes"

    def inputs(self) -> pa.Schema:
        """Return the hash that the engine makes of every file, or the image."""
        return columns.resolve(["sha256" if self.by == "bytes" else "image"])

    def sketch_schema(self) -> pa.Schema:
        """Return the digest, the only thing that is compared."""
        return pa.schema([columns.column("digest", "string", "SHA-256 of the bytes or the pixels, in hexadecimal.")])

    def sketch(self, batch: Batch) -> Columns:
        """Return a digest a row."""
        known = "sha256" if self.by == "bytes" else "pixel_sha256"
        if known in batch.table.column_names:
            return {"digest": batch.values(known)}
        if self.by == "pixels":
            return {"digest": [pixel_sha256(image) for image in batch.pixels]}
        images = batch.values("image")
        return {"digest": [None if data is None else hashlib.sha256(data).hexdigest() for data in images]}

    def reduce(self, sketches: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        """Return the rows whose digest a smaller key has too."""
        dropped = sketches.query(
            "sketches",
            """
            WITH survivors AS (SELECT digest, min(key) AS survivor FROM sketches GROUP BY digest HAVING count(*) > 1)
            SELECT shard, row, 'duplicate: ' || survivor || ' is kept' AS reason, NULL::DOUBLE AS score
            FROM sketches JOIN survivors USING (digest)
            WHERE key <> survivor
            """,
        )
        assert dropped is not None
        return dropped
