"""Several labels an image."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from reinforced.batch import Batch
from reinforced.operator import Columns, Transform


class LabelMulti(Transform):
    """Adds all classes that teachers find probable enough, out of the probabilities that `label.teacher` stored.

    An image without any is like one that ReaL's annotators could not label (Beyer et al. 2020): leave it out of
    evaluation with `filter.where` and `len(labels) > 0`.
    """

    layer: ClassVar = "multi_labels"
    reads: ClassVar = ("teacher_classes", "teacher_probabilities")
    writes: ClassVar = ("labels",)

    min_probability: Annotated[float, Field(gt=0, le=1, description="Probability from which a class counts.")] = 0.2
    max_labels: Annotated[int | None, Field(ge=1, description="Most classes of one image.")] = None

    def transform(self, batch: Batch) -> Columns:
        """Return a list a row."""
        rows = zip(batch.values("teacher_classes"), batch.values("teacher_probabilities"), strict=True)
        return {"labels": [self._chosen(classes, shares) for classes, shares in rows]}

    def _chosen(self, classes: list[int], shares: list[float]) -> list[int]:
        ranked = sorted(zip(shares, classes, strict=True), key=lambda pair: (-pair[0], pair[1]))
        return [label for share, label in ranked if share >= self.min_probability][: self.max_labels]
