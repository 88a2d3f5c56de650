"""Augmentations of colour: jitter and grayscale."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from reinforced import columns, counter
from reinforced.augmentation import Draw, Integers, Parameters, ViewAugmentation, chosen
from reinforced.operations import enhance

if TYPE_CHECKING:
    from PIL.Image import Image

_FACTORS = {"brightness": "brightness", "contrast": "contrast", "saturation": "colour"}
"""What changes by a factor, and the operation that does it."""
ORDERS = tuple(itertools.permutations([*_FACTORS, "hue"]))
"""The orders in which the four are changed, by number."""


class ColourJitter(ViewAugmentation):
    """Change brightness, contrast, saturation and hue at random, in random order (Chen et al. 2020, *SimCLR*)."""

    brightness: Annotated[float, Field(ge=0, le=1, description="Largest distance of the factor from 1.")] = 0.4
    contrast: Annotated[float, Field(ge=0, le=1, description="Largest distance of the factor from 1.")] = 0.4
    saturation: Annotated[float, Field(ge=0, le=1, description="Largest distance of the factor from 1.")] = 0.4
    hue: Annotated[float, Field(ge=0, le=0.5, description="Largest shift, as a share of the colour circle.")] = 0.1
    probability: Annotated[float, Field(ge=0, le=1, description="Share of reinforcements that are changed.")] = 1.0

    def outputs(self) -> pa.Schema:
        """Return jitter_brightness, jitter_contrast, jitter_saturation, jitter_hue, jitter_order."""
        return columns.resolve([*(f"jitter_{name}" for name in _FACTORS), "jitter_hue", "jitter_order"])

    def draw(self, draw: Draw, width: Integers, height: Integers) -> Parameters:  # noqa: ARG002
        """Draw the changes: six words (whether, brightness, contrast, saturation, hue, order)."""
        words = draw(6)
        happens = chosen(words[..., 0], self.probability)
        found: Parameters = {}
        for i, name in enumerate(_FACTORS, start=1):
            reach = round(100 * getattr(self, name))
            found[f"jitter_{name}"] = np.where(happens, 100 - reach + counter.below(words[..., i], 2 * reach + 1), 100)
        reach = min(127, round(256 * self.hue))
        found["jitter_hue"] = np.where(happens, counter.below(words[..., 4], 2 * reach + 1) - reach, 0)
        found["jitter_order"] = np.where(happens, counter.below(words[..., 5], len(ORDERS)), 0)
        return found

    def apply(self, image: Image, row: Mapping[str, Any]) -> Image:
        """Change one view in the order of its row; what is not changed costs nothing."""
        for name in ORDERS[int(row["jitter_order"])]:
            if name == "hue":
                image = turn_hue(image, int(row["jitter_hue"]))
            elif (percent := int(row[f"jitter_{name}"])) != 100:
                image = enhance(image, _FACTORS[name], percent / 100)
        return image


class Grayscale(ViewAugmentation):
    """Replace colours by their luma, in all three channels."""

    probability: Annotated[float, Field(ge=0, le=1, description="Share of reinforcements that lose colour.")] = 0.2

    def outputs(self) -> pa.Schema:
        """Return grayscale."""
        return columns.resolve(["grayscale"])

    def draw(self, draw: Draw, width: Integers, height: Integers) -> Parameters:  # noqa: ARG002
        """Draw whether to remove colour: one word."""
        return {"grayscale": chosen(draw(1)[..., 0], self.probability)}

    def apply(self, image: Image, row: Mapping[str, Any]) -> Image:
        """Remove colour where the row says so."""
        return image.convert("L").convert("RGB") if row["grayscale"] else image


def turn_hue(image: Image, shift: int) -> Image:
    """Add to the hue of Pillow's HSV, which counts the circle in 256 steps; 0 spares the image the conversions."""
    from PIL import Image as Pillow

    if shift == 0:
        return image
    hue, saturation, value = image.convert("HSV").split()
    hue = hue.point([(step + shift) % 256 for step in range(256)])
    return Pillow.merge("HSV", (hue, saturation, value)).convert("RGB")
