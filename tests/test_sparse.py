from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reinforced import sparse


def stored(dense: np.ndarray, top_k: int, precision: float) -> tuple[sparse.SparseProbabilities, int]:
    steps = sparse.steps_for(top_k, precision)
    classes, shares = sparse.encode(dense, top_k, steps)
    assert classes.dtype == shares.dtype == np.uint16
    assert classes.shape == shares.shape == (len(dense), top_k)
    return sparse.decode(classes, shares, steps), steps


def variation(found: sparse.SparseProbabilities, dense: np.ndarray) -> np.ndarray:
    """Total variation distance of the listed classes and of all the others together."""
    dense = dense.astype(np.float64) / dense.sum(axis=1, dtype=np.float64, keepdims=True)
    listed = np.take_along_axis(dense, found.classes.astype(np.int64), 1)
    errors = np.abs(found.probabilities - listed).sum(axis=1) + np.abs(found.tail - (1 - listed.sum(axis=1)))
    return errors / 2


@st.composite
def distributions(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """Any distributions over 1 to 30 classes: ties, zeros, one-hot rows and steep ones among them."""
    classes = draw(st.integers(1, 30))
    steepness = draw(st.sampled_from([0.0, 1.0, 20.0, 700.0]))
    logits = draw(arrays(np.float64, (3, classes), elements=st.floats(-1, 1))) * steepness
    dense = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (dense / dense.sum(axis=1, keepdims=True)).astype(np.float32), draw(st.integers(1, classes))


@given(distributions(), st.sampled_from([1e-2, 1e-3, 2e-4]))
def test_no_distribution_is_stored_less_precisely_than_promised(made: tuple[np.ndarray, int], precision: float) -> None:
    dense, top_k = made
    found, _ = stored(dense, top_k, precision)
    assert variation(found, dense).max() <= precision + 1e-6


@given(distributions())
def test_stored_probabilities_add_up_to_one_and_stay_in_order(made: tuple[np.ndarray, int]) -> None:
    dense, top_k = made
    found, steps = stored(dense, top_k, 1e-3)
    counts = np.rint(np.concatenate([found.probabilities, found.tail[:, None]], axis=1) * steps)
    assert (counts.sum(axis=1) == steps).all()
    assert (np.diff(counts[:, :-1], axis=1) <= 0).all()
    assert (np.diff(np.sort(found.classes, axis=1), axis=1) > 0).all(), "a class is listed twice"
    if top_k == dense.shape[1]:
        assert (found.tail == 0).all()
    np.testing.assert_allclose(sparse.densify(found, dense.shape[1]).sum(axis=1), 1, atol=1e-5)


def test_one_hot_and_uniform_distributions_come_back_as_they_were() -> None:
    dense = np.stack([np.eye(8, dtype=np.float32)[5], np.full(8, 1 / 8, np.float32)])
    for top_k in (1, 3, 8):
        found, steps = stored(dense, top_k, 1e-3)
        again = sparse.densify(found, 8)
        assert again[0, 5] == 1 and again[0].sum() == 1
        assert found.classes[0, 0] == 5
        assert np.abs(again[1] - 1 / 8).max() <= 1 / steps
        assert found.classes[1].tolist() == list(range(top_k)), "equal classes come in their order"


def test_the_tail_is_spread_over_the_other_classes_or_kept_apart() -> None:
    dense = np.array([[0.1, 0.5, 0.3, 0.1]], np.float32)
    found, _ = stored(dense, 2, 1e-3)
    np.testing.assert_allclose(sparse.densify(found, 4), dense, atol=1e-3)
    apart = sparse.densify(found, 4, spread_tail=False)
    np.testing.assert_allclose(apart, [[0, 0.5, 0.3, 0]], atol=1e-3)
    np.testing.assert_allclose(apart.sum() + found.tail[0], 1, atol=1e-6)


def test_a_buffer_is_filled_completely_whatever_was_in_it() -> None:
    found, _ = stored(np.random.default_rng(0).dirichlet(np.ones(20), 6).astype(np.float32), 4, 1e-3)
    buffer = np.full((6, 20), np.nan, np.float32)
    assert sparse.densify(found, 20, out=buffer) is buffer
    np.testing.assert_array_equal(buffer, sparse.densify(found, 20))


@pytest.mark.parametrize("bad", [[np.nan, 1.0], [-0.5, 1.5], [0.2, 0.2], [np.inf, 0.0]])
def test_what_is_no_distribution_is_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        sparse.encode(np.array([bad], np.float32), 1, 100)


def test_impossible_requests_say_what_is_possible() -> None:
    with pytest.raises(ValueError, match=r"top_k 3 of 2 classes"):
        sparse.encode(np.array([[0.5, 0.5]], np.float32), 3, 100)
    with pytest.raises(ValueError, match=r"too fine for top_k 10: use 4\.2e-05 or more"):
        sparse.steps_for(10, 1e-6)
    with pytest.raises(ValueError, match="damaged"):
        sparse.decode(np.zeros((1, 2), np.uint16), np.array([[80, 30]], np.uint16), 100)


@given(distributions(), st.sampled_from([1e-2, 1e-3, 2e-4]), st.randoms(use_true_random=False))
def test_known_classes_are_stored_as_if_all_were_known(
    made: tuple[np.ndarray, int], precision: float, random: Random
) -> None:
    dense, top_k = made
    dense = dense.astype(np.float64) / dense.sum(axis=1, dtype=np.float64, keepdims=True)
    steps = sparse.steps_for(top_k, precision)
    classes, shares = sparse.encode(dense, top_k, steps)
    shuffled = random.sample(range(top_k), top_k)
    listed = classes[:, shuffled].astype(np.int64)
    known = np.take_along_axis(dense, listed, 1)
    found = sparse.decode(*sparse.encode_sparse(listed, known, steps, dense.shape[1]), steps)
    assert variation(found, dense).max() <= precision + 1e-6
    wanted = sparse.decode(classes, shares, steps)
    np.testing.assert_allclose(found.probabilities, wanted.probabilities, atol=1.01 / steps)
    if top_k == dense.shape[1]:
        assert (found.tail == 0).all()


@pytest.mark.parametrize(
    ("classes", "probabilities", "said"),
    [
        ([[0, 4]], [[0.5, 0.2]], "they must be from 0 to 3"),
        ([[0, -1]], [[0.5, 0.2]], "they must be from 0 to 3"),
        ([[2, 2]], [[0.5, 0.2]], "a class is listed twice"),
        ([[0, 1]], [[0.9, 0.2]], "sum to 1 at most"),
        ([[0, 1]], [[0.9, np.nan]], "finite"),
        ([[0, 1, 2, 3]], [[0.2, 0.2, 0.2, 0.2]], "sum to 1 at most"),
    ],
)
def test_what_is_no_sparse_distribution_is_refused(
    classes: list[list[int]], probabilities: list[list[float]], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        sparse.encode_sparse(np.array(classes), np.array(probabilities), 1000, 4)


def test_rounding_above_one_never_becomes_a_negative_tail() -> None:
    over = np.array([[0.9, 0.1003]], np.float16)
    assert over.astype(np.float64).sum() > 1
    classes, shares = sparse.encode_sparse(np.array([[3, 1]]), over, 2750, 12)
    found = sparse.decode(classes, shares, 2750)
    assert found.tail.tolist() == [0]
    assert found.probabilities.sum() == pytest.approx(1)
