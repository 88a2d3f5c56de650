"""Labels by teachers."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from reinforced.asking import AsksTeachers
from reinforced.batch import Batch
from reinforced.operator import Columns


class LabelTeacher(AsksTeachers):
    """Stores with what probability the teachers see each class in the image as it is, the most probable class first.

    `label.multi`, `label.select` and `label.issues` work on the columns, with thresholds that can change without asking
    again. For labels of augmented views see `reinforce`.
    """

    layer: ClassVar = "teacher_labels"
    writes: ClassVar = ("teacher_classes", "teacher_probabilities")
    examples: ClassVar = (
        {
            "size_px": 8,
            "top_k": 3,
            "teachers": [{"factory": "reinforced.models.mlp", "arguments": {"inputs": 192}}],
        },
    )

    top_k: Annotated[int | None, Field(ge=1, description="Classes stored; default: all.")] = None

    def transform(self, batch: Batch) -> Columns:
        """Return classes and probabilities of every row."""
        found = self.probabilities(batch)
        order = np.argsort(-found, axis=1, kind="stable")[:, : self.top_k]
        return {
            "teacher_classes": list(order.astype(np.int32)),
            "teacher_probabilities": list(np.take_along_axis(found, order, 1)),
        }
