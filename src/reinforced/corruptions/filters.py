"""What corruptions are made of: random numbers, convolution, point-spread functions, displacement, in NumPy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reinforced import counter
from reinforced.images import Pixels

Floats = npt.NDArray[np.float64]
"""Images are (height, width, 3) from 0 to 1; fields are (height, width)."""


@dataclass(frozen=True)
class Randomness:
    """The random numbers of one image under one corruption; the same at all severities, which differ in strength."""

    seed: int
    corruption: str
    key: str

    def uniform(self, what: str, shape: tuple[int, ...]) -> Floats:
        """Return numbers in (0, 1), multiples of 2**-32 plus a half; each `what` has words of its own."""
        words = counter.words(self.seed, f"corrupt.{self.corruption}.{what}", [self.key], [0], math.prod(shape))
        found: Floats = (words.reshape(shape) + 0.5) / 2**32
        return found

    def normal(self, what: str, shape: tuple[int, ...]) -> Floats:
        """Return standard normal numbers (Box and Muller 1958)."""
        first, second = self.uniform(what, (2, *shape))
        found: Floats = np.sqrt(-2 * np.log(first)) * np.cos(2 * np.pi * second)
        return found


def to_pixels(image: Floats) -> Pixels:
    """Return an image as uint8, clipped and rounded to the nearest level."""
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def convolve(values: Floats, kernel: Floats) -> Floats:
    """Convolve an image or field, mirrored at its border, with a kernel of odd sides and sum 1."""
    height, width = values.shape[:2]
    down, right = (side // 2 for side in kernel.shape)
    if down == right == 0:
        return values
    padded = np.pad(values, [(down, down), (right, right), *[(0, 0)] * (values.ndim - 2)], mode="symmetric")
    size = (height + 2 * down, width + 2 * right)
    spectrum = np.fft.rfft2(kernel, size).reshape(size[0], -1, *[1] * (values.ndim - 2))
    found: Floats = np.fft.irfft2(np.fft.rfft2(padded, axes=(0, 1)) * spectrum, size, axes=(0, 1))
    return found[2 * down :, 2 * right :]  # what the mirrored border has reached is cut off


def gaussian(sigma_px: float) -> Floats:
    """Return the kernel of a Gaussian, cut off at four standard deviations."""
    reach = math.ceil(4 * sigma_px)
    line = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_px) ** 2)
    line /= line.sum()
    found: Floats = np.outer(line, line)
    return found


def point_spread(down: Floats, right: Floats, weights: Floats) -> Floats:
    """Return the kernel that averages an image over shifts of (down, right) px, each shared out bilinearly."""
    reach = math.ceil(max(np.abs(down).max(), np.abs(right).max())) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    top, left = np.floor(down).astype(int), np.floor(right).astype(int)
    lower, outer = down - top, right - left
    for y, share_y in ((top, 1 - lower), (top + 1, lower)):
        for x, share_x in ((left, 1 - outer), (left + 1, outer)):
            np.add.at(kernel, (y + reach, x + reach), weights * share_y * share_x)
    found: Floats = kernel / kernel.sum()
    return found


def displace(image: Floats, down: Floats, right: Floats) -> Floats:
    """Take every pixel from so many px further down and right, bilinearly; the border goes on for ever."""
    height, width = image.shape[:2]
    y = np.clip(np.arange(height)[:, None] + down, 0, height - 1)
    x = np.clip(np.arange(width) + right, 0, width - 1)
    top, left = y.astype(int), x.astype(int)
    bottom, end = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    lower, outer = (y - top)[..., None], (x - left)[..., None]
    above = image[top, left] * (1 - outer) + image[top, end] * outer
    below = image[bottom, left] * (1 - outer) + image[bottom, end] * outer
    found: Floats = above * (1 - lower) + below * lower
    return found
