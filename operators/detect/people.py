"""Faces and people in pictures."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from reinforced.batch import Batch
from reinforced.operator import Columns, Transform
from reinforced.people import Detector, OpenCvDetector, TorchvisionDetector, TransformersDetector, weights_hash


class DetectPeople(Transform):
    """Adds the best score of a face and of a person in each picture; `filter.people` decides by them.

    **No detector is a guarantee of privacy.** `opencv`, the default that needs no weights, misses about half of the
    people in hard pictures: it is for trying a pipeline out. For a dataset use `torchvision` (a file of weights) or
    `transformers` (a folder, RT-DETR say), and look at the doubtful ones by `write.review`. Name and hash of the
    detector are columns, so scores of two detectors are never mistaken for each other.
    """

    layer: ClassVar = "people"
    reads: ClassVar = ("pixels",)
    writes: ClassVar = ("face_score", "person_score", "people_detector", "people_detector_sha256")
    alone: ClassVar = True

    detector: Annotated[
        Literal["opencv", "torchvision", "transformers"], Field(description="Library that looks for people.")
    ] = "opencv"
    model: Annotated[str, Field(description="Detection model of torchvision.")] = "fasterrcnn_resnet50_fpn_v2"
    weights: Annotated[
        str | None, Field(description="File of weights for torchvision, folder of the model for transformers.")
    ] = None

    _detector: Detector | None = PrivateAttr(None)
    _hash: str = PrivateAttr("")

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        if (self.weights is None) != (self.detector == "opencv"):
            raise ValueError("detectors torchvision and transformers need weights: a path; opencv takes none")
        return self

    def __getstate__(self) -> dict[Any, Any]:
        """Leave the model behind: each worker loads its own."""
        return super().__getstate__() | {"__pydantic_private__": {"_detector": None, "_hash": ""}}

    def ingredients(self) -> dict[str, str]:
        """Return the hash of the weights."""
        return {self.detector: weights_hash(self.detector, self.weights)}

    def setup(self) -> None:
        """Load the detector."""
        self._hash = weights_hash(self.detector, self.weights)
        if self.detector == "opencv":
            self._detector = OpenCvDetector()
        elif self.detector == "torchvision":
            self._detector = TorchvisionDetector(self.model, self.weights or "")
        else:
            self._detector = TransformersDetector(self.weights or "")

    def transform(self, batch: Batch) -> Columns:
        """Look at one picture after the other."""
        assert self._detector is not None, "setup() comes first"
        scores = [self._detector(pixels) for pixels in batch.pixels]
        name = f"torchvision {self.model}" if self.detector == "torchvision" else self.detector
        return {
            "face_score": [face for face, _ in scores],
            "person_score": [person for _, person in scores],
            "people_detector": [name] * len(batch),
            "people_detector_sha256": [self._hash] * len(batch),
        }
