"""Pictures of one colour."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from reinforced.batch import Batch
from reinforced.images import Pixels
from reinforced.operator import Filter, Verdicts


class FilterSingleColour(Filter):
    """Drops pictures that are one colour everywhere, such as what a host shows in place of a deleted photo.

    One colour: at least `share` of the pixels lie within `tolerance` of the median in each of red, green and blue. The
    reason is `single colour`, the score the share. A flat picture with a little text on it has a share just below 1.
    """

    reads: ClassVar = ("pixels",)
    examples: ClassVar = ({}, {"tolerance": 60, "share": 0.5})

    tolerance: Annotated[int, Field(ge=0, le=255, description="Most difference from the median, of 255.")] = 4
    share: Annotated[float, Field(gt=0, le=1, description="Least share of such pixels.")] = 1.0

    def judge(self, batch: Batch) -> Verdicts:
        """Compare each picture with its median colour."""
        shares = [self._share(pixels) for pixels in batch.pixels]
        return Verdicts(["single colour" if share >= self.share else None for share in shares], shares)

    def _share(self, pixels: Pixels) -> float:
        median = np.median(pixels.reshape(-1, 3), axis=0)
        return float((np.abs(pixels - median) <= self.tolerance).all(axis=2).mean())
