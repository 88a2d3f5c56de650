"""Resizing images by one of two backends; the one that made a layer also replays it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from reinforced.images import Pixels

if TYPE_CHECKING:
    from PIL.Image import Image

Backend = Literal["exact", "fast"]
LIBRARIES: dict[Backend, tuple[str, ...]] = {
    "exact": ("pillow", "simplejpeg"),
    "fast": ("pillow", "simplejpeg", "torch"),
}
"""Packages that decide on the pixels of each backend."""


def resize(pixels: Pixels, size: tuple[int, int], backend: Backend) -> Image:
    """Resize a picture, uint8 (h, w, 3), to (width, height) px, bilinearly and filtered where it shrinks.

    `exact` is Pillow; `fast` is PyTorch's antialiased interpolation in integers, several times as fast.
    """
    from PIL import Image

    if backend == "exact":
        return Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
    import torch

    # A copy: what was turned upright may be read backwards, and the layout in memory chooses PyTorch's kernel.
    picture = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(picture, size[::-1], mode="bilinear", antialias=True)
    return Image.fromarray(np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy()))


def fit(pixels: Pixels, size: tuple[int, int], *, bicubic: bool = False) -> Pixels:
    """Resize a picture, uint8 (h, w, 3), so that it just covers (width, height) px, and crop it at the centre."""
    from PIL import Image

    height, width = pixels.shape[:2]
    scale = max(size[0] / width, size[1] / height)
    box_width, box_height = size[0] / scale, size[1] / scale
    left, top = (width - box_width) / 2, (height - box_height) / 2
    filtered = Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR
    box = (max(left, 0), max(top, 0), min(left + box_width, width), min(top + box_height, height))
    return np.array(Image.fromarray(pixels).resize(size, filtered, box))
