"""Which of several networks suits a dataset as a teacher: their features judged by simple classifiers on top of them.

A network need not know the dataset's classes for that, nor be fine-tuned first: what a linear classifier and nearest
neighbours make of its features ranks backbones at the cost of looking at each image once.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reinforced.errors import RequestError
from reinforced.forward import Floats, Forward
from reinforced.metrics import Labels, accuracy, expected_calibration_error, negative_log_likelihood
from reinforced.teacher import Teacher
from reinforced.teachers import load

if TYPE_CHECKING:
    from reinforced.dataset import Dataset
    from reinforced.student_images import Row

REGULARIZATIONS = tuple(10.0**power for power in range(-4, 3))
"""Inverse strengths tried for the linear classifier."""
NEIGHBOURS = (1, 5, 10, 20, 50, 100)
TEMPERATURE = 0.07
"""Of the neighbours' votes, which weigh exp(cosine / temperature)."""
_HELD_OUT_ONE_IN = 5
_IMAGES_AT_ONCE = 512

Classifier = Callable[[float, Floats, Labels, Floats, int], Floats]
"""Setting, features and labels to learn from, features to judge, number of classes: probabilities (n, classes)."""


@dataclass(frozen=True)
class Probed:
    """How well a teacher's features tell a dataset's classes apart on test images, and what looking at one costs."""

    teacher: str
    dimensions: int
    linear_accuracy: float
    linear_ece: float
    knn_accuracy: float
    knn_ece: float
    seconds_per_image: float
    device: str
    regularization: float
    neighbours: int
    train_images: int
    test_images: int


def probe(
    dataset: Dataset,
    teachers: Sequence[Teacher],
    *,
    size_px: tuple[int, int] | None = None,
    split: str = "split",
    train: str = "train",
    test: str = "test",
    images: int | None = None,
    batch_size: int = 64,
    cpus: int = 1,
    gpus: float = 0,
) -> list[Probed]:
    """Rank teachers on a labelled dataset, the best linear classifier first.

    Images are taken whole at `size_px` (width, height), by default at each teacher's own size. The multinomial logistic
    regression's regularization and the number of neighbours (weighted by cosine, as Wu et al. 2018, *Unsupervised
    Feature Learning via Non-Parametric Instance Discrimination*) are chosen on every fifth training image of a class.
    images: most of each part, chosen by the hashes of their keys.
    Raises: RequestError when a part has no labelled images, a teacher cannot be loaded or takes no images of this size.
    """
    import torch

    from reinforced import student_images

    device = torch.device("cuda" if gpus > 0 and torch.cuda.is_available() else "cpu")
    rows = []
    for part in (train, test):
        found = student_images.chosen_rows(dataset, split, part)
        few = images is not None and images < len(found)
        rows.append(student_images.chosen_rows(dataset, split, part, images) if few else found)
    labels = [np.array([row.label for row in part]) for part in rows]
    results = []
    for teacher in teachers:
        loaded = load(teacher, device)
        size = size_px or loaded.preprocessing.size
        if size is None:
            raise RequestError(f"teacher {teacher.name} does not say what size it wants its images: give size_px")
        asked = Forward(
            [replace(loaded, network=loaded.features or loaded.network)], device, batch_size=batch_size, cpus=cpus
        )
        seen = [_embedded(teacher, asked, dataset, part, size) for part in rows]
        results.append(_judged(teacher.name, str(device), [features for features, _ in seen], labels, seen[0][1]))
    return sorted(results, key=lambda found: (-found.linear_accuracy, -found.knn_accuracy, found.seconds_per_image))


def _embedded(
    teacher: Teacher, asked: Forward, dataset: Dataset, rows: Sequence[Row], size: tuple[int, int]
) -> tuple[Floats, float]:
    """Return the features of some samples, (n, dimensions), and the seconds that the network took an image."""
    from reinforced import student_images

    found: list[Floats] = []
    seconds, batches = 0.0, 0
    for start in range(0, len(rows), _IMAGES_AT_ONCE):
        pixels = student_images.clean_images(dataset, rows[start : start + _IMAGES_AT_ONCE], size)
        parts = [pixels[i : i + asked.batch_size] for i in range(0, len(pixels), asked.batch_size)]
        try:
            if start == 0:
                asked.start(parts[0]).take()  # the first batch is slower: not counted
            began = time.perf_counter()
            found += [answer for (answer,) in asked.answers(parts)]
        except (RuntimeError, AssertionError, TypeError, IndexError, AttributeError) as error:
            raise RequestError(f"teacher {teacher.name} does not take images of {size} px: {error}") from error
        seconds, batches = seconds + time.perf_counter() - began, batches + len(parts)
    features = np.concatenate(found)
    if not np.isfinite(features).all():
        raise RequestError(f"teacher {teacher.name}: its features have a NaN or infinity")
    return features, seconds / (batches * asked.batch_size)


def _judged(name: str, device: str, features: list[Floats], labels: list[Labels], seconds: float) -> Probed:
    classes = int(max(part.max() for part in labels)) + 1
    best, said = {}, {}
    for kind, classify, settings in (("linear", linear, REGULARIZATIONS), ("knn", nearest_neighbours, NEIGHBOURS)):
        best[kind] = chosen(classify, settings, features[0], labels[0], classes)
        said[kind] = classify(best[kind], features[0], labels[0], features[1], classes)
    scores = {
        f"{kind}_{metric}": float(function(answers, labels[1]))
        for kind, answers in said.items()
        for metric, function in (("accuracy", accuracy), ("ece", expected_calibration_error))
    }
    return Probed(
        teacher=name,
        device=device,
        dimensions=features[0].shape[1],
        seconds_per_image=seconds,
        regularization=best["linear"],
        neighbours=int(best["knn"]),
        train_images=len(labels[0]),
        test_images=len(labels[1]),
        **scores,
    )


def chosen(classify: Classifier, settings: Sequence[float], features: Floats, labels: Labels, classes: int) -> float:
    """Return the setting with the least log loss on every fifth image of a class, learned from the others.

    Raises: RequestError when no class has five images.
    """
    held = every_fifth(labels)
    if not held.any():
        raise RequestError(f"a probe needs {_HELD_OUT_ONE_IN} training images of a class, to choose its settings on")
    rest = features[~held], labels[~held], features[held], classes
    losses = [negative_log_likelihood(classify(setting, *rest), labels[held]) for setting in settings]
    return settings[int(np.argmin(losses))]


def every_fifth(labels: Labels) -> npt.NDArray[np.bool_]:
    """Return which samples are the fifth, tenth, … of their class, in their order."""
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        held[np.flatnonzero(labels == label)[_HELD_OUT_ONE_IN - 1 :: _HELD_OUT_ONE_IN]] = True
    return held


def linear(strength: float, features: Floats, labels: Labels, judged: Floats, classes: int) -> Floats:
    """Classify by multinomial logistic regression on standardized features; `strength` is its inverse penalty."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean, deviation = features.mean(axis=0), features.std(axis=0) + np.float32(1e-6)
    found = np.zeros((len(judged), classes), np.float32)
    if len(known := np.unique(labels)) == 1:
        found[:, known[0]] = 1
        return found
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # one that stops early is judged by what it says
        model = LogisticRegression(C=strength, max_iter=500).fit((features - mean) / deviation, labels)
    found[:, model.classes_] = model.predict_proba((judged - mean) / deviation)
    return found


def nearest_neighbours(count: float, features: Floats, labels: Labels, judged: Floats, classes: int) -> Floats:
    """Classify by the votes of the `count` nearest training images, each weighing exp(cosine / temperature)."""
    directions, wanted = (f / (np.linalg.norm(f, axis=1, keepdims=True) + 1e-12) for f in (features, judged))
    found = np.zeros((len(judged), classes), np.float32)
    for start in range(0, len(judged), _IMAGES_AT_ONCE):
        cosines = wanted[start : start + _IMAGES_AT_ONCE] @ directions.T
        order = np.argsort(-cosines, axis=1, kind="stable")[:, : int(count)]
        near = np.take_along_axis(cosines, order, 1)
        votes = np.exp((near - near[:, :1]) / TEMPERATURE)
        rows = np.arange(start, start + len(order))[:, None]
        np.add.at(found, (rows, labels[order]), votes / votes.sum(axis=1, keepdims=True))
    return found
