"""Random erasing: a box of the view is painted over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import AfterValidator, Field

from reinforced import boxes, columns, counter
from reinforced.augmentation import Draw, Integers, Parameters, ViewAugmentation, chosen
from reinforced.images import Pixels

if TYPE_CHECKING:
    from PIL.Image import Image

_BOX = ("erase_x", "erase_y", "erase_width", "erase_height")
_NOISE_KEY = counter.hash64("augment.random_erasing.noise")


class RandomErasing(ViewAugmentation):
    """Paint a random box black, or with noise (Zhong et al. 2017, *Random Erasing*).

    The noise follows from the box, so that it takes no space: the same box holds the same noise in every view.
    """

    probability: Annotated[float, Field(ge=0, le=1, description="Share of reinforcements with a box.")] = 0.25
    scale: Annotated[
        tuple[float, float],
        AfterValidator(boxes.check_scale),
        Field(description="Least and largest area, as a share of the view."),
    ] = (0.02, 0.33)
    ratio: Annotated[
        tuple[float, float],
        AfterValidator(boxes.check_ratio),
        Field(description="Least and largest aspect ratio, width / height."),
    ] = (0.3, 3.3)
    fill: Annotated[Literal["black", "noise"], Field(description="What the box is painted with.")] = "black"

    def outputs(self) -> pa.Schema:
        """Return erase_x, erase_y, erase_width, erase_height; all 0 where nothing is erased."""
        return columns.resolve(_BOX)

    def draw(self, draw: Draw, width: Integers, height: Integers) -> Parameters:
        """Draw the box: a word for whether, then 40 as a random resized crop; no box if none of them fits."""
        words = draw(1 + boxes.WORDS)
        box = boxes.random_boxes(words[..., 1:], self.scale, self.ratio, width, height)
        happens = chosen(words[..., 0], self.probability) & box.found
        return {name: np.where(happens, values, 0) for name, values in zip(_BOX, box[:4], strict=True)}

    def apply(self, image: Image, row: Mapping[str, Any]) -> Image:
        """Paint the box of one row over."""
        from PIL import Image as Pillow

        x, y, width, height = (int(row[name]) for name in _BOX)
        if not width:
            return image
        image = image.copy()
        if self.fill == "noise":
            image.paste(Pillow.fromarray(noise(x, y, width, height)), (x, y))
        else:
            image.paste((0, 0, 0), (x, y, x + width, y + height))
        return image


def noise(x: int, y: int, width: int, height: int) -> Pixels:
    """Return the noise of a box, uint8 (height, width, 3), evenly from 0 to 255: Philox with the box as counter."""
    blocks = -(-3 * width * height // 16)
    place = np.empty((blocks, 4), np.uint32)
    place[:] = x | y << 16, width | height << 16, 0, 0
    place[:, 2] = np.arange(blocks)
    words = counter.philox(place, (_NOISE_KEY & 0xFFFFFFFF, _NOISE_KEY >> 32))
    return words.astype("<u4").view(np.uint8).reshape(-1)[: 3 * width * height].reshape(height, width, 3)
