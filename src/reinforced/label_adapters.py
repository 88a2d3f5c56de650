"""From the classes a teacher knows to the labels of the dataset: by a map, or by distances between the two."""

from __future__ import annotations

import io
import json
from abc import abstractmethod
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter, ValidationError

from reinforced.augmentation import Settings
from reinforced.errors import RequestError, nearest
from reinforced.weight_files import read_file

Probabilities = npt.NDArray[np.float32]
Labels = int | tuple[int, ...] | None


class LabelAdapter(Settings):
    """A way to turn probabilities of classes into probabilities of labels."""

    @abstractmethod
    def files(self) -> tuple[str, ...]:
        """Return the files it reads."""

    @abstractmethod
    def matrix(self) -> npt.NDArray[np.float64]:
        """Return its numbers, shape (classes, labels). Raises: RequestError when they cannot be read."""

    @abstractmethod
    def apply(self, probabilities: Probabilities, matrix: npt.NDArray[np.float64]) -> Probabilities:
        """Turn (N, classes) into (N, labels); each row adds up to 1."""


class LabelMap(LabelAdapter):
    """Gives each class's probability to its label, or evenly to its labels.

    Sub-classes of one label add up; a class of several labels is divided between them; what belongs to classes
    without a label is shared in proportion by the others, and evenly by all labels where nothing else is left.
    """

    map: Annotated[
        tuple[Labels, ...] | str,
        Field(description="For each class its label, a list of labels, or null; or a JSON file with such a list."),
    ]
    count: Annotated[int | None, Field(ge=1, description="Labels there are; default: the largest plus 1.")] = None

    def files(self) -> tuple[str, ...]:
        """Return the JSON file, if the map is one."""
        return (self.map,) if isinstance(self.map, str) else ()

    def matrix(self) -> npt.NDArray[np.float64]:
        """Return the share of each class that each label gets."""
        entries = [(entry,) if isinstance(entry, int) else entry or () for entry in self._entries()]
        used = [label for entry in entries for label in entry]
        count = self.count or max(used, default=-1) + 1
        if not used or min(used) < 0 or max(used) >= count:
            raise RequestError(f"label map: its labels must be 0 to {count - 1}, it has {sorted(set(used))[:10]}")
        matrix = np.zeros((len(entries), count))
        for row, entry in zip(matrix, entries, strict=True):
            for label in entry:
                row[label] += 1 / len(entry)
        return matrix

    def apply(self, probabilities: Probabilities, matrix: npt.NDArray[np.float64]) -> Probabilities:
        """Add up and divide probabilities."""
        found = probabilities.astype(np.float64) @ matrix
        total = found.sum(axis=1, keepdims=True)
        even = np.full_like(found, 1 / matrix.shape[1])
        labels: Probabilities = np.divide(found, total, out=even, where=total > 0).astype(np.float32)
        return labels

    def _entries(self) -> tuple[Labels, ...]:
        if not isinstance(self.map, str):
            return self.map
        try:
            return TypeAdapter(tuple[Labels, ...]).validate_python(json.loads(read_file(self.map)))
        except (ValidationError, ValueError) as error:
            if isinstance(error, RequestError):
                raise
            raise RequestError(
                f"label map '{self.map}' must be a JSON list with a label, a list of labels or null for each class: "
                f"{error}"
            ) from error


class LabelMetric(LabelAdapter):
    """Predicts labels the teacher never learned from how far they are from the classes it knows.

    The label of an image is the one with the smallest mean squared distance to the classes, weighted by their
    probabilities: the Fréchet mean of Roberts et al. 2023, *Geometry-Aware Adaptation for Pretrained Models* (Loki).
    """

    metric: Annotated[
        str, Field(description=".npy file of distances, shape (classes the teacher knows, labels of the dataset).")
    ]
    softness: Annotated[
        float,
        Field(ge=0, description="0: all to the nearest label; above: softmax of minus squared distance over softness."),
    ] = 0.0

    def files(self) -> tuple[str, ...]:
        """Return the file of distances."""
        return (self.metric,)

    def matrix(self) -> npt.NDArray[np.float64]:
        """Return the squared distances."""
        try:
            distances = np.load(io.BytesIO(read_file(self.metric)), allow_pickle=False)
        except (ValueError, EOFError) as error:
            if isinstance(error, RequestError):
                raise
            raise RequestError(f"label metric '{self.metric}' is no .npy file of numbers: {error}") from error
        if distances.ndim != 2 or not np.issubdtype(distances.dtype, np.number):
            raise RequestError(f"label metric '{self.metric}' must be a table of numbers, it is {distances.shape}")
        if not np.isfinite(distances).all() or (distances < 0).any():
            raise RequestError(f"label metric '{self.metric}' has a distance that is negative or not finite")
        squares: npt.NDArray[np.float64] = np.square(distances.astype(np.float64))
        return squares

    def apply(self, probabilities: Probabilities, matrix: npt.NDArray[np.float64]) -> Probabilities:
        """Return all of the probability, or most of it, at the nearest label; of equals the lowest index."""
        distances = probabilities.astype(np.float64) @ matrix
        distances -= distances.min(axis=1, keepdims=True)
        if self.softness == 0:
            powers = np.eye(matrix.shape[1])[distances.argmin(axis=1)]
        else:
            powers = np.exp(-distances / self.softness)
        labels: Probabilities = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
        return labels


_KINDS: dict[str, type[LabelAdapter]] = {"map": LabelMap, "metric": LabelMetric}


def parse_adapter(given: Any) -> LabelAdapter | None:
    """Turn a mapping from YAML into the adapter whose key it has. Raises: ValueError naming the keys there are."""
    if given is None or isinstance(given, LabelAdapter):
        return given
    kinds = [kind for kind in _KINDS if isinstance(given, dict) and kind in given]
    if len(kinds) != 1:
        hint = nearest(next(iter(given)), _KINDS) if isinstance(given, dict) and given and not kinds else ""
        raise ValueError(f"labels have exactly one of the keys {', '.join(_KINDS)}, these are {given}{hint}")
    return _KINDS[kinds[0]].model_validate(given)
