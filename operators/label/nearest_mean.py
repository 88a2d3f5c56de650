"""Labels by the nearest class mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from reinforced import embeddings
from reinforced.embedding_step import EmbeddingStep, Labels


class LabelNearestMean(EmbeddingStep):
    """Adds the class whose mean embedding is nearest by cosine; a row is left out of the mean of its own class.

    Rows without a label get one; rows whose own label is another are worth a look. A class with one row is never that
    row's nearest (nearest class mean, Mensink et al. 2013).
    """

    layer: ClassVar = "nearest_means"
    writes: ClassVar = ("nearest_mean_label", "nearest_mean_cosine")

    def found(self, vectors: embeddings.Vectors, labels: Labels) -> Mapping[str, Any]:
        """Compare every row with the means, some rows at a time."""
        classes = np.unique(labels[labels >= 0])
        if not len(classes):
            none = pa.nulls(len(labels))
            return {"nearest_mean_label": none.cast(pa.int32()), "nearest_mean_cosine": none.cast(pa.float32())}
        sums = np.zeros((len(classes), vectors.shape[1]))
        own = np.where(labels >= 0, np.searchsorted(classes, labels), -1)
        for part, of in _parts(vectors, own):
            np.add.at(sums, of[of >= 0], part[of >= 0])
        nearest, cosine = [], []
        for part, of in _parts(vectors, own):
            cosines = part @ _unit(sums).T
            rows = np.flatnonzero(of >= 0)
            others = sums[of[rows]] - part[rows]
            cosines[rows, of[rows]] = (part[rows] * _unit(others)).sum(1)
            alone = np.linalg.norm(others, axis=1) < 1e-6
            cosines[rows[alone], of[rows[alone]]] = -1
            nearest.append(classes[cosines.argmax(1)])
            cosine.append(cosines.max(1).astype(np.float32))
        return {"nearest_mean_label": np.concatenate(nearest), "nearest_mean_cosine": np.concatenate(cosine)}


def _parts(vectors: embeddings.Vectors, own: Labels) -> Any:
    for start in range(0, len(vectors), embeddings.ROWS):
        stop = start + embeddings.ROWS
        yield vectors[start:stop].astype(np.float64), own[start:stop]


def _unit(vectors: Any) -> Any:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)
