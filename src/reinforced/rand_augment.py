"""RandAugment with operations of its own definition on Pillow: integers in, the same pixels out."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pyarrow as pa
from pydantic import Field

from reinforced import columns, counter
from reinforced.augmentation import Augmentation, Draw, Integers, Parameters

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
)
_SIGNED = np.array(
    [name not in ("identity", "posterize", "solarize", "autocontrast", "equalize") for name in OPERATIONS]
)
_ENHANCERS = {"brightness": "Brightness", "colour": "Color", "contrast": "Contrast", "sharpness": "Sharpness"}
MAX_MAGNITUDE = 30


class RandAugment(Augmentation):
    """Apply a few random operations one after the other (Cubuk et al. 2019, *RandAugment*).

    Each is one of 14 with equal probability: identity, shear, translate (x, y), rotate, brightness, colour, contrast,
    sharpness, posterize, solarize, autocontrast, equalize; the geometric and the blending ones have a random sign.
    """

    operations: Annotated[int, Field(ge=1, le=255, description="Operations applied to each image.")] = 2
    magnitude: Annotated[int, Field(ge=0, le=MAX_MAGNITUDE, description="Strength of each, of 30.")] = 9

    def outputs(self) -> pa.Schema:
        """Return rand_augment and rand_augment_magnitude, lists of as many values as there are operations."""
        kind = pa.list_(pa.uint8(), self.operations)
        return pa.schema(
            [field.with_type(kind) for field in columns.resolve(["rand_augment", "rand_augment_magnitude"])]
        )

    def draw(self, draw: Draw, width: Integers, height: Integers) -> Parameters:  # noqa: ARG002
        """Draw operations: two words each, which one and its sign (the second word's highest bit)."""
        words = draw(2 * self.operations)
        words = words.reshape(*words.shape[:2], self.operations, 2)
        operation = counter.below(words[..., 0], len(OPERATIONS))
        negative = (words[..., 1] >> np.uint32(31)).astype(bool) & _SIGNED[operation]
        return {
            "rand_augment": 2 * operation + negative,
            "rand_augment_magnitude": np.full(operation.shape, self.magnitude),
        }

    def apply(self, image: Image, codes: Sequence[int], magnitudes: Sequence[int]) -> Image:
        """Apply the operations of one row in order to an RGB image; what moves in from outside is black."""
        for code, magnitude in zip(codes, magnitudes, strict=True):
            level = int(magnitude)
            image = _apply(image, OPERATIONS[int(code) >> 1], level, -level if int(code) & 1 else level)
        return image


def _apply(image: Image, name: str, level: int, signed: int) -> Image:
    """One operation at a magnitude of 0 to 30, or -30 to 30 for those with a sign."""
    from PIL import ImageEnhance, ImageOps

    if name in _ENHANCERS:  # factors 0.1 to 1.9
        enhanced: Image = getattr(ImageEnhance, _ENHANCERS[name])(image).enhance((100 + 3 * signed) / 100)
        return enhanced
    if name in ("shear_x", "shear_y", "translate_x", "translate_y", "rotate"):
        return _move(image, name, signed)
    if name == "posterize":  # 8 to 4 bits
        return ImageOps.posterize(image, 8 - (4 * level + 15) // 30)
    if name == "solarize":  # inverts values from 256 (none) down to 0 (all)
        return ImageOps.solarize(image, 256 - (256 * level + 15) // 30)
    if name == "autocontrast":
        return ImageOps.autocontrast(image)
    if name == "equalize":
        return ImageOps.equalize(image)
    assert name == "identity", name
    return image


def _move(image: Image, name: str, signed: int) -> Image:
    """Shear by up to 0.3, translate by up to 45 % of the side (whole pixels) or rotate by up to 30 degrees.

    Shear and rotation are about the centre, resampled bilinearly.
    """
    from PIL import Image as Pillow

    width, height = image.size
    a, b, d, e = 1.0, 0.0, 0.0, 1.0
    shift_x, shift_y = 0, 0
    if name == "shear_x":
        b = signed / 100
    elif name == "shear_y":
        d = signed / 100
    elif name == "rotate":
        sine, cosine = _sine_cosine(abs(signed))
        sine = -sine if signed < 0 else sine
        a, b, d, e = cosine, sine, -sine, cosine
    else:
        side = width if name == "translate_x" else height
        shift = (side * abs(signed) * 15 + 500) // 1000 * (1 if signed > 0 else -1)
        shift_x, shift_y = (shift, 0) if name == "translate_x" else (0, shift)
    x, y = width / 2, height / 2
    matrix = (a, b, x - a * x - b * y - shift_x, d, e, y - d * x - e * y - shift_y)
    return image.transform(image.size, Pillow.Transform.AFFINE, matrix, Pillow.Resampling.BILINEAR)


@functools.cache
def _sine_cosine(degrees: int) -> tuple[float, float]:
    """Sine and cosine by their series in decimal arithmetic: the C library's may differ in the last bit."""
    with localcontext() as context:
        context.prec = 40
        angle = Decimal("3.14159265358979323846264338327950288419716939937510") * degrees / 180
        sine, cosine, term = Decimal(0), Decimal(0), Decimal(1)
        for order in range(40):
            sign = -1 if order & 2 else 1
            sine, cosine = (sine + sign * term, cosine) if order & 1 else (sine, cosine + sign * term)
            term = term * angle / (order + 1)
        return float(sine), float(cosine)
