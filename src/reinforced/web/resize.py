"""Resizing at download in the modes of img2dataset, on upright pixels."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from reinforced.images import Pixels, decode

_SUFFIX = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}


class Resize(BaseModel):
    """How images are resized and encoded before they are kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Annotated[
        Literal["keep_ratio", "keep_ratio_largest", "center_crop", "border"],
        Field(
            description="keep_ratio: the shorter side gets the size; keep_ratio_largest: the longer side; center_crop: "
            "keep_ratio, then the square in the middle; border: keep_ratio_largest, then white around it to a square."
        ),
    ] = "keep_ratio"
    size_px: Annotated[int, Field(gt=0, le=16384, description="Length of that side, in pixels.")] = 256
    only_if_bigger: Annotated[bool, Field(description="Leave smaller images at their size.")] = False
    format: Annotated[Literal["jpeg", "png", "webp"], Field(description="How they are encoded.")] = "jpeg"
    quality: Annotated[
        int, Field(ge=0, le=100, description="Quality of jpeg and webp, 0 to 100; compression of png, 0 to 9.")
    ] = 95

    def apply(self, data: bytes) -> bytes:
        """Decode an image, resize it and return the encoded result. Raises: ImageError if it does not decode."""
        import cv2

        cv2.setNumThreads(1)
        resized = self.resize(decode(data))
        option = {
            "jpeg": cv2.IMWRITE_JPEG_QUALITY,
            "webp": cv2.IMWRITE_WEBP_QUALITY,
            "png": cv2.IMWRITE_PNG_COMPRESSION,
        }
        quality = min(self.quality, 9) if self.format == "png" else self.quality
        _, encoded = cv2.imencode(
            _SUFFIX[self.format], cv2.cvtColor(resized, cv2.COLOR_RGB2BGR), [option[self.format], quality]
        )
        return encoded.tobytes()

    def resize(self, pixels: Pixels) -> Pixels:
        """Resize uint8 pixels (height, width, 3): by area where they shrink, by Lanczos where they grow."""
        import cv2

        height, width = pixels.shape[:2]
        side = min(height, width) if self.mode in ("keep_ratio", "center_crop") else max(height, width)
        if self.only_if_bigger and side <= self.size_px:
            return pixels
        if side != self.size_px:
            scale = self.size_px / side
            size = max(1, round(width * scale)), max(1, round(height * scale))
            interpolation = cv2.INTER_AREA if side > self.size_px else cv2.INTER_LANCZOS4
            pixels = cv2.resize(pixels, size, interpolation=interpolation)  # type: ignore[assignment]
        if self.mode == "center_crop":
            top, left = ((length - self.size_px) // 2 for length in pixels.shape[:2])
            pixels = pixels[top : top + self.size_px, left : left + self.size_px]
        if self.mode == "border":
            missing = [self.size_px - length for length in pixels.shape[:2]]
            around = [(gap // 2, gap - gap // 2) for gap in missing]
            pixels = np.pad(pixels, [*around, (0, 0)], constant_values=255)
        return np.ascontiguousarray(pixels)
