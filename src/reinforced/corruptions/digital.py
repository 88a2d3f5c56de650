"""What processing does: elastic deformation, coarse pixels, JPEG compression."""

from __future__ import annotations

import io

import numpy as np

from reinforced.corruptions.filters import Floats, Randomness, convolve, displace, gaussian, to_pixels


def elastic_transform(image: Floats, random: Randomness, sigma_px: float, displacement_px: float) -> Floats:
    """Displace by a field of normal noise, smoothed by a Gaussian; `displacement_px` is its standard deviation."""
    kernel = gaussian(sigma_px)
    scale = displacement_px / np.sqrt((kernel**2).sum())
    down, right = (scale * convolve(field, kernel) for field in random.normal("field", (2, *image.shape[:2])))
    return displace(image, down, right)


def pixelate(image: Floats, _: Randomness, scale: float) -> Floats:
    """Shrink both sides to `scale` by averaging, and enlarge again to squares of one colour."""
    from PIL import Image

    height, width = image.shape[:2]
    small = (max(1, int(width * scale)), max(1, int(height * scale)))
    shrunk = Image.fromarray(to_pixels(image)).resize(small, Image.Resampling.BOX)
    return np.asarray(shrunk.resize((width, height), Image.Resampling.NEAREST)) / 255


def jpeg_compression(image: Floats, _: Randomness, quality: float) -> Floats:
    """Encode as JPEG of this quality, colours at half the resolution, and decode."""
    from PIL import Image

    encoded = io.BytesIO()
    Image.fromarray(to_pixels(image)).save(encoded, "JPEG", quality=round(quality), subsampling="4:2:0")
    return np.asarray(Image.open(encoded)) / 255
