"""The labels of a batch, checked against the classes that teachers know."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reinforced.batch import Batch


def checked_labels(batch: Batch, classes: int, needed: bool) -> npt.NDArray[np.int64]:
    """Return the rows' labels, (n,), each below `classes`; 0 for a row without one, unless it is needed.

    Raises: ValueError naming the first key whose label is no class, or is missing though needed.
    """
    labels = batch.values("label")
    for key, label in zip(batch.keys, labels, strict=True):
        if label is None and needed:
            raise ValueError(f"sample '{key}' has no label, by which the teacher of its views is chosen")
        if label is not None and not 0 <= label < classes:
            raise ValueError(f"sample '{key}' has label {label}, the teachers know classes 0 to {classes - 1}")
    return np.array([label or 0 for label in labels], np.int64)
