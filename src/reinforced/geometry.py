"""Augmentations that move pixels: random resized crop, random crop with padding, mirroring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import AfterValidator, Field

from reinforced import boxes, columns, counter
from reinforced.augmentation import Augmentation, Draw, Integers, Parameters, ViewAugmentation, chosen
from reinforced.images import ImageError, Pixels

if TYPE_CHECKING:
    from PIL.Image import Image

_CROP = ("crop_x", "crop_y", "crop_width", "crop_height")


class RandomResizedCrop(Augmentation):
    """Cut out a box of random area and aspect ratio, to be resized (Szegedy et al. 2014, *Going Deeper*).

    Ten attempts, then the largest central box whose aspect ratio is allowed, as everywhere since.
    """

    scale: Annotated[
        tuple[float, float],
        AfterValidator(boxes.check_scale),
        Field(description="Least and largest area, as a share of the image."),
    ] = (0.08, 1.0)
    ratio: Annotated[
        tuple[float, float],
        AfterValidator(boxes.check_ratio),
        Field(description="Least and largest aspect ratio, width / height."),
    ] = (3 / 4, 4 / 3)

    def outputs(self) -> pa.Schema:
        """Return crop_x, crop_y, crop_width, crop_height."""
        return columns.resolve(_CROP)

    def draw(self, draw: Draw, width: Integers, height: Integers) -> Parameters:
        """Draw boxes: four words an attempt (area, ratio, x, y); the first attempt that fits the image counts."""
        box = boxes.random_boxes(draw(boxes.WORDS), self.scale, self.ratio, width, height)
        central_width, central_height = self._central(width, height)
        return {
            "crop_x": np.where(box.found, box.x, (width - central_width) // 2),
            "crop_y": np.where(box.found, box.y, (height - central_height) // 2),
            "crop_width": np.where(box.found, box.width, central_width),
            "crop_height": np.where(box.found, box.height, central_height),
        }

    def _central(self, width: Integers, height: Integers) -> tuple[Integers, Integers]:
        one = boxes.ONE
        least, largest = (round(ratio * one) for ratio in self.ratio)
        tall, wide = width * one < least * height, width * one > largest * height
        central_width = np.where(wide, np.maximum(1, (height * largest + one // 2) // one), width)
        central_height = np.where(tall, np.maximum(1, (width * one + least // 2) // least), height)
        return central_width, central_height

    def crop(self, pixels: Pixels, row: Mapping[str, Any]) -> Pixels:
        """Cut one row's box out of a decoded image (uint8 (h, w, 3)), which need not be copied to be resized.

        Raises: ImageError when the crop lies outside: this is not the image the row was drawn for.
        """
        x, y, width, height = (int(row[name]) for name in _CROP)
        if x + width > pixels.shape[1] or y + height > pixels.shape[0]:
            raise ImageError(
                f"crop {width}x{height} at ({x}, {y}) lies outside the {pixels.shape[1]}x{pixels.shape[0]} px image: "
                "the image has changed since it was reinforced"
            )
        return np.ascontiguousarray(pixels[y : y + height, x : x + width])


class RandomCrop(ViewAugmentation):
    """Pad the view with black on all sides and cut its size out again anywhere, as is usual for CIFAR."""

    padding_px: Annotated[int, Field(ge=1, le=127, description="Width of the border; the largest shift.")] = 4

    def outputs(self) -> pa.Schema:
        """Return shift_x, shift_y."""
        return columns.resolve(["shift_x", "shift_y"])

    def draw(self, draw: Draw, width: Integers, height: Integers) -> Parameters:  # noqa: ARG002
        """Draw the shift of the content: one word an axis."""
        shift = counter.below(draw(2), 2 * self.padding_px + 1) - self.padding_px
        return {"shift_x": shift[..., 0], "shift_y": shift[..., 1]}

    def apply(self, image: Image, row: Mapping[str, Any]) -> Image:
        """Move the content right and down by whole pixels; what moves in is black."""
        x, y = int(row["shift_x"]), int(row["shift_y"])
        return image.crop((-x, -y, image.width - x, image.height - y))


class HorizontalFlip(ViewAugmentation):
    """Mirror the image left to right."""

    probability: Annotated[float, Field(ge=0, le=1, description="Share of reinforcements that are mirrored.")] = 0.5

    def outputs(self) -> pa.Schema:
        """Return flip."""
        return columns.resolve(["flip"])

    def draw(self, draw: Draw, width: Integers, height: Integers) -> Parameters:  # noqa: ARG002
        """Draw whether to mirror: one word, below the probability in units of 2**-32."""
        return {"flip": chosen(draw(1)[..., 0], self.probability)}

    def apply(self, image: Image, row: Mapping[str, Any]) -> Image:
        """Mirror where the row says so."""
        from PIL import Image as Pillow

        return image.transpose(Pillow.Transpose.FLIP_LEFT_RIGHT) if row["flip"] else image
