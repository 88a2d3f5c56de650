from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reinforced.counter import below, hash64, philox, words

# The authors' known answers for philox4x32 with 10 rounds (Random123, kat_vectors).
KNOWN = [
    ([0] * 4, (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, (0xFFFFFFFF, 0xFFFFFFFF), [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        (0xA4093822, 0x299F31D0),
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_gives_its_authors_known_answers(counter: list[int], key: tuple[int, int], expected: list[int]) -> None:
    assert philox(np.array(counter, np.uint32), key).tolist() == expected


def test_philox_gives_the_same_for_many_counters_at_once() -> None:
    counters = np.array([counter for counter, _, _ in KNOWN], np.uint32)
    for i, (_, key, expected) in enumerate(KNOWN):
        assert philox(counters.reshape(3, 1, 4), key)[i, 0].tolist() == expected


def test_hashes_and_words_never_change_between_versions() -> None:
    assert hash64("") == int.from_bytes(bytes.fromhex("e4a6a0577479b2b4"), "little")
    assert words(0, "reinforce", ["a"], [0], 2).tolist() == [[[2502276416, 2158075962]]]


keys = st.lists(st.text(max_size=8), min_size=1, max_size=6, unique=True)
draws = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4, unique=True)


@settings(deadline=None)
@given(keys, draws, st.integers(1, 9), st.randoms(use_true_random=False))
def test_a_samples_numbers_do_not_depend_on_the_order_of_work(keys, draws, count, random) -> None:  # type: ignore[no-untyped-def]
    whole = words(3, "op", keys, draws, count)
    key, draw = random.randrange(len(keys)), random.randrange(len(draws))
    alone = words(3, "op", [keys[key]], [draws[draw]], count)
    np.testing.assert_array_equal(whole[key, draw], alone[0, 0])
    np.testing.assert_array_equal(words(3, "op", keys[::-1], draws[::-1], count + 5)[::-1, ::-1, :count], whole)


def test_seed_operator_key_and_draw_each_give_other_numbers() -> None:
    found = [
        tuple(words(*arguments, 4).ravel().tolist())
        for arguments in [
            (0, "a", ["x"], [0]),
            (1, "a", ["x"], [0]),
            (0, "b", ["x"], [0]),
            (0, "a", ["y"], [0]),
            (0, "a", ["x"], [1]),
        ]
    ]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("limit", [2, 7, 10, 64, 1000])
def test_integers_below_a_limit_are_uniform(limit: int) -> None:
    numbers = below(words(0, "uniform", [f"key {i}" for i in range(2000)], range(10), 10), limit).ravel()
    counts = np.bincount(numbers, minlength=limit)
    assert len(counts) == limit
    assert stats.chisquare(counts).pvalue > 0.001


def test_words_of_neighbouring_draws_are_not_correlated() -> None:
    table = words(0, "correlation", [f"{i}" for i in range(20_000)], [0, 1], 2).astype(np.float64).reshape(20_000, 4)
    correlations = np.corrcoef(table.T)[np.triu_indices(4, 1)]
    assert np.abs(correlations).max() < 4.5 / np.sqrt(20_000)


@given(st.integers(0, 2**32 - 1), st.integers(1, 2**32))
def test_below_stays_below(word: int, limit: int) -> None:
    found = int(below(np.array(word, np.uint32), limit))
    assert found == word * limit >> 32
    assert 0 <= found < limit
