"""The operations of RandAugment, AutoAugment and TrivialAugment on Pillow: integers in, the same pixels out."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "colour",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
    "invert",
)
"""By number; an operation is stored as 2 x its number, + 1 where its magnitude is negative."""
RANDOM = 14
"""RandAugment and TrivialAugment choose among the first so many."""
SIGNED = np.array([1 <= number <= 9 for number in range(len(OPERATIONS))])
"""Whether an operation's magnitude may be negative."""
_ENHANCERS = {"brightness": "Brightness", "colour": "Color", "contrast": "Contrast", "sharpness": "Sharpness"}


@dataclass(frozen=True)
class Strengths:
    """What operations do at the highest magnitude, `levels`; lower ones do their share of it."""

    levels: int
    shear_percent: int = 30
    translate_percent: int = 45
    """Of the view's side; together with `translate_px`."""
    translate_px: int = 0
    rotate_degrees: int = 30
    blend_percent: int = 90
    """How far the factor of an enhancer lies from 1."""
    posterize_bits: int = 4
    """Bits lost, of 8."""


def apply_operations(image: Image, codes: Sequence[int], magnitudes: Sequence[int], strengths: Strengths) -> Image:
    """Apply stored operations in order to an RGB image; what moves in from outside is black."""
    for code, magnitude in zip(codes, magnitudes, strict=True):
        level = int(magnitude)
        image = _apply(image, OPERATIONS[int(code) >> 1], -level if int(code) & 1 else level, strengths)
    return image


def enhance(image: Image, name: str, factor: float) -> Image:
    """Blend an image with its black, grey, mean or smoothed version by Pillow's enhancer; 1 leaves it as it is."""
    from PIL import ImageEnhance

    enhanced: Image = getattr(ImageEnhance, _ENHANCERS[name])(image).enhance(factor)
    return enhanced


def _apply(image: Image, name: str, signed: int, strengths: Strengths) -> Image:
    from PIL import ImageOps

    level, levels = abs(signed), strengths.levels
    if name in _ENHANCERS:
        return enhance(image, name, (100 * levels + strengths.blend_percent * signed) / (100 * levels))
    if name in ("shear_x", "shear_y", "translate_x", "translate_y", "rotate"):
        return _move(image, name, signed, strengths)
    if name == "posterize":
        return ImageOps.posterize(image, 8 - (strengths.posterize_bits * level + levels // 2) // levels)
    if name == "solarize":  # inverts values from 256 (none) down to 0 (all)
        return ImageOps.solarize(image, 256 - (256 * level + levels // 2) // levels)
    if name == "autocontrast":
        return ImageOps.autocontrast(image)
    if name == "equalize":
        return ImageOps.equalize(image)
    if name == "invert":
        return ImageOps.invert(image)
    assert name == "identity", name
    return image


def _move(image: Image, name: str, signed: int, strengths: Strengths) -> Image:
    """Shear or rotate about the centre, resampled bilinearly, or translate by whole pixels."""
    from PIL import Image as Pillow

    width, height = image.size
    levels = strengths.levels
    a, b, d, e = 1.0, 0.0, 0.0, 1.0
    shift_x, shift_y = 0, 0
    if name == "shear_x":
        b = strengths.shear_percent * signed / (100 * levels)
    elif name == "shear_y":
        d = strengths.shear_percent * signed / (100 * levels)
    elif name == "rotate":
        sine, cosine = _sine_cosine(strengths.rotate_degrees * abs(signed), levels)
        sine = -sine if signed < 0 else sine
        a, b, d, e = cosine, sine, -sine, cosine
    else:
        side = width if name == "translate_x" else height
        percent = side * strengths.translate_percent + 100 * strengths.translate_px
        shift = (percent * abs(signed) + 50 * levels) // (100 * levels) * (1 if signed > 0 else -1)
        shift_x, shift_y = (shift, 0) if name == "translate_x" else (0, shift)
    x, y = width / 2, height / 2
    matrix = (a, b, x - a * x - b * y - shift_x, d, e, y - d * x - e * y - shift_y)
    return image.transform(image.size, Pillow.Transform.AFFINE, matrix, Pillow.Resampling.BILINEAR)


@functools.cache
def _sine_cosine(degrees: int, divisor: int) -> tuple[float, float]:
    """Sine and cosine of degrees / divisor by their series in decimals: the C library's may differ in the last bit."""
    with localcontext() as context:
        context.prec = 40
        angle = Decimal("3.14159265358979323846264338327950288419716939937510") * degrees / (180 * divisor)
        sine, cosine, term = Decimal(0), Decimal(0), Decimal(1)
        for order in range(40):
            sign = -1 if order & 2 else 1
            sine, cosine = (sine + sign * term, cosine) if order & 1 else (sine, cosine + sign * term)
            term = term * angle / (order + 1)
        return float(sine), float(cosine)
