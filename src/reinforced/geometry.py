"""Augmentations that move pixels: random resized crop and mirroring."""

from __future__ import annotations

import functools
from decimal import Decimal, localcontext
from typing import Annotated, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from reinforced import columns, counter
from reinforced.augmentation import Augmentation, Draw, Integers, Parameters

_ONE = 1 << 16
_RATIO_LEVELS = 4096


class RandomResizedCrop(Augmentation):
    """Cut out a box of random area and aspect ratio, to be resized (Szegedy et al. 2014, *Going Deeper*).

    Ten attempts, then the largest central box whose aspect ratio is allowed, as everywhere since.
    """

    scale: Annotated[tuple[float, float], Field(description="Least and largest area, as a share of the image.")] = (
        0.08,
        1.0,
    )
    ratio: Annotated[tuple[float, float], Field(description="Least and largest aspect ratio, width / height.")] = (
        3 / 4,
        4 / 3,
    )

    attempts: ClassVar[int] = 10

    @field_validator("scale")
    @classmethod
    def _check_scale(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1] <= 1:
            raise ValueError(f"scale {list(value)} must rise within (0, 1]")
        return value

    @field_validator("ratio")
    @classmethod
    def _check_ratio(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 1 / 16 <= value[0] <= value[1] <= 16:
            raise ValueError(f"ratio {list(value)} must rise within [1/16, 16]")
        return value

    def outputs(self) -> pa.Schema:
        """Return crop_x, crop_y, crop_width, crop_height."""
        return columns.resolve(["crop_x", "crop_y", "crop_width", "crop_height"])

    def draw(self, draw: Draw, width: Integers, height: Integers) -> Parameters:
        """Draw boxes: four words an attempt (area, ratio, x, y); the first attempt that fits the image counts."""
        words = draw(4 * self.attempts)
        words = words.reshape(*words.shape[:2], self.attempts, 4)
        size = width[..., None], height[..., None]
        crop_width, crop_height = self._sizes(words[..., 0], words[..., 1], *size)
        fits = (crop_width > 0) & (crop_height > 0) & (crop_width <= size[0]) & (crop_height <= size[1])
        first = np.argmax(fits, axis=2)[..., None]
        found = np.take_along_axis(fits, first, 2)[..., 0]
        central_width, central_height = self._central(width, height)
        chosen_width = np.where(found, np.take_along_axis(crop_width, first, 2)[..., 0], central_width)
        chosen_height = np.where(found, np.take_along_axis(crop_height, first, 2)[..., 0], central_height)
        free_x, free_y = width - chosen_width, height - chosen_height
        word_x, word_y = (np.take_along_axis(words[..., i], first, 2)[..., 0] for i in (2, 3))
        return {
            "crop_x": np.where(found, counter.below(word_x, free_x + 1), free_x // 2),
            "crop_y": np.where(found, counter.below(word_y, free_y + 1), free_y // 2),
            "crop_width": chosen_width,
            "crop_height": chosen_height,
        }

    def _sizes(
        self, area_word: counter.U32, ratio_word: counter.U32, width: Integers, height: Integers
    ) -> tuple[Integers, Integers]:
        least, largest = (round(share * _ONE) for share in self.scale)
        area = (least + counter.below(area_word, largest - least + 1)) * (width * height)
        ratio = _ratios(*self.ratio)[counter.below(ratio_word, _RATIO_LEVELS)]
        # area and ratio count in 1/65536: their product is a square in 1/65536 px, their quotient one in px.
        # IEEE 754 rounds the square root correctly on every machine.
        crop_width = np.floor((np.sqrt((area * ratio).astype(np.float64)) + _ONE / 2) / _ONE)
        crop_height = np.floor(np.sqrt(area.astype(np.float64) / ratio.astype(np.float64)) + 0.5)
        return crop_width.astype(np.int64), crop_height.astype(np.int64)

    def _central(self, width: Integers, height: Integers) -> tuple[Integers, Integers]:
        least, largest = (round(ratio * _ONE) for ratio in self.ratio)
        tall, wide = width * _ONE < least * height, width * _ONE > largest * height
        central_width = np.where(wide, np.maximum(1, (height * largest + _ONE // 2) // _ONE), width)
        central_height = np.where(tall, np.maximum(1, (width * _ONE + least // 2) // least), height)
        return central_width, central_height


class HorizontalFlip(Augmentation):
    """Mirror the image left to right."""

    probability: Annotated[float, Field(ge=0, le=1, description="Share of reinforcements that are mirrored.")] = 0.5

    def outputs(self) -> pa.Schema:
        """Return flip."""
        return columns.resolve(["flip"])

    def draw(self, draw: Draw, width: Integers, height: Integers) -> Parameters:  # noqa: ARG002
        """Draw whether to mirror: one word, below the probability in units of 2**-32."""
        return {"flip": draw(1)[..., 0] < np.uint64(round(self.probability * 2**32))}


@functools.cache
def _ratios(least: float, largest: float) -> Integers:
    """Aspect ratios at the middles of 4,096 equal steps of the logarithm, in 1/65536; exact decimal arithmetic."""
    with localcontext() as context:
        context.prec = 40
        start, span = Decimal(repr(least)).ln(), Decimal(repr(largest)).ln() - Decimal(repr(least)).ln()
        logs = (start + span * (2 * level + 1) / (2 * _RATIO_LEVELS) for level in range(_RATIO_LEVELS))
        return np.array([int((log.exp() * _ONE).to_integral_value()) for log in logs], np.int64)
