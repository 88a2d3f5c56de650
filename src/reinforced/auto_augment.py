"""AutoAugment: pairs of operations that a search found to help on ImageNet and on CIFAR-10."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from reinforced import columns, counter
from reinforced.augmentation import Draw, Integers, Parameters, ViewAugmentation
from reinforced.operations import OPERATIONS, SIGNED, Strengths, apply_operations

if TYPE_CHECKING:
    from PIL.Image import Image

STRENGTHS = Strengths(levels=9)

# A sub-policy a line: two operations, each with its probability in tenths and its magnitude of 9.
POLICIES = {
    "imagenet": """
        posterize 4 8     rotate 6 9
        solarize 6 5      autocontrast 6 0
        equalize 8 0      equalize 6 0
        posterize 6 7     posterize 6 6
        equalize 4 0      solarize 2 4
        equalize 4 0      rotate 8 8
        solarize 6 3      equalize 6 0
        posterize 8 5     equalize 10 0
        rotate 2 3        solarize 6 8
        equalize 6 0      posterize 4 6
        rotate 8 8        colour 4 0
        rotate 4 9        equalize 6 0
        equalize 0 0      equalize 8 0
        invert 6 0        equalize 10 0
        colour 6 4        contrast 10 8
        rotate 8 8        colour 10 2
        colour 8 8        solarize 8 7
        sharpness 4 7     invert 6 0
        shear_x 6 5       equalize 10 0
        colour 4 0        equalize 6 0
        equalize 4 0      solarize 2 4
        solarize 6 5      autocontrast 6 0
        invert 6 0        equalize 10 0
        colour 6 4        contrast 10 8
        equalize 8 0      equalize 6 0
    """,
    "cifar10": """
        invert 1 0        contrast 2 6
        rotate 7 2        translate_x 3 9
        sharpness 8 1     sharpness 9 3
        shear_y 5 8       translate_y 7 9
        autocontrast 5 0  equalize 9 0
        shear_y 2 7       posterize 3 7
        colour 4 3        brightness 6 7
        sharpness 3 9     brightness 7 9
        equalize 6 0      equalize 5 0
        contrast 6 7      sharpness 6 5
        colour 7 7        translate_x 5 8
        equalize 3 0      autocontrast 4 0
        translate_y 4 3   sharpness 2 6
        brightness 9 6    colour 2 8
        solarize 5 2      invert 0 0
        equalize 2 0      autocontrast 6 0
        equalize 2 0      equalize 6 0
        colour 9 9        equalize 6 0
        autocontrast 8 0  solarize 2 8
        brightness 1 3    colour 7 0
        solarize 4 5      autocontrast 9 0
        translate_y 9 9   translate_y 7 9
        autocontrast 9 0  solarize 8 3
        equalize 8 0      invert 1 0
        translate_y 7 9   autocontrast 9 0
    """,
}


class Policy(NamedTuple):
    """A policy as arrays of shape (sub-policies, 2)."""

    operation: Integers
    limit: npt.NDArray[np.uint64]
    """An operation is applied where a 32-bit word is below its limit."""
    magnitude: Integers


class AutoAugment(ViewAugmentation):
    """Apply one of 25 pairs of operations, each by its own probability (Cubuk et al. 2018, *AutoAugment*).

    Magnitudes are of 9; shear, translate, rotate, brightness, colour, contrast and sharpness have a random sign.
    """

    policy: Annotated[Literal["imagenet", "cifar10"], Field(description="Data that the policy was found for.")] = (
        "imagenet"
    )

    def outputs(self) -> pa.Schema:
        """Return auto_augment, auto_augment_magnitude, lists of two; an operation not applied is stored as identity."""
        return columns.resolve(["auto_augment", "auto_augment_magnitude"])

    def draw(self, draw: Draw, width: Integers, height: Integers) -> Parameters:  # noqa: ARG002
        """Draw operations: a word for the sub-policy, then for each of the two whether it is applied and its sign."""
        policy, words = find_policy(self.policy), draw(5)
        number = counter.below(words[..., 0], len(policy.operation))
        happens = words[..., 1::2] < policy.limit[number]
        operation = policy.operation[number]
        negative = (words[..., 2::2] >> np.uint32(31)).astype(bool) & SIGNED[operation]
        return {
            "auto_augment": np.where(happens, 2 * operation + negative, 0),
            "auto_augment_magnitude": np.where(happens, policy.magnitude[number], 0),
        }

    def apply(self, image: Image, row: Mapping[str, Any]) -> Image:
        """Apply the operations of one row in order; what moves in from outside is black."""
        return apply_operations(image, row["auto_augment"], row["auto_augment_magnitude"], STRENGTHS)


@functools.cache
def find_policy(name: str) -> Policy:
    """Return a policy by its name."""
    table = np.array([line.split() for line in POLICIES[name].strip().splitlines()]).reshape(-1, 2, 3)
    operation = np.array([[OPERATIONS.index(name) for name in pair] for pair in table[..., 0]], np.int64)
    tenths, magnitude = table[..., 1].astype(np.uint64), table[..., 2].astype(np.int64)
    return Policy(operation, (tenths * 2**32 + 5) // 10, magnitude)
