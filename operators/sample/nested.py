"""Nested subsets on a logarithmic scale."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from reinforced import counter
from reinforced.batch import Batch
from reinforced.operator import Columns, Transform


class SampleNested(Transform):
    """Says for each row which random subsets it is in: each `factor` times smaller than the last, and part of it.

    `filter.where` with `subset >= 2` takes the second subset, about 1 / factor² of the rows. A row's place depends on
    the seed and its key alone, so the subsets of a dataset that grows stay and grow with it. This is how DataComp's
    scales relate (Gadre et al. 2023).
    """

    layer: ClassVar = "subsets"
    writes: ClassVar = ("subset",)

    factor: Annotated[float, Field(gt=1, description="How many times smaller each subset is than the one before.")] = 10
    subsets: Annotated[int, Field(ge=1, le=63, description="Number of subsets below the whole.")] = 3
    seed: Annotated[int, Field(description="Seed of the subsets.")] = 0

    def transform(self, batch: Batch) -> Columns:
        """Return the number of the smallest subset of each row."""
        words = counter.words(self.seed, "sample.nested", batch.keys, [0], 1).ravel()
        shares = self.factor ** -np.arange(1.0, self.subsets + 1)
        return {"subset": (words[:, None] < shares * 2**32).sum(1).astype(np.uint8)}
