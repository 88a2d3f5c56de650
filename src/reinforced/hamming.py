"""Clusters of hashes by Hamming distance: all pairs within a radius, found through bands, joined to components."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from reinforced.perceptual_hash import Hashes

Places = npt.NDArray[np.int64]

BLOCK = 1 << 15
"""Pairs compared at once: what NumPy's calls cost is spread over them, and they stay in the core's cache."""
PAIRS = 1 << 22
"""Pairs gathered before they are joined."""


class Components:
    """Connected components of rows; each is named by its smallest row."""

    def __init__(self, rows: int) -> None:
        self._root: Places = np.arange(rows)

    def join(self, first: Places, second: Places) -> None:
        """Put the two rows of each pair into one component."""
        while True:
            one, other = self._root[first], self._root[second]
            apart = one != other
            if not apart.any():
                return
            first, second, one, other = first[apart], second[apart], one[apart], other[apart]
            np.minimum.at(self._root, np.maximum(one, other), np.minimum(one, other))
            self._compress()

    def _compress(self) -> None:
        while not np.array_equal(above := self._root[self._root], self._root):
            self._root = above

    @property
    def roots(self) -> Places:
        """The smallest row of each row's component."""
        return self._root


def clusters(hashes: Hashes, radius: int) -> Places:
    """Return for each hash, uint64 (rows, words), the smallest row of its cluster.

    Rows are in one cluster if a chain of hashes leads from one to the other, each within `radius` bits of the next. The
    result depends on the hashes alone. Memory: about 40 bytes a row and word beyond the hashes.
    """
    unique, first, inverse = _unique(hashes)
    components = Components(len(unique))
    ones, others, waiting = [], [], 0
    for one, other in _pairs(unique, radius):
        ones.append(one)
        others.append(other)
        waiting += len(one)
        if waiting > PAIRS:
            components.join(np.concatenate(ones), np.concatenate(others))
            ones, others, waiting = [], [], 0
    if waiting:
        components.join(np.concatenate(ones), np.concatenate(others))
    smallest = np.full(len(unique), len(hashes))
    np.minimum.at(smallest, components.roots, first)
    return smallest[components.roots[inverse]]


def _unique(hashes: Hashes) -> tuple[Hashes, Places, Places]:
    """Return the distinct hashes, sorted, the first row of each, and the place of each row's hash among them."""
    order = np.lexsort(hashes.T[::-1])
    ordered = hashes[order]
    new = np.ones(len(hashes), bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(1)
    inverse = np.empty(len(hashes), np.int64)
    inverse[order] = np.cumsum(new) - 1
    return ordered[new], order[new], inverse


def _pairs(hashes: Hashes, radius: int) -> Iterator[tuple[Places, Places]]:
    """Yield the rows of all pairs of distinct hashes within the radius, some of them several times.

    If m bands of bits may differ by t_1 ... t_m bits, with sum(t_i + 1) = radius + 1, every pair within the radius is
    within t_i in some band i (Norouzi, Punjani and Fleet 2012). So of each band only the rows are compared whose bits
    there differ by so little.
    """
    bands, bits = _plan(len(hashes), 64 * hashes.shape[1], radius)
    with ThreadPoolExecutor(_threads()) as pool:
        for band, most in enumerate(bands):
            values = _band(hashes, band * (64 * hashes.shape[1] // len(bands)), bits)
            order = np.argsort(values, kind="stable")
            limits = np.searchsorted(values[order], np.arange((1 << bits) + 1))
            search = _Band(np.ascontiguousarray(hashes[order].T), limits, _masks(bits, most), radius)
            for found in pool.map(search.pairs, *_ranges(1 << bits)):
                for one, other in found:
                    yield order[one], order[other]


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _plan(rows: int, total_bits: int, radius: int) -> tuple[list[int], int]:
    """Return how many bits may differ in each band, and how many of a band's bits are looked at, at the least cost."""
    plans = []
    for bits in range(1, 21):
        count = min(radius + 1, total_bits // bits)
        bands = [(radius + 1 + i) // count - 1 for i in range(count)]
        probes = sum(math.comb(bits, differing) for most in bands for differing in range(min(most, bits) + 1))
        pairs_a_probe = rows**2 / 2**bits + BLOCK / 2 * min(rows, 2**bits)  # a call costs as much as half a block
        plans.append((probes * pairs_a_probe, bits, bands))
    _, bits, bands = min(plans)
    return bands, bits


def _ranges(buckets: int) -> tuple[range, list[int]]:
    step = max(1, buckets // 64)
    starts = range(0, buckets, step)
    return starts, [min(start + step, buckets) for start in starts]


def _band(hashes: Hashes, start: int, bits: int) -> Places:
    """Return `bits` bits from bit `start` on, which may lie in two words."""
    word, shift = divmod(start, 64)
    values = hashes[:, word] >> np.uint64(shift)
    if shift + bits > 64:
        values = values | (hashes[:, word + 1] << np.uint64(64 - shift))
    return (values & np.uint64((1 << bits) - 1)).astype(np.int64)


def _masks(bits: int, most: int) -> list[int]:
    """Return all ways in which up to `most` of the bits can differ."""
    places = itertools.chain.from_iterable(itertools.combinations(range(bits), n) for n in range(most + 1))
    return [sum(1 << place for place in chosen) for chosen in places]


class _Band:
    """The rows sorted into the buckets of one band."""

    def __init__(self, ordered: Hashes, limits: Places, masks: list[int], radius: int) -> None:
        self.ordered, self.limits, self.masks, self.radius = ordered, limits.tolist(), masks, radius

    def pairs(self, start: int, stop: int) -> list[tuple[Places, Places]]:
        """Return the pairs between buckets start to stop and those, not before them, that their masks lead to."""
        found: list[tuple[Places, Places]] = []
        scratch = np.empty(BLOCK, np.uint64), np.empty(BLOCK, np.uint8), np.empty(BLOCK, np.uint16)
        for bucket in range(start, stop):
            first, end = self.limits[bucket], self.limits[bucket + 1]
            for mask in self.masks if first < end else ():
                if (other := bucket ^ mask) >= bucket:
                    for c in range(self.limits[other], self.limits[other + 1], 1 << 12):
                        d = min(c + (1 << 12), self.limits[other + 1])
                        for a in range(first, end, rows := BLOCK // (d - c)):
                            found += self._near(a, min(a + rows, end), c, d, scratch)
        return found

    def _near(self, a: int, b: int, c: int, d: int, scratch: Any) -> list[tuple[Places, Places]]:
        """Compare rows a to b with rows c to d, in memory that is used again and again."""
        differing, count, distance = (array[: (b - a) * (d - c)].reshape(b - a, d - c) for array in scratch)
        for word, values in enumerate(self.ordered):
            np.bitwise_xor(values[a:b, None], values[c:d], out=differing)
            np.bitwise_count(differing, out=count)
            if word == 0 and len(self.ordered) > 1:
                np.copyto(distance, count)
            elif word > 0:
                np.add(distance, count, out=distance)
        far = count if len(self.ordered) == 1 else distance
        if far.min() > self.radius:
            return []
        first, second = np.divmod(np.flatnonzero(far <= self.radius), d - c)
        once = first + a < second + c
        return [(first[once] + a, second[once] + c)]
