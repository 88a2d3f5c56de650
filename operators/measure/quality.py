"""Sharpness, entropy, exposure and colourfulness of pictures."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from reinforced.batch import Batch
from reinforced.images import Pixels
from reinforced.operator import Columns, Transform

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_CLIPPED = 8
"""Grey values this near to black or white count as clipped."""


class MeasureQuality(Transform):
    """Measures each picture once; `filter.where` chooses by the columns, so another threshold measures nothing again.

    Variance of the Laplacian (Pech-Pacheco et al. 2000), entropy and clipped shares of the grey values (ITU-R BT.601),
    and the colourfulness of Hasler and Süsstrunk (2003), all at the picture's own size.
    """

    layer: ClassVar = "quality"
    reads: ClassVar = ("pixels",)
    writes: ClassVar = ("sharpness", "entropy", "dark_share", "bright_share", "colourfulness")

    def transform(self, batch: Batch) -> Columns:
        """Return five numbers a row."""
        rows = [_measured(pixels) for pixels in batch.pixels]
        return {name: [row[i] for row in rows] for i, name in enumerate(self.outputs().names)}


def _measured(pixels: Pixels) -> tuple[float, ...]:
    grey = pixels.astype(np.float32) @ _LUMA
    counts = np.bincount(np.rint(grey).astype(np.uint8).ravel(), minlength=256)
    shares = counts[counts > 0] / grey.size
    dark, bright = counts[:_CLIPPED].sum() / grey.size, counts[-_CLIPPED:].sum() / grey.size
    # Not minus the sum: that would be -0.0 for a picture of one value.
    return _sharpness(grey), float((shares * -np.log2(shares)).sum() + 0.0), dark, bright, _colourfulness(pixels)


def _sharpness(grey: npt.NDArray[np.float32]) -> float:
    around = np.pad(grey, 1, mode="edge")
    neighbours = around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:]
    return float((neighbours - 4 * grey).var(dtype=np.float64))


def _colourfulness(pixels: Pixels) -> float:
    red, green, blue = np.moveaxis(pixels.astype(np.float32), 2, 0)
    opponents = red - green, (red + green) / 2 - blue
    spread = math.hypot(*(o.std(dtype=np.float64) for o in opponents))
    return spread + 0.3 * math.hypot(*(o.mean(dtype=np.float64) for o in opponents))
