"""Fractals rendered the usual way, to compare with: one chain in float64, one map a step by cumulative probability."""

from __future__ import annotations

import numpy as np
from numba import njit
from PIL import Image, ImageFilter

_compiled = njit(cache=True, nogil=True)


@_compiled
def seed(value):
    """Seed Numba's Mersenne Twister."""
    np.random.seed(value)


@_compiled
def iterate(maps, shares, points):
    """Return the points of one chain, float64 (points, 2); maps: float64 (N, 6), shares: their probabilities."""
    cumulative = np.cumsum(shares)
    found = np.empty((points, 2))
    x, y = 0.0, 0.0
    for step in range(-50, points):
        draw = np.random.random()
        m = 0
        while m < len(maps) - 1 and draw > cumulative[m]:
            m += 1
        a, b, c, d, e, f = maps[m]
        x, y = a * x + b * y + e, c * x + d * y + f
        if step >= 0:
            found[step, 0], found[step, 1] = x, y
    return found


@_compiled
def box(points):
    """Return least x, least y, largest x, largest y."""
    low_x, low_y, high_x, high_y = np.inf, np.inf, -np.inf, -np.inf
    for i in range(len(points)):
        low_x, high_x = min(low_x, points[i, 0]), max(high_x, points[i, 0])
        low_y, high_y = min(low_y, points[i, 1]), max(high_y, points[i, 1])
    return low_x, low_y, high_x, high_y


@_compiled
def render(points, window, size, patch):
    """Return the normalized density, float64 (size, size), every point drawn as a 3 x 3 patch of bools.

    window: origin (x, y) and pixels per unit (x, y).
    """
    image = np.zeros((size, size))
    for i in range(len(points)):
        column = int(np.floor((points[i, 0] - window[0]) * window[2]))
        row = int(np.floor((points[i, 1] - window[1]) * window[3]))
        for down in range(3):
            for right in range(3):
                y, x = row + down - 1, column + right - 1
                if patch[down, right] and 0 <= y < size and 0 <= x < size:
                    image[y, x] += 1
    return image / image.max()


@_compiled
def diamond_square(size, decay):
    """Return a texture in 0..1, float64 (size, size)."""
    side = 1
    while side < size:
        side *= 2
    heights = np.zeros((side + 1, side + 1))
    step, scale = side, 1.0
    while step > 1:
        half = step // 2
        for y in range(half, side, step):
            for x in range(half, side, step):
                total = heights[y - half, x - half] + heights[y - half, x + half]
                total += heights[y + half, x - half] + heights[y + half, x + half]
                heights[y, x] = total / 4 + np.random.uniform(-scale, scale)
        for y in range(0, side + 1, half):
            for x in range((y + half) % step, side + 1, step):
                total, count = 0.0, 0
                for down, right in ((-half, 0), (half, 0), (0, -half), (0, half)):
                    if 0 <= y + down <= side and 0 <= x + right <= side:
                        total += heights[y + down, x + right]
                        count += 1
                heights[y, x] = total / count + np.random.uniform(-scale, scale)
        scale *= decay
        step = half
    found = heights[:size, :size]
    return (found - found.min()) / (found.max() - found.min())


def grey(maps, shares, points, size, patch):
    """Return a grey picture of the whole fractal, uint8 (size, size)."""
    found = iterate(maps, shares, points)
    low_x, low_y, high_x, high_y = box(found)
    window = np.array([low_x, low_y, (size - 1) / (high_x - low_x), (size - 1) / (high_y - low_y)])
    return (render(found, window, size, patch) * 255).astype(np.uint8)


def full(maps, shares, points, size, patch, rng):
    """Return a picture with jitter, colour, background and blur, uint8 (size, size, 3)."""
    maps = maps.copy()
    maps[rng.integers(len(maps)), :4] *= rng.uniform(0.8, 1.1)
    found = iterate(maps, shares, points)
    low_x, low_y, high_x, high_y = box(found)
    window = np.array([low_x, low_y, (size - 1) / (high_x - low_x), (size - 1) / (high_y - low_y)])
    density = render(found, window, size, patch)
    picture = np.where(density[..., None] > 0, _coloured(density, rng), _coloured(diamond_square(size, 0.6), rng))
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(0.7)))


def _coloured(values, rng):
    hue = ((values * 255 + rng.uniform(0, 255)) % 256).astype(np.uint8)
    saturation = np.full_like(hue, rng.uniform(0.3, 1) * 255)
    value = np.full_like(hue, rng.uniform(0.5, 1) * 255)
    return np.asarray(Image.merge("HSV", [Image.fromarray(c) for c in (hue, saturation, value)]).convert("RGB"))
