"""Random boxes of random area and aspect ratio, in integers: what crops keep and random erasing paints over."""

from __future__ import annotations

import functools
from decimal import Decimal, localcontext
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from reinforced import counter
from reinforced.augmentation import Integers

ONE = 1 << 16
"""Areas and ratios are counted in 1/65536."""
ATTEMPTS = 10
WORDS = 4 * ATTEMPTS
"""Random words that a box is drawn from."""
_RATIO_LEVELS = 4096


class Boxes(NamedTuple):
    """Boxes in px; where none of the attempts fits, `found` is false and the others mean nothing."""

    x: Integers
    y: Integers
    width: Integers
    height: Integers
    found: npt.NDArray[np.bool_]


def random_boxes(
    words: counter.U32, scale: tuple[float, float], ratio: tuple[float, float], width: Integers, height: Integers
) -> Boxes:
    """Draw boxes of an area within `scale` (shares of the image) and an aspect ratio within `ratio` (width / height).

    words: shape (images, draws, 40), four an attempt (area, ratio, x, y); the first attempt that fits counts.
    width, height: the images', shape (images, 1).
    """
    words = words.reshape(*words.shape[:2], ATTEMPTS, 4)
    box_width, box_height = _sizes(words[..., 0], words[..., 1], scale, ratio, (width * height)[..., None])
    fits = (box_width > 0) & (box_height > 0) & (box_width <= width[..., None]) & (box_height <= height[..., None])
    first = np.argmax(fits, axis=2)[..., None]
    found = np.take_along_axis(fits, first, 2)[..., 0]
    w, h = (np.take_along_axis(sides, first, 2)[..., 0] for sides in (box_width, box_height))
    word_x, word_y = (np.take_along_axis(words[..., i], first, 2)[..., 0] for i in (2, 3))
    free_x, free_y = np.where(found, width - w, 0), np.where(found, height - h, 0)
    return Boxes(counter.below(word_x, free_x + 1), counter.below(word_y, free_y + 1), w, h, found)


def check_scale(value: tuple[float, float]) -> tuple[float, float]:
    """Return a range of areas. Raises: ValueError unless it rises within (0, 1]."""
    if not 0 < value[0] <= value[1] <= 1:
        raise ValueError(f"scale {list(value)} must rise within (0, 1]")
    return value


def check_ratio(value: tuple[float, float]) -> tuple[float, float]:
    """Return a range of aspect ratios. Raises: ValueError unless it rises within [1/16, 16]."""
    if not 1 / 16 <= value[0] <= value[1] <= 16:
        raise ValueError(f"ratio {list(value)} must rise within [1/16, 16]")
    return value


def _sizes(
    area_word: counter.U32,
    ratio_word: counter.U32,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    pixels: Integers,
) -> tuple[Integers, Integers]:
    least, largest = (round(share * ONE) for share in scale)
    area = (least + counter.below(area_word, largest - least + 1)) * pixels
    ratios = _ratios(*ratio)[counter.below(ratio_word, _RATIO_LEVELS)]
    # area and ratio count in 1/65536: their product is a square in 1/65536 px, their quotient one in px.
    # IEEE 754 rounds the square root correctly on every machine.
    width = np.floor((np.sqrt((area * ratios).astype(np.float64)) + ONE / 2) / ONE)
    height = np.floor(np.sqrt(area.astype(np.float64) / ratios.astype(np.float64)) + 0.5)
    return width.astype(np.int64), height.astype(np.int64)


@functools.cache
def _ratios(least: float, largest: float) -> Integers:
    """Aspect ratios at the middles of 4,096 equal steps of the logarithm, in 1/65536; exact decimal arithmetic."""
    with localcontext() as context:
        context.prec = 40
        start, span = Decimal(repr(least)).ln(), Decimal(repr(largest)).ln() - Decimal(repr(least)).ln()
        logs = (start + span * (2 * level + 1) / (2 * _RATIO_LEVELS) for level in range(_RATIO_LEVELS))
        return np.array([int((log.exp() * ONE).to_integral_value()) for log in logs], np.int64)
