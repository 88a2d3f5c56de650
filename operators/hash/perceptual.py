"""Perceptual hashes."""

from __future__ import annotations

from typing import Annotated, ClassVar

import pyarrow as pa
from pydantic import Field

from reinforced import columns
from reinforced.batch import Batch
from reinforced.operator import Columns, Transform
from reinforced.perceptual_hash import Kind, hash_column, perceptual_hash


class HashPerceptual(Transform):
    """Adds perceptual hashes: few bits differ between a picture and its resized or newly encoded copies.

    Each kind is a column, and a second one says how much there is to see, 0 to 100: a plain picture has next to nothing
    that its hash could tell it by. JPEGs are decoded at the scale that the hash needs. `dedup.perceptual` and
    `dedup.against` use the columns instead of hashing again.
    """

    layer: ClassVar = "perceptual_hashes"
    reads: ClassVar = ("image",)
    examples: ClassVar = ({}, {"kinds": ("phash_256", "pdq")})

    kinds: Annotated[
        tuple[Kind, ...],
        Field(min_length=1, description="Which: pHash of 64 bits, pHash of 256, or PDQ, which has 256."),
    ] = ("phash",)

    def outputs(self) -> pa.Schema:
        """Return two columns a kind."""
        return columns.resolve([name for kind in dict.fromkeys(self.kinds) for name in (kind, f"{kind}_quality")])

    def transform(self, batch: Batch) -> Columns:
        """Hash the images of the batch, kind by kind."""
        images = batch.values("image")
        added: dict[str, pa.Array] = {}
        for kind in self.kinds:
            hashes, quality = perceptual_hash(images, kind)
            added |= {kind: hash_column(hashes), f"{kind}_quality": pa.array(quality)}
        return added
