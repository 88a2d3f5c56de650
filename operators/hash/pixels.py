"""The hash of the decoded picture."""

from __future__ import annotations

from typing import ClassVar

from reinforced.batch import Batch
from reinforced.images import pixel_sha256
from reinforced.operator import Columns, Transform


class HashPixels(Transform):
    """Adds the SHA-256 of each image's size and upright RGB pixels, equal for one picture in two lossless encodings.

    `dedup.exact` with `by: pixels` uses the column instead of hashing again.
    """

    layer: ClassVar = "hashes"
    reads: ClassVar = ("pixels",)
    writes: ClassVar = ("pixel_sha256",)

    def transform(self, batch: Batch) -> Columns:
        """Return a hash a row."""
        return {"pixel_sha256": [pixel_sha256(image) for image in batch.pixels]}
