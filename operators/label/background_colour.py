"""The colour behind the subject."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from reinforced.batch import Batch
from reinforced.images import Pixels
from reinforced.operator import Columns, Transform

_NAMES = np.array(["black", "grey", "white", "red", "yellow", "green", "blue", "purple"])
_HUES = ((20, 3), (70, 4), (170, 5), (260, 6), (340, 7), (361, 3))
"""Degrees below which a hue has a name, by the name's place."""


class LabelBackgroundColour(Transform):
    """Adds the colour that most pixels of the border have, an eighth of the picture deep, by eight names.

    Black, grey and white are dark or pale pixels, the others are told by hue. Classifiers lean on backgrounds:
    `reinforced.subgroups.audit` compares their accuracy between groups such as these (Chiu et al. 2023, *Better May Not
    Be Fairer*, whose people named the colours by eye).
    """

    layer: ClassVar = "backgrounds"
    reads: ClassVar = ("pixels",)
    writes: ClassVar = ("background_colour",)

    def transform(self, batch: Batch) -> Columns:
        """Return a name a row."""
        return {"background_colour": [str(_NAMES[_most_frequent(pixels)]) for pixels in batch.pixels]}


def _most_frequent(pixels: Pixels) -> int:
    depth = max(1, min(pixels.shape[:2]) // 8)
    border = np.ones(pixels.shape[:2], bool)
    border[depth:-depth, depth:-depth] = False
    return int(np.bincount(_named(pixels[border].astype(np.float32) / np.float32(255))).argmax())


def _named(colours: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Return the place of the name of colours (n, 3) between 0 and 1, by hue, saturation and value."""
    value, low = colours.max(1), colours.min(1)
    chroma = np.maximum(value - low, 1e-9)
    red, green, blue = colours.T
    hue = np.select(
        [value == red, value == green],
        [(green - blue) / chroma % 6, (blue - red) / chroma + 2],
        (red - green) / chroma + 4,
    )
    places = np.array([place for _, place in _HUES])
    found = places[np.searchsorted([degrees for degrees, _ in _HUES], hue * 60, side="right")]
    grey = np.where(value > 0.8, 2, 1)
    return np.where(value < 0.2, 0, np.where(value - low < 0.2 * value, grey, found))
