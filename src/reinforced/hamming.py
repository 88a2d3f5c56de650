"""Clusters of hashes by Hamming distance: all pairs within a radius, found through bands, joined to components."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from reinforced.perceptual_hash import Hashes

Places = npt.NDArray[np.int64]

BUCKET_ROWS = 128
"""Rows of a bucket on average: enough to compare at once that the loop over buckets costs nothing."""
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
    bits = max(1, (max(1, len(hashes) // BUCKET_ROWS)).bit_length())
    total = 64 * hashes.shape[1]
    count = min(radius + 1, total // bits)
    shares = [(radius + 1 + i) // count for i in range(count)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for band, share in enumerate(shares):
            start = band * (total // count)
            values = _band(hashes, start, bits)
            order = np.argsort(values, kind="stable")
            ordered = np.ascontiguousarray(hashes[order].T)
            limits = np.searchsorted(values[order], np.arange((1 << bits) + 1))
            masks = _masks(bits, share - 1)
            search = _Band(ordered, limits, masks, radius)
            for found in pool.map(search.bucket_range, *_ranges(1 << bits)):
                for one, other in found:
                    yield order[one], order[other]


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

    def bucket_range(self, start: int, stop: int) -> list[tuple[Places, Places]]:
        """Return the pairs between buckets start to stop and those, not before them, that their masks lead to."""
        found = []
        for bucket in range(start, stop):
            if self.limits[bucket] < self.limits[bucket + 1]:
                for mask in self.masks:
                    if bucket ^ mask >= bucket:
                        found += self._compare(bucket, bucket ^ mask)
        return found

    def _compare(self, one: int, other: int) -> list[tuple[Places, Places]]:
        a, b = self.limits[one], self.limits[one + 1]
        c, d = self.limits[other], self.limits[other + 1]
        if c == d:
            return []
        distance = np.bitwise_count(self.ordered[0, a:b, None] ^ self.ordered[0, c:d])
        for word in self.ordered[1:]:
            distance = distance + np.bitwise_count(word[a:b, None] ^ word[c:d]).astype(np.uint16)
        near = distance <= self.radius
        if one == other:
            near = np.triu(near, 1)
        first, second = np.nonzero(near)
        return [(first + a, second + c)] if len(first) else []
