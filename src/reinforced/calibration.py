"""Teachers made honest before they are stored: temperatures fitted on held-out images, and what is left measured.

A student inherits the calibration of what it learns from, so it is worth fitting; on clean images, which neither the
teachers nor the student learn from. An operator sees batches, not splits, so this happens before the pipeline: the
result is the teachers' YAML with `temperature` and `measured` filled in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from reinforced.errors import RequestError
from reinforced.metrics import Floats, Labels, accuracy, expected_calibration_error, negative_log_likelihood
from reinforced.teacher import Measured, Teacher
from reinforced.teachers import Combination, Ensemble, parse_teacher
from reinforced.weights import Soup

if TYPE_CHECKING:
    from reinforced.dataset import Dataset
    from reinforced.images import Pixels

LOWEST, HIGHEST = 0.01, 100.0
_STEPS = 60
"""Of golden section search; each narrows the interval to 0.618 of it, so these leave 1e-12 of it."""


def fit_temperature(logits: Floats, labels: Labels) -> float:
    """Return the temperature, 0.01 to 100, at which softmax(logits / temperature) gives the labels least log loss.

    logits: (N, classes); labels: (N,). Guo et al. 2017, *On Calibration of Modern Neural Networks*.
    Raises: ValueError when the shapes do not fit or a logit is not finite.
    """
    if not np.isfinite(logits).all():
        raise ValueError("logits to fit a temperature to must be finite")
    found = logits.astype(np.float64)

    def loss(temperature: float) -> float:
        scaled = found / temperature
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return negative_log_likelihood(powers / powers.sum(axis=1, keepdims=True), labels)

    return _lowest(loss)


def calibrate(
    dataset: Dataset,
    teachers: Sequence[Teacher | Mapping[str, Any]],
    *,
    size_px: tuple[int, int],
    split: str = "split",
    calibration: str = "calibration",
    test: str = "test",
    combine: Combination = "mean",
    batch_size: int = 64,
) -> list[dict[str, Any]]:
    """Fit the teachers' temperatures on one part of a dataset, measure them on another, and return them for YAML.

    Images are taken whole at `size_px` (width, height), unaugmented. Each teacher gets the temperature that suits it
    alone; then one factor for all of them suits the ensemble, whose mean is less sure than its members. `measured` is
    each teacher's own accuracy and calibration error on the test part, at the new temperature.
    Raises: RequestError when a part has no labelled images or labels the teachers do not know.
    """
    parsed = [parse_teacher(teacher) for teacher in teachers]
    ensemble = Ensemble(parsed, size_px, combine=combine, batch_size=batch_size)
    pixels, labels = held_out(dataset, size_px, split, calibration, ensemble.classes)
    logits = [ensemble.logits(i, pixels) for i in range(len(parsed))]
    own = [
        _lowest(lambda t, i=i: negative_log_likelihood(ensemble.answer(i, logits[i], t), labels))  # type: ignore[misc]
        for i in range(len(parsed))
    ]
    factor = _lowest(lambda f: negative_log_likelihood(ensemble.combined(logits, [f * t for t in own], labels), labels))
    pixels, labels = held_out(dataset, size_px, split, test, ensemble.classes)
    found = []
    for i, teacher in enumerate(parsed):
        temperature = float(f"{own[i] * factor:.4g}")
        answers = ensemble.answer(i, ensemble.logits(i, pixels), temperature)
        measured = _measured(test, answers, labels)
        settings = teacher.model_copy(update={"temperature": temperature, "measured": measured})
        found.append(settings.model_dump(mode="json", exclude_unset=True))
    return found


def held_out_accuracy(
    dataset: Dataset,
    teacher: Teacher | Mapping[str, Any],
    *,
    size_px: tuple[int, int],
    split: str = "split",
    part: str = "calibration",
) -> Callable[[tuple[str, ...]], float]:
    """Return the score of `weights.greedy_soup`: accuracy of this teacher with the soup of some files as its weights.

    Images are those of one part of the dataset, whole at `size_px` (width, height); they are decoded once.
    """
    parsed = parse_teacher(teacher)
    pixels, labels = held_out(dataset, size_px, split, part)

    def score(files: tuple[str, ...]) -> float:
        cooked = parsed.model_copy(update={"weights": Soup(soup=files)})
        return accuracy(Ensemble([cooked], size_px).probabilities(pixels), labels)

    return score


def held_out(
    dataset: Dataset, size_px: tuple[int, int], split: str, part: str, classes: int | None = None
) -> tuple[Pixels, Labels]:
    """Return one part's labelled images, whole at (width, height) px, and their labels.

    Raises: RequestError when there are none, or when a label is not one of the classes.
    """
    from reinforced import student_images

    found = student_images.held_out(dataset, student_images.chosen_rows(dataset, split, part), size_px)
    labels = found.labels
    if classes is not None and not 0 <= labels.min() <= labels.max() < classes:
        raise RequestError(
            f"the teachers know {classes} classes, {dataset.path} has labels {labels.min()} to {labels.max()} where "
            f"{split} is '{part}': `labels` maps a teacher's classes to them"
        )
    return found.pixels, labels


def _measured(part: str, answers: Floats, labels: Labels) -> Measured:
    right, error = accuracy(answers, labels), expected_calibration_error(answers, labels)
    return Measured(split=part, images=len(labels), accuracy=round(right, 4), ece=round(error, 4))


def _lowest(loss: Callable[[float], float]) -> float:
    """Return the temperature with the lowest loss, by golden section search over its logarithm."""
    ratio = (math.sqrt(5) - 1) / 2
    low, high = math.log(LOWEST), math.log(HIGHEST)
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = loss(math.exp(left)), loss(math.exp(right))
    for _ in range(_STEPS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = loss(math.exp(left))
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = loss(math.exp(right))
    return math.exp((low + high) / 2)
