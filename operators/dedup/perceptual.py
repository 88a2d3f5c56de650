"""Near-duplicates, by perceptual hash."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from reinforced import columns
from reinforced.batch import Batch
from reinforced.duplicates import NearDuplicates
from reinforced.hamming import Places, clusters
from reinforced.operator import Columns
from reinforced.perceptual_hash import RADIUS, Kind, hamming, hash_array, hash_column, perceptual_hash


class DedupPerceptual(NearDuplicates):
    """Drops near-duplicates: images that a chain of perceptual hashes, each near to the next, joins to a better one.

    Of each cluster the image with the most pixels survives, then the one with the most bytes, then the smallest key.
    The reason is `near-duplicate: <key> is kept`, the score the Hamming distance to it. The layer names every image's
    cluster. Existing columns of `hash.perceptual` are used instead of hashing again.
    """

    layer: ClassVar = "perceptual_duplicates"
    writes: ClassVar = ("perceptual_cluster", "perceptual_distance")
    prefer: ClassVar = ("pixels", "bytes")
    examples: ClassVar = ({}, {"hash": "pdq", "max_distance": 40})

    hash: Annotated[
        Kind, Field(description="Hash to compare: pHash of 64 bits, pHash of 256, or PDQ, which has 256.")
    ] = "phash"
    max_distance: Annotated[
        int | None,
        Field(
            ge=0,
            le=64,
            description="Most bits that differ between neighbours; default: 6 of 64, 24 or (PDQ) 31 of 256.",
        ),
    ] = None
    min_quality: Annotated[
        int, Field(ge=0, le=100, description="Images with less to see than this are no duplicates of any.")
    ] = 5

    def inputs(self) -> pa.Schema:
        """Return the image and its size."""
        return columns.resolve(["image", "width", "height"])

    def sketch_schema(self) -> pa.Schema:
        """Return the hash, null for images too plain to have one, and what decides who survives."""
        sizes = (columns.column("pixels", "int64", "Size.", "px"), columns.column("bytes", "int64", "Size.", "bytes"))
        return pa.schema([columns.known_column(self.hash).with_name("hash"), *sizes])

    def sketch(self, batch: Batch) -> Columns:
        """Hash the images, unless columns have their hashes."""
        images = batch.values("image")
        if {self.hash, f"{self.hash}_quality"} <= set(batch.table.column_names):
            hashes, quality = batch.table.column(self.hash), np.array(batch.values(f"{self.hash}_quality"))
        else:
            found, quality = perceptual_hash(images, self.hash)
            hashes = hash_column(found)
        rows = pa.array(np.arange(len(batch)), mask=quality < self.min_quality)
        pixels = [width * height for width, height in zip(batch.values("width"), batch.values("height"), strict=True)]
        return {"hash": hashes.take(rows), "pixels": pixels, "bytes": [len(image) for image in images]}

    def cluster(self, sketches: pa.Table) -> tuple[Places, npt.NDArray[np.floating[Any]]]:
        """Join the hashes within the distance."""
        hashes = hash_array(sketches.column("hash"))
        first = clusters(hashes, RADIUS[self.hash] if self.max_distance is None else self.max_distance)
        return first, hamming(hashes, hashes[first]).astype(np.float64)
