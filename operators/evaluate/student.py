"""The proof on the spot: a small student trained with plain labels and with what the teachers stored."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from reinforced import columns
from reinforced.corruption import SEVERITIES, Corruptions, Severities
from reinforced.operator import Sink
from reinforced.teachers import AnyTeacher

if TYPE_CHECKING:
    from reinforced.dataset import Dataset
    from reinforced.student import Schedule

RESULT = "evaluation.json"


class EvaluateStudent(Sink):
    """Trains a small student on stored views with hard, smoothed and reinforced labels, and compares on test images.

    Every arm has the same images, pixels, steps and seeds; only the targets differ. Writes `evaluation.json` into the
    dataset: accuracy, expected calibration error (equal width and equal mass), log loss, reliability bins, seconds an
    epoch and images a second for each, the teachers' own scores, alone and combined as in the layer, and accuracy and
    calibration error under `corruptions`. Views are held in memory: images x draws x the augmented size.
    """

    writes_shards: ClassVar[bool] = False

    layer_name: Annotated[str, Field(description="Layer of reinforcements to learn from.")] = "reinforced"
    images: Annotated[int, Field(gt=0, description="Training images, taken at random from the training part.")] = 200
    test_images: Annotated[int | None, Field(gt=0, description="Test images; default: the whole test part.")] = None
    draws: Annotated[
        int | None, Field(gt=0, description="Stored views of each training image; default: all there are.")
    ] = None
    student: Annotated[
        str,
        Field(
            description="`mlp`, `resnet8`, `resnet20`, …, or the dotted name of a function that takes `classes` and "
            "`arguments` and builds a network for normalized images (N, 3, height, width)."
        ),
    ] = "mlp"
    arguments: Annotated[
        dict[str, Any], Field(default_factory=dict, description="Keyword arguments for a student other than `mlp`.")
    ]
    hidden: Annotated[int, Field(gt=0, description="Hidden units of `mlp`, a multilayer perceptron.")] = 32
    steps: Annotated[int, Field(gt=0, description="Training steps of each student.")] = 2000
    batch_size: Annotated[int, Field(gt=0, description="Views in a step.")] = 128
    seeds: Annotated[int, Field(gt=0, description="Students trained in each arm.")] = 3
    optimizer: Annotated[Literal["adam", "sgd"], Field(description="Adam, or SGD with Nesterov momentum 0.9.")] = "adam"
    learning_rate: Annotated[float, Field(gt=0, description="First learning rate; it falls linearly.")] = 0.003
    weight_decay: Annotated[float, Field(ge=0, description="L2 penalty on the weights.")] = 0.0
    split: Annotated[str, Field(description="Column that says which part an image belongs to.")] = "split"
    train: Annotated[str, Field(description="Its value for the training part.")] = "train"
    test: Annotated[str, Field(description="Its value for the test part.")] = "test"
    corruptions: Annotated[
        Corruptions, Field(description="Corruptions to score under as well, as in `augment.corrupt`, or `all`.")
    ] = ()
    severities: Annotated[
        Severities, Field(min_length=1, description="How severe they are, from 1 (mild) to 5 (severe).")
    ] = SEVERITIES
    seed: Annotated[int, Field(description="Seed of what is random in a corruption.")] = 0
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
        from reinforced import comparison, scoring, student, student_images, throughput
        from reinforced.epoch import EpochReader

        reader = EpochReader(dataset, layer=self.layer_name, shuffle=False)
        train_rows = student_images.chosen_rows(dataset, self.split, self.train, self.images)
        test_rows = student_images.chosen_rows(dataset, self.split, self.test, self.test_images)
        found = student_images.stored_views(reader, train_rows, min(self.draws or reader.draws, reader.draws))
        corrupted = {"corruptions": self.corruptions, "severities": self.severities, "seed": self.seed}
        held_out = student_images.held_out(dataset, test_rows, reader.reinforcement.augment.size, **corrupted)
        schedule = self._schedule()
        arms = student.evaluate(found.lessons(), held_out, schedule)
        seconds = throughput.seconds_per_epoch(reader, self.batch_size)
        for arm in arms:
            arm["seconds_per_epoch"] = seconds["stored" if arm["arm"] == comparison.REINFORCED else "plain"]
            arm["images_per_second"] = len(reader) / arm["seconds_per_epoch"]
        combined, *alone = scoring.score_teachers(self.teachers, reader.reinforcement.combine, held_out)
        result = {
            "student": schedule.name,
            "train_images": len(train_rows),
            "test_images": len(test_rows),
            "draws": len(found.labels) // len(train_rows),
            "steps": self.steps,
            "arms": arms,
            "teacher": combined,
            "teachers": alone,
            "combine": reader.reinforcement.combine,
            "teacher_saw": self.teacher_saw,
            "stored_first_choice_is_label": float((found.teacher.argmax(1) == found.labels).mean()),
        }
        dataset.storage.write(RESULT, json.dumps(result, indent=1).encode())

    def _schedule(self) -> Schedule:
        import torch

        from reinforced.student import Schedule

        names = ("steps", "batch_size", "hidden", "learning_rate", "seeds", "student", "arguments", "optimizer")
        chosen: dict[str, Any] = {name: getattr(self, name) for name in (*names, "weight_decay")}
        device = "cuda" if self.resources.gpus > 0 and torch.cuda.is_available() else "cpu"
        return Schedule(**chosen, threads=max(1, int(self.resources.cpus)), device=device)
