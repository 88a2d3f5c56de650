"""Inner loops of the synthesized pictures that are no fractals, compiled by Numba: lines, leaves, static."""

from __future__ import annotations

import numpy as np
from numba import njit

_compiled = njit(cache=True, nogil=True, error_model="numpy")


@_compiled
def _bits(counter, key):
    """Return 32 random bits for a counter and a key, uint32 (2,): the mixing of `fractal_kernel`."""
    x = np.uint32(np.uint32(counter) ^ key[0])
    x = np.uint32(np.uint32(x ^ np.uint32(x >> np.uint32(16))) * np.uint32(0x7FEB352D))
    x = np.uint32(x ^ key[1])
    x = np.uint32(np.uint32(x ^ np.uint32(x >> np.uint32(15))) * np.uint32(0x846CA68B))
    return np.uint32(x ^ np.uint32(x >> np.uint32(16)))


@_compiled
def closed_line(canvas, xs, ys, width, value):
    """Draw the closed polygon through int32 vertices, `width` px thick, on uint8 (height, width); clips at the edge."""
    for i in range(len(xs)):
        x, y = xs[i - 1], ys[i - 1]
        to_x, to_y = xs[i], ys[i]
        across, down = abs(to_x - x), -abs(to_y - y)
        step_x, step_y = (1 if x < to_x else -1), (1 if y < to_y else -1)
        error = across + down
        while True:  # Bresenham 1965
            for row in range(max(0, y), min(canvas.shape[0], y + width)):
                for column in range(max(0, x), min(canvas.shape[1], x + width)):
                    canvas[row, column] = value
            if x == to_x and y == to_y:
                break
            doubled = 2 * error
            if doubled >= down:
                error += down
                x += step_x
            if doubled <= across:
                error += across
                y += step_y


@_compiled
def dead_leaves(size, least, largest, square_share, most, key):
    """Cover a picture with leaves of random colours from the front to the back; returns uint8 (size, size, 3).

    Radii (half sides of squares) in [least, largest] px have a density of r**-3. square_share: of 256. At most `most`
    leaves; what they leave is black.
    """
    picture = np.zeros((size, size, 3), np.uint8)
    free = np.ones((size, size), np.bool_)
    left = size * size
    wide, narrow = 1.0 / (largest * largest), 1.0 / (least * least)
    for leaf in range(most):
        if left == 0:
            break
        share = _bits(4 * leaf, key) / 4294967296.0
        radius = int(1.0 / np.sqrt(wide + share * (narrow - wide)))
        room = size + 2 * radius
        x = int(np.uint64(_bits(4 * leaf + 1, key)) * np.uint64(room) >> np.uint64(32)) - radius
        y = int(np.uint64(_bits(4 * leaf + 2, key)) * np.uint64(room) >> np.uint64(32)) - radius
        colour = _bits(4 * leaf + 3, key)
        round_leaf = (colour >> np.uint32(24)) >= square_share
        for row in range(max(0, y - radius), min(size, y + radius + 1)):
            for column in range(max(0, x - radius), min(size, x + radius + 1)):
                inside = not round_leaf or (row - y) ** 2 + (column - x) ** 2 <= radius * radius
                if inside and free[row, column]:
                    free[row, column] = False
                    left -= 1
                    for channel in range(3):
                        picture[row, column, channel] = np.uint8((colour >> np.uint32(8 * channel)) & np.uint32(255))
    return picture


@_compiled
def static(shape, key):
    """Return white noise, float64 of a shape (channels, height, width), even in (-1, 1)."""
    result = np.empty(shape, np.float64)
    flat = result.reshape(-1)
    for i in range(len(flat)):
        flat[i] = _bits(i, key) / 2147483648.0 - 1.0
    return result
