"""Scores of students and teachers on the same held-out images, as they are and under common corruptions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from reinforced.comparison import Result
from reinforced.corruption import SEVERITIES, corrupt
from reinforced.errors import RequestError
from reinforced.images import Pixels
from reinforced.metrics import (
    Floats,
    Labels,
    accuracy,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
)

if TYPE_CHECKING:
    from reinforced.teacher import Teacher
    from reinforced.teachers import Combination


class Predictor(Protocol):
    """What is scored: a student, or an `Ensemble` of teachers."""

    def probabilities(self, pixels: Pixels) -> Floats:
        """Return (N, classes) for uint8 images (N, height, width, 3)."""


@dataclass(frozen=True)
class HeldOut:
    """Images to score on, uint8 (N, height, width, 3), with labels and keys, and how they are corrupted besides."""

    pixels: Pixels
    labels: Labels
    keys: Sequence[str]
    corruptions: Sequence[str] = ()
    severities: Sequence[int] = SEVERITIES
    seed: int = 0

    def corrupted(self) -> Iterator[tuple[str, int, Pixels]]:
        """Yield (corruption, severity, images), all images under one corruption at one severity at a time."""
        for name in self.corruptions:
            for severity in self.severities:
                images = zip(self.pixels, self.keys, strict=True)
                made = [corrupt(pixels, name, severity, key=key, seed=self.seed) for pixels, key in images]
                yield name, severity, np.stack(made)


def score(predictors: Mapping[str, Sequence[Predictor]], held_out: HeldOut) -> list[Result]:
    """Score predictors, several an arm, on the same held-out images.

    Each result has `arm`, `accuracy`, `ece`, `ece_equal_mass` and `nll` as lists, one value a predictor, and the
    `reliability` bins over all of them together. With corruptions also `corrupted`: `accuracy` and `ece`, each
    predictor's mean over corruptions and severities, and `each`, the lists for every corruption and severity.
    Raises: RequestError when a label is not one of the classes that are predicted.
    """
    labels = held_out.labels
    results: list[Result] = []
    for arm, several in predictors.items():
        predictions = [predictor.probabilities(held_out.pixels) for predictor in several]
        if not 0 <= labels.min() <= labels.max() < (classes := predictions[0].shape[1]):
            raise RequestError(
                f"{arm}: {classes} classes are predicted, the test images have labels {labels.min()} to {labels.max()}"
            )
        pooled = reliability(np.concatenate(predictions), np.tile(labels, len(predictions)), bins=10)
        equal_mass = [expected_calibration_error(p, labels, equal_mass=True) for p in predictions]
        nll = [negative_log_likelihood(p, labels) for p in predictions]
        bins = [asdict(b) for b in pooled]
        rest = {"ece_equal_mass": equal_mass, "nll": nll, "reliability": bins}
        results.append({"arm": arm, **_accuracy_and_ece(predictions, labels), **rest})
    if held_out.corruptions:
        for result, corrupted in zip(results, _under_corruptions(predictors, held_out), strict=True):
            result["corrupted"] = corrupted
    return results


def score_teachers(teachers: Sequence[Teacher], combine: Combination, held_out: HeldOut) -> list[Result | None]:
    """Score teachers together, as `combine` makes one answer of theirs, and then each alone; [None] without any."""
    from reinforced.teachers import Ensemble

    if not teachers:
        return [None]
    size = (held_out.pixels.shape[2], held_out.pixels.shape[1])
    predictors = {"the teachers": [Ensemble(teachers, size, combine=combine)]}
    if len(teachers) > 1:
        predictors |= {f"{i}: {teacher.name}": [Ensemble([teacher], size)] for i, teacher in enumerate(teachers)}
    return [*score(predictors, held_out)]


def _under_corruptions(predictors: Mapping[str, Sequence[Predictor]], held_out: HeldOut) -> list[Result]:
    """Corrupt the images once for all arms, and return what `score` says of each."""
    each: list[list[Result]] = [[] for _ in predictors]
    for name, severity, pixels in held_out.corrupted():
        for rows, several in zip(each, predictors.values(), strict=True):
            predictions = [predictor.probabilities(pixels) for predictor in several]
            scores = _accuracy_and_ece(predictions, held_out.labels)
            rows.append({"corruption": name, "severity": severity, **scores})
    return [
        {**{name: np.mean([row[name] for row in rows], axis=0).tolist() for name in ("accuracy", "ece")}, "each": rows}
        for rows in each
    ]


def _accuracy_and_ece(predictions: Sequence[Floats], labels: Labels) -> Result:
    return {
        "accuracy": [accuracy(p, labels) for p in predictions],
        "ece": [expected_calibration_error(p, labels) for p in predictions],
    }
