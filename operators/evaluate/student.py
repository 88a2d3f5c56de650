"""The proof on the spot: a small student trained with plain labels and with what the teachers stored."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from reinforced import columns
from reinforced.operator import Sink
from reinforced.teachers import AnyTeacher

if TYPE_CHECKING:
    from reinforced.dataset import Dataset

RESULT = "evaluation.json"


class EvaluateStudent(Sink):
    """Trains a small student on stored views with hard, smoothed and reinforced labels, and compares on test images.

    Every arm has the same images, pixels, steps and seeds; only the targets differ. Writes `evaluation.json` into the
    dataset: accuracy, expected calibration error (equal width and equal mass), log loss and seconds an epoch for each,
    and the teachers' own scores. Views are held in memory: images x draws x the augmented size.
    """

    writes_shards: ClassVar[bool] = False

    layer_name: Annotated[str, Field(description="Layer of reinforcements to learn from.")] = "reinforced"
    images: Annotated[int, Field(gt=0, description="Training images, taken at random from the training part.")] = 200
    draws: Annotated[
        int | None, Field(gt=0, description="Stored views of each training image; default: all there are.")
    ] = None
    steps: Annotated[int, Field(gt=0, description="Training steps of each student.")] = 2000
    batch_size: Annotated[int, Field(gt=0, description="Views in a step.")] = 128
    seeds: Annotated[int, Field(gt=0, description="Students trained in each arm.")] = 3
    hidden: Annotated[int, Field(gt=0, description="Hidden units of the student, a multilayer perceptron.")] = 32
    learning_rate: Annotated[float, Field(gt=0, description="First learning rate of Adam; it falls linearly.")] = 0.003
    split: Annotated[str, Field(description="Column that says which part an image belongs to.")] = "split"
    train: Annotated[str, Field(description="Its value for the training part.")] = "train"
    test: Annotated[str, Field(description="Its value for the test part.")] = "test"
    teachers: Annotated[
        tuple[AnyTeacher, ...], Field(description="Teachers to score on the test images beside the students.")
    ] = ()
    teacher_saw: Annotated[str, Field(description="Which images the teachers learned from, for the record.")] = ""

    def inputs(self) -> pa.Schema:
        """Return key, image, label and the column of the parts."""
        split = columns.column(self.split, "string", "Part of the dataset the image belongs to.")
        return pa.schema([*columns.resolve(["key", "image", "label"]), split])

    def write(self, shard: str, table: pa.Table) -> list[str]:  # noqa: ARG002
        """Write nothing: the comparison needs the whole dataset."""
        return []

    def finish(self, dataset: Dataset) -> None:
        """Train and compare the students, and write the result. Raises: RequestError when images are missing."""
        from reinforced import comparison, student
        from reinforced.epoch import EpochReader

        reader = EpochReader(dataset, layer=self.layer_name, shuffle=False)
        train_rows = student.chosen_rows(dataset, self.split, self.train, self.images)
        test_rows = student.chosen_rows(dataset, self.split, self.test)
        views = student.stored_views(reader, train_rows, min(self.draws or reader.draws, reader.draws))
        test_pixels = student.clean_images(dataset, test_rows, reader.reinforcement.augment.size)
        test_labels = np.array([label for _, _, label in test_rows])
        schedule = student.Schedule(self.steps, self.batch_size, self.hidden, self.learning_rate, self.seeds)
        arms = student.compare(views, test_pixels, test_labels, schedule)
        seconds = student.seconds_per_epoch(reader, self.batch_size)
        for arm in arms:
            arm["seconds_per_epoch"] = seconds["stored" if arm["arm"] == comparison.REINFORCED else "plain"]
        result = {
            "student": f"MLP-{self.hidden}",
            "train_images": len(train_rows),
            "test_images": len(test_rows),
            "draws": len(views.labels) // len(train_rows),
            "steps": self.steps,
            "arms": arms,
            "teacher": student.teacher_score(self.teachers, test_pixels, test_labels) if self.teachers else None,
            "teacher_saw": self.teacher_saw,
            "stored_first_choice_is_label": float((views.teacher.argmax(1) == views.labels).mean()),
        }
        dataset.storage.write(RESULT, json.dumps(result, indent=1).encode())
