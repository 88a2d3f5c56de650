from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reinforced import hamming
from reinforced.hamming import clusters
from reinforced.perceptual_hash import Hashes
from reinforced.perceptual_hash import hamming as distance


def near_copies(rows: int, words: int, most: int, seed: int) -> Hashes:
    """Return hashes of which some are copies of others with a few bits turned."""
    numbers = np.random.default_rng(seed)
    hashes = numbers.integers(0, 2**64, (rows, words), np.uint64)
    for row in numbers.permutation(rows)[: rows // 2]:
        hashes[row] = hashes[numbers.integers(rows)]
        for bit in numbers.integers(0, 64 * words, numbers.integers(0, most + 1)):
            hashes[row, bit // 64] ^= np.uint64(1) << np.uint64(bit % 64)
    return hashes


def by_comparing_all(hashes: Hashes, radius: int) -> list[int]:
    near = distance(hashes[:, None], hashes[None]) <= radius
    roots = np.arange(len(hashes))
    while True:
        below = np.where(near, roots, len(hashes)).min(1)
        if np.array_equal(below, roots):
            return roots.tolist()
        roots = below


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 300), st.sampled_from([1, 4]), st.integers(0, 40), st.integers(0, 1000))
def test_no_pair_within_the_radius_is_missed_and_none_beyond_it_is_joined(
    rows: int, words: int, radius: int, seed: int
) -> None:
    hashes = near_copies(rows, words, radius + 3, seed)
    assert clusters(hashes, radius).tolist() == by_comparing_all(hashes, radius)


@pytest.mark.parametrize(("words", "radius"), [(1, 6), (1, 10), (4, 31)])
def test_bands_in_which_bits_may_differ_lose_no_pair(words: int, radius: int, monkeypatch: pytest.MonkeyPatch) -> None:
    bands, bits = hamming._plan(10**7, 64 * words, radius)
    assert max(bands) > 0
    monkeypatch.setattr(hamming, "_plan", lambda *_: (bands, bits))
    hashes = near_copies(1000, words, radius, 1)
    assert clusters(hashes, radius).tolist() == by_comparing_all(hashes, radius)


def test_the_order_of_rows_changes_no_cluster() -> None:
    hashes = near_copies(500, 1, 6, 2)
    order = np.random.default_rng(0).permutation(500)
    straight, shuffled = clusters(hashes, 6), clusters(hashes[order], 6)
    same = straight[order][:, None] == straight[order][None]
    assert np.array_equal(shuffled[:, None] == shuffled[None], same)


def test_ten_thousand_equal_hashes_are_one_cluster_and_cost_no_square() -> None:
    hashes = np.full((200_000, 1), 7, np.uint64)
    assert clusters(hashes, 6).max() == 0


def test_no_rows_have_no_clusters() -> None:
    assert clusters(np.empty((0, 1), np.uint64), 6).tolist() == []
