from __future__ import annotations

import numpy as np
import pytest

from reinforced.min_hash import SHINGLE, band_rows, clusters, normalized, signature

WORDS = [
    "a",
    "dog",
    "cat",
    "red",
    "blue",
    "photo",
    "of",
    "on",
    "the",
    "grass",
    "near",
    "house",
    "with",
    "small",
    "large",
    "bird",
    "sits",
    "two",
    "old",
    "under",
    "tree",
]


def sentences(count: int, words: int = 14) -> list[str]:
    numbers = np.random.default_rng(0)
    return [" ".join(numbers.choice(WORDS, words)) for _ in range(count)]


def jaccard(one: str, other: str) -> float:
    first, second = ({text[i : i + SHINGLE] for i in range(len(text) - SHINGLE + 1)} for text in (one, other))
    return len(first & second) / len(first | second)


def test_the_share_of_equal_entries_estimates_the_jaccard_similarity() -> None:
    errors = []
    for text in sentences(60):
        other = " ".join(word for i, word in enumerate(text.split()) if i != 6)
        estimate = (signature(text, 0) == signature(other, 0)).mean()
        errors.append(estimate - jaccard(text, other))
    assert abs(np.mean(errors)) < 0.02
    assert np.std(errors) < 0.06


def test_case_width_and_white_space_do_not_tell_texts_apart() -> None:
    assert normalized("  Ｄog\n on\tGRASS ") == normalized("dog on grass")


def test_texts_shorter_than_a_shingle_are_told_apart() -> None:
    assert not np.array_equal(signature("cat", 0), signature("car", 0))


@pytest.mark.parametrize("similarity", [0.5, 0.8])
def test_clusters_are_those_of_comparing_every_signature_with_every_other(similarity: float) -> None:
    texts = sentences(60)
    texts += [text + " again" for text in texts[:30]] + [text.replace("dog", "cow", 1) for text in texts[10:40]]
    signatures = np.stack([signature(text, 0) for text in texts])
    near = (signatures[:, None] == signatures[None]).mean(2) >= similarity
    roots = np.arange(len(texts))
    for _ in range(len(texts)):
        roots = np.where(near, roots, len(texts)).min(1)
    assert clusters(signatures, similarity).tolist() == roots.tolist()


@pytest.mark.parametrize("similarity", [0.3, 0.5, 0.8, 0.95])
def test_a_pair_at_the_least_similarity_is_missed_in_one_case_of_a_hundred(similarity: float) -> None:
    rows = band_rows(similarity)
    draws = np.random.default_rng(1).random((20_000, 128 // rows, rows)) < similarity
    assert draws.all(2).any(1).mean() > 0.985


def test_a_caption_that_stands_a_hundred_thousand_times_costs_no_square() -> None:
    same = np.tile(signature("a photo of a dog", 0), (100_000, 1))
    assert clusters(same, 0.8).max() == 0


def test_no_texts_have_no_clusters() -> None:
    assert clusters(np.empty((0, 128), np.uint32), 0.8).tolist() == []
