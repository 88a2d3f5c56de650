"""MinHash: signatures of texts whose share of equal entries estimates how alike the texts are (Broder 1997)."""

from __future__ import annotations

import functools
import unicodedata

import numpy as np
import numpy.typing as npt

from reinforced import counter
from reinforced.hamming import Components, Places

Signatures = npt.NDArray[np.uint32]

SIZE = 128
"""Entries of a signature: the estimate's standard error is at most 0.044."""
SHINGLE = 5
"""Characters of a shingle."""
MISSED = 0.01
"""Share of the pairs at the least similarity that may have no band in common."""


def normalized(text: str) -> str:
    """Return a text without what does not change its words: case, compatibility forms, runs of white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def signature(text: str, seed: int) -> Signatures:
    """Return the MinHash of a text's shingles of five characters: uint32 (128,), by seed."""
    weights, factors, offsets = _shuffles(seed)
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.uint64)
    codes = np.pad(codes, (0, max(0, SHINGLE - len(codes))))
    windows = np.lib.stride_tricks.sliding_window_view(codes, SHINGLE)
    shingles = _mixed((windows * weights).sum(1, dtype=np.uint64))
    least: Signatures = (np.unique(shingles)[:, None] * factors + offsets >> np.uint64(32)).min(0).astype(np.uint32)
    return least


@functools.cache
def _shuffles(seed: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Return the random weights of a shingle's characters, and the factors and offsets of the signature's hashes."""
    drawn = _mixed(counter.words(seed, "min_hash", [""], [0], SHINGLE + 2 * SIZE).reshape(-1).astype(np.uint64))
    weights, factors, offsets = np.split(drawn, [SHINGLE, SHINGLE + SIZE])
    return weights, factors | np.uint64(1), offsets


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Spread every bit over all 64, as the last step of SplitMix64 does (Steele, Lea and Flood 2014)."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        values = (values ^ values >> np.uint64(shift)) * np.uint64(factor)
    return values ^ values >> np.uint64(31)


def clusters(signatures: Signatures, min_similarity: float) -> Places:
    """Return for each signature, uint32 (rows, 128), the smallest row of its cluster.

    Rows are in one cluster if a chain leads from one to the other, each with at least `min_similarity` of its entries
    equal to the next one's. Candidates are rows with a band of entries in common, which a pair at the least
    similarity has with 99 % probability.
    """
    unique, first, inverse = np.unique(signatures, axis=0, return_index=True, return_inverse=True)
    components = Components(len(unique))
    rows = band_rows(min_similarity)
    for start in range(0, SIZE - rows + 1, rows):
        band = np.ascontiguousarray(unique[:, start : start + rows])
        keys = band.view(np.dtype((np.void, band.itemsize * rows))).reshape(-1)
        order = np.argsort(keys, kind="stable")
        group = np.concatenate([[0], np.cumsum(keys[order][1:] != keys[order][:-1])])
        places, step = np.arange(len(order)), 1
        while len(places):
            places = places[places + step < len(order)]
            places = places[group[places] == group[places + step]]
            one, other = order[places], order[places + step]
            apart = components.roots[one] != components.roots[other]
            one, other = one[apart], other[apart]
            near = (unique[one] == unique[other]).mean(1) >= min_similarity
            components.join(one[near], other[near])
            step += 1
    smallest = np.full(len(unique), len(signatures))
    np.minimum.at(smallest, components.roots, first)
    return smallest[components.roots[inverse.reshape(-1)]]


def band_rows(min_similarity: float) -> int:
    """Return the entries of a band: the most with which pairs at the least similarity are rarely missed."""
    missed = {rows: (1 - min_similarity**rows) ** (SIZE // rows) for rows in range(1, SIZE + 1)}
    return max(rows for rows, share in missed.items() if share <= MISSED or rows == 1)
