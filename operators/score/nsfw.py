"""Probability that an image is not safe for work."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from reinforced.asking import AsksTeachers
from reinforced.batch import Batch
from reinforced.errors import RequestError
from reinforced.operator import Columns


class ScoreNsfw(AsksTeachers):
    """Adds the sum of the probabilities that classifiers give to their unsafe classes.

    Any kind of teacher will do: a fine-tuned classifier in a folder that transformers saved, or an open_clip model with
    unsafe and safe prompts. `filter.where` with `nsfw_score < 0.5` then chooses.
    """

    layer: ClassVar = "nsfw_scores"
    writes: ClassVar = ("nsfw_score",)
    examples: ClassVar = (
        {
            "size_px": 8,
            "unsafe_classes": [1, 4],
            "teachers": [{"factory": "reinforced.models.mlp", "arguments": {"inputs": 192}}],
        },
    )

    unsafe_classes: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1, description="Indices of the unsafe classes.")
    ]

    def setup(self) -> None:
        """Load the classifiers. Raises: RequestError when they do not know the classes."""
        super().setup()
        assert self._loaded is not None
        if (last := max(self.unsafe_classes)) >= self._loaded.classes:
            raise RequestError(
                f"score.nsfw: unsafe_classes names class {last}, the classifiers know 0 to {self._loaded.classes - 1}"
            )

    def transform(self, batch: Batch) -> Columns:
        """Return a probability a row."""
        return {"nsfw_score": self.probabilities(batch)[:, sorted(set(self.unsafe_classes))].sum(1)}
