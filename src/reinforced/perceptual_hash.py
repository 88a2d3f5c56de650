"""Perceptual hashes: bits that stay the same when a picture is resized or encoded again, compared by Hamming distance.

Both kinds ask which low frequencies of the picture's cosine transform are above their median. pHash (Zauner 2010) takes
the transform of a small copy, without the constant and the purely horizontal and vertical terms; PDQ (Meta 2019) of a
copy smoothed by a Jarosz filter. Reducing a picture is one matrix on either side of it, and a batch one product.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reinforced.images import Pixels, decode_luma

Hashes = npt.NDArray[np.uint64]
Quality = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float32]


Kind = Literal["phash", "phash_256", "pdq"]
RADIUS: dict[Kind, int] = {"phash": 6, "phash_256": 24, "pdq": 31}
"""Distances in bits at which pictures are taken for copies unless a step says otherwise; PDQ's is its authors'."""


@dataclass(frozen=True)
class _Recipe:
    min_side_px: int
    """Least sides of the luma it is taken of; `decode_luma` may shrink a picture to this and no further."""
    side: int
    """Side of the small copy in pixels."""
    frequencies: int
    weights: Callable[[int, int], Matrix]


def perceptual_hash(images: Sequence[bytes], kind: Kind) -> tuple[Hashes, Quality]:
    """Hash encoded images: `phash` (64 bits), `phash_256` or `pdq` (256 bits), whichever way up their EXIF says.

    Returns: uint64 (images, bits / 64), and how much there is to see, uint8 from 0 to 100 as PDQ scores it: the steps
    of brightness between neighbours in the small copy. Raises: ImageError for the first that cannot be decoded.
    """
    recipe = _RECIPES[kind]
    small = _reduced([decode_luma(data, recipe.min_side_px) for data in images], recipe)
    return _above_median(small, recipe.frequencies), _quality(small)


def pdq_of_luma(luma: Pixels) -> Hashes:
    """Return PDQ of one picture, uint8 (height, width), whose every pixel counts: uint64 (4,)."""
    found: Hashes = _above_median(_reduced([luma], _RECIPES["pdq"]), 16)[0]
    return found


def words(kind: Kind) -> int:
    """Return the length of a hash in words of 64 bits."""
    return _RECIPES[kind].frequencies ** 2 // 64


def hash_column(hashes: Hashes) -> pa.Array:
    """Return hashes as the column that `schemas/perceptual_hashes.yaml` describes: uint64, or a fixed list of four."""
    flat = pa.array(hashes.reshape(-1))
    return flat if hashes.shape[1] == 1 else pa.FixedSizeListArray.from_arrays(flat, hashes.shape[1])


def hash_array(column: pa.ChunkedArray) -> Hashes:
    """Return a column of hashes without nulls as uint64 (rows, words): the reverse of `hash_column`."""
    values = column.combine_chunks()
    flat = values.flatten() if pa.types.is_fixed_size_list(values.type) else values
    hashes: Hashes = flat.to_numpy().reshape(len(values), -1) if len(values) else np.empty((0, 1), np.uint64)
    return hashes


def hamming(first: Hashes, second: Hashes) -> npt.NDArray[np.int64]:
    """Return the number of bits in which hashes differ; shapes broadcast, words are the last axis."""
    differing: npt.NDArray[np.int64] = np.bitwise_count(first ^ second).sum(-1, dtype=np.int64)
    return differing


def _reduced(lumas: Sequence[Pixels], recipe: _Recipe) -> Matrix:
    """Return float32 (pictures, side, side): each picture with the recipe's weights applied down and across."""
    small = np.empty((len(lumas), recipe.side, recipe.side), np.float32)
    for luma, target in zip(lumas, small, strict=True):
        down, across = (recipe.weights(length, recipe.side) for length in luma.shape)
        np.matmul(down @ luma.astype(np.float32), across.T, out=target)
    return small


def _above_median(small: Matrix, frequencies: int) -> Hashes:
    """Return which of the frequencies 1 to n, either way, of square pictures are above their median."""
    basis = _cosines(frequencies, small.shape[-1])
    # A coarse grid, so that what is equal in theory (all of a plain picture) does not hang on the last bits of a sum.
    found = np.round(basis @ small @ basis.T * 64).reshape(len(small), -1)
    above = found > np.median(found, axis=1, keepdims=True)
    hashes: Hashes = np.packbits(above, axis=1, bitorder="little").view("<u8").astype(np.uint64)
    return hashes


def _quality(small: Matrix) -> Quality:
    """Return PDQ's score of square pictures, which divides by 90 for a side of 64."""
    side = small.shape[-1]
    steps = [np.abs(np.diff(small, axis=axis) * np.float32(100 / 255)).astype(np.int64).sum((1, 2)) for axis in (1, 2)]
    per_point = 90 * side * (side - 1) // (64 * 63)
    quality: Quality = np.minimum((steps[0] + steps[1]) // per_point, 100).astype(np.uint8)
    return quality


@functools.cache
def _cosines(frequencies: int, length: int) -> Matrix:
    """Return the rows 1 to n of the orthonormal discrete cosine transform (type II)."""
    angles = np.pi * np.arange(1, frequencies + 1)[:, None] * (np.arange(length) + 0.5) / length
    basis: Matrix = (np.sqrt(2 / length) * np.cos(angles)).astype(np.float32)
    return basis


@functools.lru_cache(maxsize=4096)
def _shrinking(length: int, side: int) -> Matrix:
    """Return (side, length) weights of linear interpolation, widened to average what is shrunk."""
    scale = length / side
    distance = np.abs(np.arange(length) + 0.5 - (np.arange(side)[:, None] + 0.5) * scale)
    weights = np.maximum(0, 1 - distance / max(scale, 1))
    normalized: Matrix = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return normalized


@functools.lru_cache(maxsize=4096)
def _jarosz(length: int, side: int) -> Matrix:
    """Return (side, length) weights: two box filters in a row, cut off at the edges, then `side` samples."""
    window = (length + 2 * side - 1) // (2 * side)
    before, after = (window + 2) // 2 - 1, window - (window + 2) // 2
    place = np.arange(length)
    first, last = np.maximum(place - after, 0), np.minimum(place + before, length - 1)
    count = last - first + 1
    sample = ((np.arange(side) + 0.5) * length / side).astype(np.int64)[:, None]
    once = ((place >= first[sample]) & (place <= last[sample])) / (count[sample] * count)
    sums = np.pad(np.cumsum(once, axis=1), ((0, 0), (1, 0)))
    # A box that is cut off at an edge divides by fewer pixels, so the second pass gathers from [j - before, j + after].
    twice = sums[:, np.minimum(place + after, length - 1) + 1] - sums[:, np.maximum(place - before, 0)]
    weights: Matrix = twice.astype(np.float32)
    return weights


_RECIPES: dict[Kind, _Recipe] = {
    "phash": _Recipe(128, 32, 8, _shrinking),
    "phash_256": _Recipe(256, 64, 16, _shrinking),
    "pdq": _Recipe(256, 64, 16, _jarosz),
}
