"""What operators share that ask teachers about images as they are."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, PrivateAttr

from reinforced.batch import Batch
from reinforced.forward import Floats
from reinforced.operator import Transform
from reinforced.resize import fit
from reinforced.teachers import AnyTeacher, Ensemble


class AsksTeachers(Transform):
    """A transform that asks teachers about each image, resized to cover a square and cropped at its centre."""

    reads: ClassVar = ("pixels",)
    alone: ClassVar = True

    teachers: Annotated[tuple[AnyTeacher, ...], Field(min_length=1, description="The networks asked.")]
    combine: Annotated[
        Literal["mean", "most_confident"], Field(description="Mean, or the most confident teacher for each image.")
    ] = "mean"
    size_px: Annotated[int, Field(ge=1, description="Side of the square; teachers of other sizes resize it.")] = 224
    batch_size: Annotated[int, Field(ge=1, description="Images the teachers are asked about at once.")] = 64

    _loaded: Ensemble | None = PrivateAttr(None)

    def __getstate__(self) -> dict[Any, Any]:
        """Leave the teachers behind: each worker loads its own."""
        return super().__getstate__() | {"__pydantic_private__": {"_loaded": None}}

    def ingredients(self) -> dict[str, str]:
        """Return the hashes of the teachers' weights."""
        return {f"{i}:{teacher.name}": teacher.content_hash() for i, teacher in enumerate(self.teachers)}

    def setup(self) -> None:
        """Load the teachers."""
        hardware: Any = {"cpus": max(1, int(self.resources.cpus)), "gpus": self.resources.gpus}
        size = (self.size_px, self.size_px)
        self._loaded = Ensemble(self.teachers, size, combine=self.combine, batch_size=self.batch_size, **hardware)

    def probabilities(self, batch: Batch) -> Floats:
        """Return the probability of every class for each image, (n, classes)."""
        assert self._loaded is not None, "setup() comes first"
        size, pixels = (self.size_px, self.size_px), batch.pixels
        batches = (
            np.stack([fit(image, size) for image in pixels[start : start + self.batch_size]])
            for start in range(0, len(pixels), self.batch_size)
        )
        return np.concatenate(list(self._loaded.answers(batches)))
