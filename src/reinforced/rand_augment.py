"""RandAugment and TrivialAugment: operations drawn at random, with no policy to be searched for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from reinforced import columns, counter
from reinforced.augmentation import Draw, Integers, Parameters, ViewAugmentation
from reinforced.operations import RANDOM, SIGNED, Strengths, apply_operations

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_MAGNITUDE = 30
STRENGTHS = Strengths(MAX_MAGNITUDE)
WIDE = Strengths(
    MAX_MAGNITUDE,
    shear_percent=99,
    translate_percent=0,
    translate_px=32,
    rotate_degrees=135,
    blend_percent=99,
    posterize_bits=6,
)


class RandAugment(ViewAugmentation):
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
        code = _codes(words)
        return {"rand_augment": code, "rand_augment_magnitude": np.full(code.shape, self.magnitude)}

    def apply(self, image: Image, row: Mapping[str, Any]) -> Image:
        """Apply the operations of one row in order; what moves in from outside is black."""
        return apply_operations(image, row["rand_augment"], row["rand_augment_magnitude"], STRENGTHS)


class TrivialAugment(ViewAugmentation):
    """Apply one random operation of random strength (Müller and Hutter 2021, *TrivialAugment*), wide ranges.

    The 14 operations of RandAugment, to shear 0.99, shift 32 px, 135 degrees, factors 0.01 to 1.99 and 2 bits.
    """

    def outputs(self) -> pa.Schema:
        """Return trivial_augment, trivial_augment_magnitude."""
        return columns.resolve(["trivial_augment", "trivial_augment_magnitude"])

    def draw(self, draw: Draw, width: Integers, height: Integers) -> Parameters:  # noqa: ARG002
        """Draw the operation: three words, which one, its sign (highest bit), its magnitude from 0 to 30."""
        words = draw(3)
        magnitude = counter.below(words[..., 2], MAX_MAGNITUDE + 1)
        return {"trivial_augment": _codes(words), "trivial_augment_magnitude": magnitude}

    def apply(self, image: Image, row: Mapping[str, Any]) -> Image:
        """Apply the operation of one row; what moves in from outside is black."""
        return apply_operations(image, [row["trivial_augment"]], [row["trivial_augment_magnitude"]], WIDE)


def _codes(words: counter.U32) -> Integers:
    """Return operations with their signs, as stored, from two words each (the last axis)."""
    operation = counter.below(words[..., 0], RANDOM)
    negative = (words[..., 1] >> np.uint32(31)).astype(bool) & SIGNED[operation]
    codes: Integers = 2 * operation + negative
    return codes
