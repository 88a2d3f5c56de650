"""What a reader of a reinforced dataset hands out: samples and batches of them, as NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from reinforced import sparse
from reinforced.images import Pixels


class Sample(NamedTuple):
    """One augmented image, uint8 (height, width, 3), and what the teachers said of it; `label` is -1 without one."""

    pixels: Pixels
    classes: sparse.Classes
    probabilities: sparse.Floats
    tail: np.float32
    label: int


class Batch(NamedTuple):
    """Samples as arrays: pixels uint8 (n, height, width, 3), classes and probabilities (n, k), tail and label (n,)."""

    pixels: Pixels
    classes: sparse.Classes
    probabilities: sparse.Floats
    tail: sparse.Floats
    labels: npt.NDArray[np.int64]

    def dense(self, classes: int, *, spread_tail: bool = True) -> sparse.Floats:
        """Return the probabilities of all classes, float32 (n, classes); see `sparse.densify`."""
        found = sparse.SparseProbabilities(self.classes, self.probabilities, self.tail)
        return sparse.densify(found, classes, spread_tail=spread_tail)


def stack(samples: Sequence[Sample]) -> Batch:
    """Return samples of equal size as one batch."""
    pixels, classes, probabilities, tail, labels = zip(*samples, strict=True)
    return Batch(
        np.stack(pixels), np.stack(classes), np.stack(probabilities), np.array(tail), np.array(labels, np.int64)
    )
