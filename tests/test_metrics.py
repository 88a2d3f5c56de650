from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reinforced.metrics import accuracy, expected_calibration_error, negative_log_likelihood, reliability

# Four predictions of two classes: confidences 0.9, 0.8, 0.6, 0.6; right, right, right, wrong.
PROBABILITIES = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.6, 0.4]])
LABELS = np.array([0, 1, 0, 1])


@st.composite
def predictions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    count, classes = draw(st.integers(1, 60)), draw(st.integers(2, 6))
    raw = draw(arrays(np.float64, (count, classes), elements=st.floats(0.001, 1)))
    return raw / raw.sum(1, keepdims=True), draw(arrays(np.int64, count, elements=st.integers(0, classes - 1)))


def test_accuracy_counts_the_most_probable_class() -> None:
    assert accuracy(PROBABILITIES, LABELS) == 0.75


def test_log_loss_is_the_mean_surprise_in_nats() -> None:
    expected = -(np.log(0.9) + np.log(0.8) + np.log(0.6) + np.log(0.4)) / 4
    assert negative_log_likelihood(PROBABILITIES, LABELS) == pytest.approx(expected)


def test_one_impossible_label_leaves_the_log_loss_finite() -> None:
    assert negative_log_likelihood(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-np.log(1e-12))


def test_equal_width_calibration_error_matches_the_sum_done_by_hand() -> None:
    # Bins (0.5, 0.6], (0.7, 0.8], (0.8, 0.9]: gaps |0.6 - 0.5|, |0.8 - 1|, |0.9 - 1| with weights 2, 1, 1 of 4.
    assert expected_calibration_error(PROBABILITIES, LABELS, bins=10) == pytest.approx((0.2 + 0.2 + 0.1) / 4)


def test_equal_mass_calibration_error_matches_the_sum_done_by_hand() -> None:
    # Two bins of two: mean confidence 0.6 against 0.5 right, 0.85 against 1 right.
    assert expected_calibration_error(PROBABILITIES, LABELS, bins=2, equal_mass=True) == pytest.approx(0.125)


def test_always_sure_and_half_right_is_off_by_one_half() -> None:
    assert expected_calibration_error(np.array([[1.0, 0.0]] * 4), np.array([0, 0, 1, 1])) == pytest.approx(0.5)


def test_honest_forecasts_have_a_small_calibration_error() -> None:
    generator = np.random.default_rng(0)
    sure = generator.uniform(0.5, 1, 20_000)
    labels = (generator.uniform(size=20_000) > sure).astype(int)
    assert expected_calibration_error(np.stack([sure, 1 - sure], 1), labels) < 0.02


@given(predictions(), st.integers(1, 20), st.booleans())
def test_bins_hold_every_prediction_once(case: tuple[np.ndarray, np.ndarray], bins: int, equal_mass: bool) -> None:
    probabilities, labels = case
    found = reliability(probabilities, labels, bins, equal_mass)
    assert sum(b.count for b in found) == len(labels)
    assert all(b.lower - 1e-9 <= b.confidence <= b.upper + 1e-9 for b in found)
    assert sum(b.count * b.accuracy for b in found) / len(labels) == pytest.approx(accuracy(probabilities, labels))


@given(predictions(), st.booleans())
def test_calibration_error_lies_between_the_overall_gap_and_one(
    case: tuple[np.ndarray, np.ndarray], equal_mass: bool
) -> None:
    probabilities, labels = case
    gap = abs(probabilities.max(1).mean() - accuracy(probabilities, labels))
    one_bin = expected_calibration_error(probabilities, labels, 1, equal_mass)
    assert one_bin == pytest.approx(gap)
    assert gap - 1e-9 <= expected_calibration_error(probabilities, labels, 15, equal_mass) <= 1


@given(predictions(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(case: tuple[np.ndarray, np.ndarray], random: Random) -> None:
    probabilities, labels = case
    order = list(range(len(labels)))
    random.shuffle(order)
    shuffled = expected_calibration_error(probabilities[order], labels[order])
    assert shuffled == pytest.approx(expected_calibration_error(probabilities, labels))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"probabilities of shape \(4, 2\) and labels of shape \(3,\)"):
        accuracy(PROBABILITIES, LABELS[:3])
