"""The pictures that answer an instruction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from reinforced.images import Pixels, open_image

GREEN, RED = (0, 200, 0), (220, 0, 0)

colours = {"red": RED, "green": GREEN, "blue": (0, 60, 255), "yellow": (255, 230, 0), "white": (255, 255, 255)}


def boxes_drawn(pixels: Pixels, boxes: Sequence[Sequence[int]], colour: tuple[int, int, int]) -> Pixels:
    """Draw the boxes (left, top, width, height) inside their edges, a hundredth of the shorter side thick."""
    drawn, thick = pixels.copy(), max(1, min(pixels.shape[:2]) // 100)
    for left, top, width, height in boxes:
        inside = np.zeros(pixels.shape[:2], bool)
        rows, sides = slice(max(top, 0), max(top + height, 0)), slice(max(left, 0), max(left + width, 0))
        inside[rows, sides] = True
        inner = slice(max(top + thick, 0), max(top + height - thick, 0))
        inside[inner, slice(max(left + thick, 0), max(left + width - thick, 0))] = False
        drawn[inside] = colour
    return drawn


def mask_of(mask: bytes, places: Sequence[int], pixels: Pixels) -> Pixels:
    """Return white where the mask says one of the objects, counted from 0, is. Raises: ValueError for another size."""
    inside = np.isin(_grey(mask, pixels), np.array(places) + 1)
    return np.repeat(np.where(inside, 255, 0).astype(np.uint8)[..., None], 3, axis=2)


def depth_map(depth: bytes, pixels: Pixels) -> Pixels:
    """Return the nearest of the known distances as white, the farthest as black; what is not known is black too."""
    distance = _grey(depth, pixels).astype(np.float64)
    known = distance[distance > 0]
    near, far = (known.min(), known.max()) if len(known) else (0, 1)
    light = np.where(distance > 0, np.round(255 * (far - distance) / max(far - near, 1)), 0)
    return np.repeat(light.astype(np.uint8)[..., None], 3, axis=2)


def _grey(data: bytes, pixels: Pixels) -> npt.NDArray[np.int64]:
    with open_image(data) as image:
        values = np.asarray(image)
    if values.shape != pixels.shape[:2]:
        raise ValueError(f"the annotation is {values.shape}, not grey of the image's size {pixels.shape[:2]}")
    return values.astype(np.int64)
