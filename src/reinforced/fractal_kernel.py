"""The inner loops of the fractal renderer, compiled by Numba: points, histogram, patch, background, colour, blur.

Floating point is only added, multiplied and compared, which IEEE 754 rounds in one way, and never fused or reordered;
the rest is integers. So every processor computes the same picture. All functions are in one file because Numba's cache
does not notice a change in a file that another imports.
"""

from __future__ import annotations

import numpy as np
from numba import njit

LANES = 64
"""Independent chains played side by side, which the compiler turns into vector instructions."""
BURN_IN = 24
"""Steps of each chain before its points count; it starts on the attractor, at the fixed point of a map."""
FEW = 4
"""Most maps that are chosen by comparing; more are chosen through a table of 2**TABLE_BITS entries."""
TABLE_BITS = 12

_compiled = njit(cache=True, nogil=True, error_model="numpy")
_inlined = njit(cache=True, nogil=True, error_model="numpy", inline="always")
_LOW = np.uint32(0x00FF00FF)


@_inlined
def _mix(counter, key0, key1):
    """Return 32 random bits for a counter: two rounds of xor-shift and multiply, constants found by Wellons 2018."""
    x = np.uint32(counter ^ key0)
    x = np.uint32(x ^ np.uint32(x >> np.uint32(16)))
    x = np.uint32(x * np.uint32(0x7FEB352D))
    x = np.uint32(x ^ key1)
    x = np.uint32(x ^ np.uint32(x >> np.uint32(15)))
    x = np.uint32(x * np.uint32(0x846CA68B))
    return np.uint32(x ^ np.uint32(x >> np.uint32(16)))


@_inlined
def _choose(bits, end, value):
    """Return one of four values; in code without branches, unlike a table."""
    few = value[1] if bits >= end[0] else value[0]
    return value[3] if bits >= end[2] else (value[2] if bits >= end[1] else few)


@_compiled
def play_few(maps, ends, start, key, xs, ys):
    """Play the chaos game with up to FEW maps into `xs`, `ys`; returns least x, least y, largest x, largest y.

    maps: float32 (6, FEW), rows a, b, c, d, e, f of (x, y) -> (a x + b y + e, c x + d y + f). ends: uint32 (FEW - 1),
    where the share of each map ends in 2**-32. start: float32 (2,). key: uint32 (2,). xs, ys: a multiple of LANES.
    """
    x, y = np.full(LANES, start[0], np.float32), np.full(LANES, start[1], np.float32)
    low_x, low_y, high_x, high_y = x.copy(), y.copy(), x.copy(), y.copy()
    end = (ends[0], ends[1], ends[2])
    a = (maps[0, 0], maps[0, 1], maps[0, 2], maps[0, 3])
    b = (maps[1, 0], maps[1, 1], maps[1, 2], maps[1, 3])
    c = (maps[2, 0], maps[2, 1], maps[2, 2], maps[2, 3])
    d = (maps[3, 0], maps[3, 1], maps[3, 2], maps[3, 3])
    e = (maps[4, 0], maps[4, 1], maps[4, 2], maps[4, 3])
    f = (maps[5, 0], maps[5, 1], maps[5, 2], maps[5, 3])
    key0, key1 = key[0], key[1]
    for step in range(BURN_IN + len(xs) // LANES):
        first = np.uint32(step * LANES)
        at = max(step - BURN_IN, 0) * LANES  # points of the burn-in are written over
        if step == BURN_IN:
            low_x[:], low_y[:], high_x[:], high_y[:] = np.inf, np.inf, -np.inf, -np.inf
        for i in range(LANES):
            bits = _mix(np.uint32(first + np.uint32(i)), key0, key1)
            u, v = x[i], y[i]
            new_x = _choose(bits, end, a) * u + _choose(bits, end, b) * v + _choose(bits, end, e)
            new_y = _choose(bits, end, c) * u + _choose(bits, end, d) * v + _choose(bits, end, f)
            x[i], y[i] = new_x, new_y
            xs[at + i], ys[at + i] = new_x, new_y
            low_x[i] = new_x if new_x < low_x[i] else low_x[i]
            low_y[i] = new_y if new_y < low_y[i] else low_y[i]
            high_x[i] = new_x if new_x > high_x[i] else high_x[i]
            high_y[i] = new_y if new_y > high_y[i] else high_y[i]
    return low_x.min(), low_y.min(), high_x.max(), high_y.max()


@_compiled
def play_many(maps, table, start, key, xs, ys):
    """Play the chaos game with any number of maps, chosen by `table`, uint8 (2**TABLE_BITS); else as `play_few`.

    maps: float32 (N, 6).
    """
    x, y = np.full(LANES, start[0], np.float32), np.full(LANES, start[1], np.float32)
    low_x, low_y, high_x, high_y = x.copy(), y.copy(), x.copy(), y.copy()
    key0, key1 = key[0], key[1]
    for step in range(BURN_IN + len(xs) // LANES):
        first = np.uint32(step * LANES)
        at = max(step - BURN_IN, 0) * LANES
        if step == BURN_IN:
            low_x[:], low_y[:], high_x[:], high_y[:] = np.inf, np.inf, -np.inf, -np.inf
        for i in range(LANES):
            bits = _mix(np.uint32(first + np.uint32(i)), key0, key1)
            m = table[bits >> np.uint32(32 - TABLE_BITS)]
            new_x = maps[m, 0] * x[i] + maps[m, 1] * y[i] + maps[m, 4]
            new_y = maps[m, 2] * x[i] + maps[m, 3] * y[i] + maps[m, 5]
            x[i], y[i] = new_x, new_y
            xs[at + i], ys[at + i] = new_x, new_y
        for i in range(LANES):
            low_x[i] = x[i] if x[i] < low_x[i] else low_x[i]
            low_y[i] = y[i] if y[i] < low_y[i] else low_y[i]
            high_x[i] = x[i] if x[i] > high_x[i] else high_x[i]
            high_y[i] = y[i] if y[i] > high_y[i] else high_y[i]
    return low_x.min(), low_y.min(), high_x.max(), high_y.max()


@_compiled
def count(xs, ys, window, size):
    """Return how many points fall on each pixel, uint32 (size, size).

    window: float32 (4,), the origin (x, y) and the pixels per unit (x, y), negative where the picture is mirrored.
    """
    row_length = np.int32(size + 2)  # what lies outside falls on a border that is cut off
    hits = np.zeros(row_length * row_length, np.uint32)
    zero, one, edge = np.float32(0), np.float32(1), np.float32(size + 1)
    left, top, wide, high = window[0], window[1], window[2], window[3]
    at = np.empty(LANES, np.uint32)
    for start in range(0, len(xs), LANES):
        px, py = xs[start : start + LANES], ys[start : start + LANES]
        for i in range(LANES):
            u = (px[i] - left) * wide + one
            v = (py[i] - top) * high + one
            u = u if u > zero else zero
            v = v if v > zero else zero
            u = u if u < edge else edge
            v = v if v < edge else edge
            at[i] = np.uint32(np.int32(np.int32(v) * row_length) + np.int32(u))
        for i in range(LANES):
            hits[at[i]] += np.uint32(1)
    return hits.reshape(row_length, row_length)[1:-1, 1:-1].copy()


@_compiled
def smear(hits, patch):
    """Draw every point as a 3 x 3 patch: the sum of the counts shifted by each of the patch's bits (9, row by row)."""
    size = len(hits)
    result = np.zeros((size, size), np.uint32)
    for bit in range(9):
        if (patch >> bit) & 1:
            down, right = bit // 3 - 1, bit % 3 - 1
            for y in range(max(0, down), size + min(0, down)):
                source, target = hits[y - down], result[y]
                source = source[max(0, -right) : size - max(0, right)]  # slices from 0 are what vectorizes
                target = target[max(0, right) : size - max(0, -right)]
                for x in range(len(source)):
                    target[x] += source[x]
    return result


@_compiled
def grey(hits):
    """Return uint8 (size, size): black where no point fell, 64 and more, linear in the count, where points did."""
    scale = np.float32(191) / np.float32(max(hits.max(), np.uint32(1)))
    result = np.empty(hits.shape, np.uint8)
    for y in range(hits.shape[0]):
        for x in range(hits.shape[1]):
            level = np.int32(np.float32(hits[y, x]) * scale)
            result[y, x] = np.uint8(level + 64) if hits[y, x] > 0 else np.uint8(0)
    return result


@_compiled
def palette(hue, saturation, value):
    """Return 256 packed colours, uint32 (red in the low byte): one turn of the hue from `hue`; all arguments 0..255."""
    colours = np.empty(256, np.uint32)
    for i in range(256):
        turned = ((i + hue) & 255) * 6
        rest = turned & 255
        low = value * (255 - saturation) // 255
        falling = value * (255 * 255 - saturation * rest) // (255 * 255)
        rising = value * (255 * 255 - saturation * (255 - rest)) // (255 * 255)
        sextant = turned >> 8
        red = (value, falling, low, low, rising, value)[sextant]
        green = (rising, value, value, falling, low, low)[sextant]
        blue = (low, low, rising, value, value, falling)[sextant]
        colours[i] = np.uint32(red | green << 8 | blue << 16)
    return colours


@_compiled
def paint(canvas, hits, left, top, colours):
    """Paint the pixels that points fell on, coloured by their count, over a packed picture at (left, top)."""
    scale = np.float32(255) / np.float32(max(hits.max(), np.uint32(1)))
    for y in range(hits.shape[0]):
        counts, target = hits[y], canvas[top + y, left : left + hits.shape[1]]
        for x in range(len(target)):
            if counts[x] > 0:
                target[x] = colours[np.int32(np.float32(counts[x]) * scale)]


@_compiled
def plasma(size, decay, key):
    """Return a diamond-square height map, int32 (size, size), each level's displacement `decay` times the last one's.

    Computed in integers on the next power of two, periodic, so that no edge is special.
    """
    side = 1
    while side < size:
        side *= 2
    mask, reach, step = side - 1, 32768.0, side
    key0, key1 = key[0], key[1]
    heights = np.zeros((side, side), np.int32)
    while step > 1:
        half, amplitude = step // 2, np.int32(reach)
        for y in range(half, side, step):
            up, down = heights[y - half], heights[(y + half) & mask]
            for x in range(half, side, step):
                right = (x + half) & mask
                mean = (up[x - half] + up[right] + down[x - half] + down[right]) >> 2
                heights[y, x] = mean + _displacement(y * side + x, key0, key1, amplitude)
        for y in range(0, side, half):
            up, own, down = heights[(y - half) & mask], heights[y], heights[(y + half) & mask]
            for x in range(half if (y // half) % 2 == 0 else 0, side, step):
                mean = (up[x] + down[x] + own[(x - half) & mask] + own[(x + half) & mask]) >> 2
                heights[y, x] = mean + _displacement(y * side + x, key0, key1, amplitude)
        reach *= decay
        step = half
    return heights[:size, :size]


@_inlined
def _displacement(place, key0, key1, amplitude):
    level = np.int32(_mix(np.uint32(place), key0, key1) >> np.uint32(16)) - np.int32(32768)
    return np.int32(np.int32(level * amplitude) >> np.int32(15))


@_compiled
def colour(heights, colours):
    """Return a packed picture: the lowest height gets the first of 256 colours, the highest the last."""
    low, high = heights.min(), heights.max()
    scale = np.float32(255) / np.float32(max(high - low, 1))
    result = np.empty(heights.shape, np.uint32)
    for y in range(heights.shape[0]):
        source, target = heights[y], result[y]
        for x in range(len(target)):
            target[x] = colours[np.int32(np.float32(source[x] - low) * scale)]
    return result


@_compiled
def blur(canvas):
    """Blur a packed picture in place by 1-2-1 in both directions: a Gaussian of sigma 0.71 px; the border stays."""
    height, width = canvas.shape
    across = np.empty((3, width), np.uint32)
    for y in range(height):
        row = across[y % 3]
        row[0], row[width - 1] = canvas[y, 0], canvas[y, width - 1]
        for x in range(1, width - 1):
            row[x] = _weigh(canvas[y, x - 1], canvas[y, x], canvas[y, x + 1])
        if y >= 2:
            up, own, down = across[(y - 2) % 3], across[(y - 1) % 3], row
            for x in range(width):
                canvas[y - 1, x] = _weigh(up[x], own[x], down[x])


@_inlined
def _weigh(before, own, after):
    """Return (before + 2 own + after + 2) / 4 for all bytes of packed colours at once."""
    even = np.uint32((before & _LOW) + np.uint32((own & _LOW) * np.uint32(2)) + (after & _LOW))
    odd_own = np.uint32(np.uint32(own >> np.uint32(8)) & _LOW)
    odd = np.uint32(np.uint32(before >> np.uint32(8)) & _LOW)
    odd = np.uint32(odd + np.uint32(odd_own * np.uint32(2)) + np.uint32(np.uint32(after >> np.uint32(8)) & _LOW))
    rounding = np.uint32(0x00020002)
    even = np.uint32(np.uint32(np.uint32(even + rounding) >> np.uint32(2)) & _LOW)
    odd = np.uint32(np.uint32(np.uint32(odd + rounding) >> np.uint32(2)) & _LOW)
    return np.uint32(even | np.uint32(odd << np.uint32(8)))


@_compiled
def unpack(canvas):
    """Return a packed picture as uint8 (height, width, 3)."""
    height, width = canvas.shape
    result = np.empty((height, width, 3), np.uint8)
    for y in range(height):
        for x in range(width):
            packed = canvas[y, x]
            result[y, x, 0] = np.uint8(packed)
            result[y, x, 1] = np.uint8(packed >> np.uint32(8))
            result[y, x, 2] = np.uint8(packed >> np.uint32(16))
    return result
