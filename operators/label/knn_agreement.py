"""Whether neighbours have the same label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from reinforced import embeddings
from reinforced.embedding_step import EmbeddingStep, Labels

_COSINES = 1 << 26
"""Cosines held at once: 256 MB."""


class LabelKnnAgreement(EmbeddingStep):
    """Adds what share of a row's nearest other rows has its label, and the label that most of them have.

    The neighbours are the labelled rows with the highest cosine, the row itself left out; all pairs are compared, so
    the time grows with the square of the rows. A low share points to a wrong label or a hard image.
    """

    layer: ClassVar = "neighbours"
    writes: ClassVar = ("knn_label", "knn_agreement")

    neighbours: Annotated[int, Field(ge=1, description="Number of neighbours asked.")] = 10

    def found(self, vectors: embeddings.Vectors, labels: Labels) -> Mapping[str, Any]:
        """Compare every row with all labelled ones, some rows at a time."""
        known = np.flatnonzero(labels >= 0)
        classes, place = np.unique(labels[known], return_inverse=True)
        reference = vectors[known].astype(np.float32)
        votes = np.zeros((len(labels), max(1, len(classes))), np.int32)
        step = max(1, _COSINES // max(1, len(known)))
        for start in range(0, len(labels), step):
            rows = np.arange(start, min(start + step, len(labels)))
            cosines = vectors[rows].astype(np.float32) @ reference.T
            cosines[known[None] == rows[:, None]] = -np.inf
            count = min(self.neighbours, len(known))
            nearest = (
                np.argpartition(-cosines, count - 1, axis=1)[:, :count] if count else np.empty((len(rows), 0), int)
            )
            there = np.isfinite(np.take_along_axis(cosines, nearest, 1))
            np.add.at(votes, (np.broadcast_to(rows[:, None], there.shape)[there], place[nearest[there]]), 1)
        total = votes.sum(1)
        own = np.zeros(len(labels))
        own[known] = votes[known, place]
        best = classes[votes.argmax(1)] if len(classes) else np.zeros(len(labels), np.int32)
        share = (own / np.maximum(total, 1)).astype(np.float32)
        return {
            "knn_label": pa.array(best, pa.int32(), mask=total == 0),
            "knn_agreement": pa.array(share, mask=(total == 0) | (labels < 0)),
        }
