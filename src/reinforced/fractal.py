"""Render fractals: the chaos game of a code, seen through a window (`fractal_kernel` has the loops)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from reinforced import fractal_kernel as kernel
from reinforced.ifs import Code, jittered, weighted
from reinforced.images import Pixels
from reinforced.stream import Stream

Floats = npt.NDArray[np.float32]
Hits = npt.NDArray[np.uint32]
Packed = npt.NDArray[np.uint32]
"""A picture (height, width) with red, green and blue in the three low bytes of each value."""

LARGEST = 1e4
"""A code whose points leave this distance, or come no farther than its inverse, has no picture."""
FILLING_SIDE_PX, FILLING_POINTS = 512, 100_000
"""Side of the picture and number of points by which FractalDB measures how much of it a fractal fills."""

ATTEMPTS = 32
LEAST_HITS = 1 / 256
"""Share of a picture's pixels that points must fall on: a window may show an empty part of a fractal."""
JITTER, SHIFT, HALF_EXTENT = (0.8, 1.1), 0.2, (0.25, 1.0)
PLAIN_PATCH = 0b000_010_000


@dataclass(frozen=True)
class Vary:
    """How the instances of a code differ."""

    by: Literal["view", "weights"]
    patch: bool
    flip: bool
    max_singular_value: float


@dataclass(frozen=True)
class Shown:
    """One fractal as it is put into a picture: the code it has after jitter, its points a pixel, its place."""

    code: Code
    hits: Hits
    left: int
    top: int
    attempts: int


@dataclass(frozen=True)
class View:
    """The part of a fractal that a picture shows: shift and half-extent in units of the box around all its points."""

    shift: tuple[float, float] = (0.0, 0.0)
    half_extent: tuple[float, float] = (0.5, 0.5)
    mirrored: tuple[bool, bool] = (False, False)


def plot(
    code: Code, points: int, size_px: int, view: View, key: tuple[int, int], patch: int = PLAIN_PATCH
) -> Hits | None:
    """Play the chaos game and count the points in each pixel: uint32 (size_px, size_px), by rows.

    points: how many, rounded up to a multiple of 64. key: two words that decide the sequence of maps. patch: nine bits
    of the 3 x 3 pixels that each point draws. Returns None where the points diverge or coincide.
    """
    xs, ys, box = _play(code, points, key)
    window = _window(box, view, size_px)
    if window is None:
        return None
    hits: Hits = kernel.count(xs, ys, window, size_px)
    return hits if patch == PLAIN_PATCH else kernel.smear(hits, patch)


def plot_window(code: Code, points: int, size_px: int, window: Floats, key: tuple[int, int]) -> Hits:
    """Count the points through a fixed window: float32 (4,), its origin (x, y) and the pixels per unit (x, y)."""
    xs, ys, _ = _play(code, points, key)
    return kernel.count(xs, ys, window, size_px)  # type: ignore[no-any-return]


def show(code: Code, vary: Vary, instance: int, sides: tuple[int, int], points: int, stream: Stream) -> Shown:
    """Render an instance of a code, anywhere in the picture; sides: of the fractal and of the picture, in px.

    Raises: ValueError when the code shows nothing in ATTEMPTS tries.
    """
    side, room = sides[0], sides[1] - sides[0] + 1
    for attempt in range(1, ATTEMPTS + 1):
        own, view, patch = _varied(code, vary, instance, attempt, stream)
        hits = plot(own, points, side, view, (stream.word(), stream.word()), patch)
        if hits is not None and np.count_nonzero(hits) >= LEAST_HITS * hits.size:
            return Shown(own, hits, stream.below(room), stream.below(room), attempt)
    raise ValueError(f"{ATTEMPTS} views of the fractal show nothing")


def _varied(code: Code, vary: Vary, instance: int, attempt: int, stream: Stream) -> tuple[Code, View, int]:
    if vary.by == "weights":
        patches = Stream(0, "synthesize.fractal.patch", str(instance // 25 % 10))
        flips = instance // 250 % 4 if vary.flip else 0
        own = weighted(code, (instance + attempt - 1) % 25)  # the next weights where these diverge
        patch = _random_patch(patches) if vary.patch else PLAIN_PATCH
        return own, View(mirrored=(bool(flips & 1), bool(flips & 2))), patch
    own = jittered(code, JITTER, vary.max_singular_value, stream)
    shift = stream.uniform(-SHIFT, SHIFT), stream.uniform(-SHIFT, SHIFT)
    half = stream.uniform(*HALF_EXTENT), stream.uniform(*HALF_EXTENT)
    mirrored = (vary.flip and stream.chance(0.5), vary.flip and stream.chance(0.5))
    return own, View(shift, half, mirrored), _random_patch(stream) if vary.patch else PLAIN_PATCH


def _random_patch(stream: Stream) -> int:
    """Each of the 3 x 3 pixels with probability 1/2, and the middle one always."""
    return stream.below(512) | PLAIN_PATCH


def compose(shown: Sequence[Shown], size_px: int, decay: float | None, passes: int, stream: Stream) -> Pixels:
    """Paint fractals in colour from the first to the last, over a texture (`decay`) or black; uint8 (side, side, 3).

    passes: how often the whole is blurred by 1-2-1.
    """
    if decay is None:
        canvas = np.zeros((size_px, size_px), np.uint32)
    else:
        canvas = background(size_px, decay, random_palette(stream), stream)
    for one in shown:
        kernel.paint(canvas, one.hits, one.left, one.top, random_palette(stream))
    for _ in range(passes):
        kernel.blur(canvas)
    return kernel.unpack(canvas)  # type: ignore[no-any-return]


def compose_grey(shown: Sequence[Shown], size_px: int) -> Pixels:
    """Put fractals on black, uint8 (side, side); where they overlap, the brighter pixel stays."""
    canvas = np.zeros((size_px, size_px), np.uint8)
    for one in shown:
        high, wide = one.hits.shape
        part = canvas[one.top : one.top + high, one.left : one.left + wide]
        np.maximum(part, kernel.grey(one.hits), out=part)
    return canvas


def fills(code: Code, min_filling: float) -> bool:
    """Return whether a fractal's points fall on at least that share of a picture of the whole."""
    hits = plot(code, FILLING_POINTS, FILLING_SIDE_PX, View(), (0, 0))
    return hits is not None and bool(np.count_nonzero(hits) >= min_filling * hits.size)


def background(size_px: int, decay: float, colours: Packed, stream: Stream) -> Packed:
    """Return a coloured diamond-square texture, (size_px, size_px): each octave `decay` times as high as the last."""
    heights = kernel.plasma(size_px, decay, np.array((stream.word(), stream.word()), np.uint32))
    return kernel.colour(heights, colours)  # type: ignore[no-any-return]


def random_palette(stream: Stream) -> Packed:
    """Return 256 colours: a turn of the hue from a random start, one saturation in 0.3-1 and one value in 0.5-1."""
    hue, saturation, value = stream.below(256), stream.between(77, 255), stream.between(128, 255)
    return kernel.palette(hue, saturation, value)  # type: ignore[no-any-return]


def _play(code: Code, points: int, key: tuple[int, int]) -> tuple[Floats, Floats, tuple[float, float, float, float]]:
    """Return the points, x and y, and their least x, least y, largest x and largest y."""
    count = -(-points // kernel.LANES) * kernel.LANES
    xs, ys = np.empty(count, np.float32), np.empty(count, np.float32)
    ends, maps = _ends(code), np.array(code.maps, np.float32)
    rest = np.array(_fixed_point(code), np.float32), np.array(key, np.uint32), xs, ys
    if len(maps) <= kernel.FEW:
        columns = np.empty((6, kernel.FEW), np.float32)
        columns[:, : len(maps)], columns[:, len(maps) :] = maps.T, maps[-1:].T
        inner = [*ends[:-1], *[2**32 - 1] * kernel.FEW][: kernel.FEW - 1]
        return xs, ys, kernel.play_few(columns, np.array(inner, np.uint32), *rest)
    entries = 1 << kernel.TABLE_BITS
    table = np.searchsorted([end * entries >> 32 for end in ends[:-1]], np.arange(entries), "right").astype(np.uint8)
    return xs, ys, kernel.play_many(maps, table, *rest)


def _ends(code: Code) -> list[int]:
    """Where the share of each map ends, in units of 2**-32."""
    ends, total = [], 0.0
    for share in code.shares:
        total += share
        ends.append(min(int(total * 2**32), 2**32 - 1))
    return ends


def _fixed_point(code: Code) -> tuple[float, float]:
    """A point of the attractor: the one that the most frequent map leaves where it is."""
    shares = code.shares
    a, b, c, d, e, f = code.maps[shares.index(max(shares))]
    determinant = (1 - a) * (1 - d) - b * c
    if abs(determinant) < 1e-6:
        return 0.0, 0.0
    return ((1 - d) * e + b * f) / determinant, (c * e + (1 - a) * f) / determinant


def _window(box: tuple[float, float, float, float], view: View, size_px: int) -> Floats | None:
    """Return origin and pixels per unit of a view for `kernel.count`; None without an extent."""
    if not all(math.isfinite(edge) and abs(edge) <= LARGEST for edge in box):
        return None
    origin, scale = [], []
    for low, high, shift, half, mirrored in zip(
        box[:2], box[2:], view.shift, view.half_extent, view.mirrored, strict=True
    ):
        extent = (high - low) * 1.0001  # so that the last point is inside
        if extent < 1 / LARGEST:
            return None
        middle, reach = (low + high) / 2 + shift * extent, half * extent
        origin.append(middle + reach if mirrored else middle - reach)
        scale.append(size_px / (2 * reach) * (-1 if mirrored else 1))
    return np.array([*origin, *scale], np.float32)
