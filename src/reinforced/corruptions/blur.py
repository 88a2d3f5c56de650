"""Blur: averages of the image over shifts, zooms and small displacements."""

from __future__ import annotations

import math

import numpy as np

from reinforced.corruptions.filters import (
    Floats,
    Randomness,
    convolve,
    displace,
    gaussian,
    point_spread,
    to_pixels,
)

_ZOOMS = 10


def defocus_blur(image: Floats, _: Randomness, radius_px: float) -> Floats:
    """Average over a disc, as a lens out of focus does."""
    points = max(8, math.ceil(2 * radius_px))
    line = np.arange(-points, points + 1) / points
    down, right = (axis.ravel() for axis in np.meshgrid(line, line, indexing="ij"))
    inside = np.hypot(down, right) <= 1
    return convolve(image, point_spread(radius_px * down[inside], radius_px * right[inside], np.ones(inside.sum())))


def glass_blur(image: Floats, random: Randomness, sigma_px: float, displacement_px: float) -> Floats:
    """Blur, take every pixel from a place up to `displacement_px` off in each direction, blur again: frosted glass."""
    kernel = gaussian(sigma_px)
    down, right = displacement_px * (2 * random.uniform("displacement", (2, *image.shape[:2])) - 1)
    return convolve(displace(convolve(image, kernel), down, right), kernel)


def motion_blur(image: Floats, random: Randomness, length_px: float, sigma_px: float) -> Floats:
    """Average along a line that fades like half a Gaussian, at a random angle of up to 45 degrees to the horizontal."""
    along = np.linspace(0, length_px, 1 + max(8, math.ceil(4 * length_px)))
    angle = np.pi / 2 * (float(random.uniform("angle", (1,))[0]) - 0.5)
    weights = np.exp(-0.5 * (along / sigma_px) ** 2)
    return convolve(image, point_spread(along * np.sin(angle), along * np.cos(angle), weights))


def zoom_blur(image: Floats, _: Randomness, zoom: float) -> Floats:
    """Average eleven zooms into the centre, evenly from none to `zoom`, as a lens that zooms during the exposure."""
    from PIL import Image

    height, width = image.shape[:2]
    picture, total = Image.fromarray(to_pixels(image)), np.zeros(image.shape)
    for step in range(_ZOOMS + 1):
        cut = (1 - 1 / (1 + zoom * step / _ZOOMS)) / 2
        box = (cut * width, cut * height, (1 - cut) * width, (1 - cut) * height)
        total += np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, box))
    return total / (255 * (_ZOOMS + 1))
