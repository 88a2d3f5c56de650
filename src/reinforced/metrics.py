"""How good and how honest predicted probabilities are: accuracy, calibration error and log loss, in NumPy.

Everywhere `probabilities` is (N, classes) and `labels` is (N,) of class indices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class ReliabilityBin:
    """Predictions of similar confidence: the interval they fill, how many, how sure and how often right."""

    lower: float
    upper: float
    count: int
    confidence: float
    accuracy: float


def accuracy(probabilities: Floats, labels: Labels) -> float:
    """Return the share of samples whose most probable class is the label."""
    _check(probabilities, labels)
    return float((probabilities.argmax(1) == labels).mean())


def negative_log_likelihood(probabilities: Floats, labels: Labels) -> float:
    """Return the mean of -log p(label) in nats; probabilities below 1e-12 count as 1e-12, so one miss stays finite."""
    _check(probabilities, labels)
    chosen = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.clip(chosen, 1e-12, None)).mean())


def reliability(
    probabilities: Floats, labels: Labels, bins: int = 15, equal_mass: bool = False
) -> list[ReliabilityBin]:
    """Group predictions by the probability of their most probable class and compare it with how often they are right.

    Bins are of equal width over (0, 1], or of equal mass: as many predictions in each, give or take one. Empty bins
    are left out. This is the reliability diagram of Guo et al. 2017, *On Calibration of Modern Neural Networks*.
    """
    _check(probabilities, labels)
    confidence = probabilities.max(1).astype(np.float64)
    right = (probabilities.argmax(1) == labels).astype(np.float64)
    order = np.argsort(confidence, kind="stable")
    if equal_mass:
        groups = np.array_split(order, bins)
        edges = [(float(confidence[g].min()), float(confidence[g].max())) for g in groups if len(g)]
    else:
        which = np.clip(np.ceil(confidence[order] * bins).astype(int) - 1, 0, bins - 1)
        groups = [order[which == i] for i in range(bins)]
        edges = [(i / bins, (i + 1) / bins) for i in range(bins) if len(groups[i])]
    filled = [group for group in groups if len(group)]
    return [
        ReliabilityBin(low, high, len(group), float(confidence[group].mean()), float(right[group].mean()))
        for (low, high), group in zip(edges, filled, strict=True)
    ]


def expected_calibration_error(
    probabilities: Floats, labels: Labels, bins: int = 15, equal_mass: bool = False
) -> float:
    """Return the mean over predictions of |confidence - accuracy| of their bin, between 0 and 1.

    With bins of equal width this is the ECE of Naeini et al. 2015, *Obtaining Well Calibrated Probabilities Using
    Bayesian Binning*, on the most probable class; with bins of equal mass it is the adaptive error of Nguyen and
    O'Connor 2015, *Posterior calibration and exploratory analysis*, less swayed by nearly empty bins.
    """
    found = reliability(probabilities, labels, bins, equal_mass)
    return sum(b.count * abs(b.confidence - b.accuracy) for b in found) / len(labels)


def _check(probabilities: Floats, labels: Labels) -> None:
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not len(labels):
        raise ValueError(
            f"probabilities of shape {probabilities.shape} and labels of shape {labels.shape} do not fit: give (N, "
            "classes) and (N,) for at least one sample"
        )
