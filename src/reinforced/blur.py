"""Gaussian blur."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from reinforced import columns, counter
from reinforced.augmentation import Draw, Integers, Parameters, ViewAugmentation, chosen

if TYPE_CHECKING:
    from PIL.Image import Image


class GaussianBlur(ViewAugmentation):
    """Blur by a Gaussian of random width (Chen et al. 2020, *SimCLR*), as Pillow does it: three box blurs."""

    sigma_px: Annotated[tuple[float, float], Field(description="Least and largest standard deviation.")] = (0.1, 2.0)
    probability: Annotated[float, Field(ge=0, le=1, description="Share of reinforcements that are blurred.")] = 0.5

    @field_validator("sigma_px")
    @classmethod
    def _check_sigma(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0.01 <= value[0] <= value[1] <= 100:
            raise ValueError(f"sigma_px {list(value)} must rise within [0.01, 100]")
        return value

    def outputs(self) -> pa.Schema:
        """Return blur_sigma."""
        return columns.resolve(["blur_sigma"])

    def draw(self, draw: Draw, width: Integers, height: Integers) -> Parameters:  # noqa: ARG002
        """Draw the standard deviation in 1/100 px: two words, whether and how much; 0 for no blur."""
        words = draw(2)
        least, largest = (round(100 * sigma) for sigma in self.sigma_px)
        sigma = least + counter.below(words[..., 1], largest - least + 1)
        return {"blur_sigma": np.where(chosen(words[..., 0], self.probability), sigma, 0)}

    def apply(self, image: Image, row: Mapping[str, Any]) -> Image:
        """Blur where the row says so."""
        from PIL import ImageFilter

        sigma = int(row["blur_sigma"])
        return image.filter(ImageFilter.GaussianBlur(sigma / 100)) if sigma else image
