"""Teachers: networks that say with what probability an image shows each class, alone or as an ensemble.

A teacher in YAML is a mapping with the key of its kind, such as `torch_export: path.pt2`; a new kind is one subclass of
`Teacher` in `teacher_kinds`. Weights come as safetensors, tensors alone or exported programs: no pickle is executed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, SerializeAsAny

from reinforced.errors import RequestError, nearest
from reinforced.forward import BatchSize, Compute, Floats, Forward, measured_batch, threads
from reinforced.metrics import Labels
from reinforced.teacher import Loaded, Teacher
from reinforced.teacher_kinds.factory import FactoryTeacher
from reinforced.teacher_kinds.onnx import OnnxTeacher
from reinforced.teacher_kinds.open_clip import OpenClipTeacher
from reinforced.teacher_kinds.timm import TimmTeacher
from reinforced.teacher_kinds.torch_export import TorchExportTeacher
from reinforced.teacher_kinds.torchvision import TorchvisionTeacher
from reinforced.teacher_kinds.transformers import TransformersTeacher

if TYPE_CHECKING:
    from torch import device

    from reinforced.images import Pixels

Combination = Literal["mean", "most_confident", "most_confident_on_label"]
ON_LABEL: Combination = "most_confident_on_label"

KINDS: dict[str, type[Teacher]] = {
    "torch_export": TorchExportTeacher,
    "factory": FactoryTeacher,
    "timm": TimmTeacher,
    "torchvision": TorchvisionTeacher,
    "transformers": TransformersTeacher,
    "open_clip": OpenClipTeacher,
    "onnx": OnnxTeacher,
}


def parse_teacher(given: Any) -> Teacher:
    """Turn a mapping from YAML into the teacher whose kind it names. Raises: ValueError naming the kinds there are."""
    if isinstance(given, Teacher):
        return given
    kinds = [kind for kind in KINDS if isinstance(given, dict) and kind in given]
    if len(kinds) != 1:
        keys = list(given) if isinstance(given, dict) else [str(given)]
        hint = nearest(keys[0], KINDS) if keys and not kinds else ""
        raise ValueError(f"a teacher has exactly one of the keys {', '.join(KINDS)}, this one has {keys}{hint}")
    return KINDS[kinds[0]].model_validate(given)


AnyTeacher = Annotated[SerializeAsAny[Teacher], BeforeValidator(parse_teacher)]


class Ensemble:
    """Teachers ready to be asked, their answers combined; the same however images are batched."""

    def __init__(
        self,
        teachers: Sequence[Teacher],
        size: tuple[int, int],
        *,
        combine: Combination = "mean",
        classes: int | None = None,
        batch_size: BatchSize = 64,
        cpus: int = 1,
        gpus: float = 0,
        compute: Compute = "float32",
        compile: bool = False,
    ) -> None:
        """Load the teachers for images of `size` (width, height) px and ask each about a black one.

        combine: the weighted mean of their probabilities, or for each image the answer of the teacher (the first of
        equals) whose largest probability is highest, or whose probability of the image's label is. classes: how many
        the labels have; None takes what teachers say. batch_size: `auto` measures a GPU's memory. compute, compile: the
        arithmetic of the layers, and whether PyTorch makes code for each network first.
        Raises: RequestError when one cannot be loaded or asked, or when their class counts differ.
        """
        import torch

        self.teachers, self.combine, self.compute = list(teachers), combine, compute
        self.compiled, self.device = compile, torch.device("cuda" if gpus > 0 and torch.cuda.is_available() else "cpu")
        self.hashes = [teacher.content_hash() for teacher in self.teachers]
        with threads(cpus):
            loaded = [load(teacher, self.device) for teacher in self.teachers]
        self._check_native()
        self.preprocessing = [own.preprocessing for own in loaded]
        self.batch_size = (
            measured_batch(loaded, self.device, size, compute) if isinstance(batch_size, str) else batch_size
        )
        if compile:
            loaded = [replace(own, network=torch.compile(own.network, dynamic=False)) for own in loaded]
        self._forward = Forward(loaded, self.device, batch_size=self.batch_size, cpus=cpus, compute=compute)
        self._adapters = [teacher.labels.matrix() if teacher.labels else None for teacher in self.teachers]
        black = np.zeros((1, size[1], size[0], 3), np.uint8)
        counts = [self._labels(i, black) for i in range(len(self.teachers))]
        if len({*counts, classes or counts[0]}) != 1:
            found = ", ".join(f"{t.name} {count}" for t, count in zip(self.teachers, counts, strict=True))
            stated = f", the labels have {classes} classes" if classes else ""
            raise RequestError(
                f"the teachers must know the same classes as the labels, their counts differ: {found}{stated}; "
                "`labels` maps a teacher's classes"
            )
        self.classes: int = counts[0]

    def probabilities(self, pixels: Pixels, labels: Labels | None = None) -> Floats:
        """Ask about uint8 images (n, height, width, 3); returns float32 (n, classes).

        labels: (n,), for an ensemble that is combined by them.
        Raises: ValueError naming the teacher whose output has a NaN.
        """
        return np.concatenate(list(self.answers(self._batches(pixels), labels)))

    def answers(self, batches: Iterable[Pixels], labels: Labels | None = None) -> Iterator[Floats]:
        """Ask about batches of at most `batch_size` images and yield the probabilities of each; see `probabilities`.

        A GPU is asked about the next batch before the answers to one are yielded.
        """
        at = 0
        for found in self._forward.answers(batches):
            logits = [self._checked(i, answer) for i, answer in enumerate(found)]
            following = at + len(logits[0])
            yield self.combined(logits, labels=None if labels is None else labels[at:following])
            at = following

    def combined(
        self, logits: Sequence[Floats], temperatures: Sequence[float] | None = None, labels: Labels | None = None
    ) -> Floats:
        """Combine the logits of each teacher into probabilities (n, classes), at their own temperatures or these."""
        used = temperatures or [teacher.temperature for teacher in self.teachers]
        answers = [self.answer(i, found, used[i]) for i, found in enumerate(logits)]
        if self.combine != "mean":
            stacked = np.stack(answers)
            rows = np.arange(stacked.shape[1])
            if self.combine == "most_confident":
                confidence = stacked.max(axis=2)
            elif labels is None:
                raise RequestError(f"combine: {ON_LABEL} needs the images' labels")
            else:
                confidence = stacked[:, rows, labels]
            picked: Floats = stacked[confidence.argmax(axis=0), rows]
            return picked
        total = sum(teacher.weight for teacher in self.teachers)
        mean = np.zeros(answers[0].shape, np.float32)
        for teacher, answer in zip(self.teachers, answers, strict=True):
            mean += np.float32(teacher.weight / total) * answer
        return mean

    def answer(self, index: int, logits: Floats, temperature: float) -> Floats:
        """Turn one teacher's logits into probabilities of labels at a temperature."""
        import torch

        probabilities: Floats = torch.softmax(torch.from_numpy(logits) / temperature, dim=1).numpy()
        adapter, matrix = self.teachers[index].labels, self._adapters[index]
        return probabilities if adapter is None or matrix is None else adapter.apply(probabilities, matrix)

    def logits(self, index: int, pixels: Pixels) -> Floats:
        """Ask one teacher about uint8 images; float32 (n, its own classes). Raises: ValueError when one is NaN."""
        found = self._forward.answers(self._batches(pixels), only=index)
        return np.concatenate([self._checked(index, answer) for (answer,) in found])

    def _batches(self, pixels: Pixels) -> Iterator[Pixels]:
        for start in range(0, max(len(pixels), 1), self.batch_size):
            yield pixels[start : start + self.batch_size]

    def _checked(self, index: int, answers: Floats) -> Floats:
        teacher = self.teachers[index]
        if answers.ndim != 2:
            raise RequestError(f"teacher {teacher.name} must answer (N, classes), it did {answers.shape}")
        if not np.isfinite(answers.max(axis=1)).all():  # minus infinity rules a class out, which is fine
            raise ValueError(f"teacher {teacher.name} answered NaN or infinity")
        return answers

    def _check_native(self) -> None:
        """Refuse to promise an arithmetic to a teacher whose own runtime decides it."""
        asked = [*(["compute"] if self.compute != "float32" else []), *(["compile"] if self.compiled else [])]
        foreign = [teacher.name for teacher in self.teachers if not teacher.native]
        if asked and foreign:
            raise RequestError(
                f"teacher {foreign[0]} is not run by PyTorch, so {' and '.join(asked)} cannot hold for it: leave it out"
            )

    def _labels(self, index: int, black: Pixels) -> int:
        """Return how many labels a teacher knows. Raises: RequestError when it cannot be asked."""
        teacher, (_, height, width, _) = self.teachers[index], black.shape
        try:
            logits = self.logits(index, black)
        except (RuntimeError, AssertionError, TypeError, IndexError, AttributeError) as error:
            size = self.preprocessing[index].size or (width, height)
            shape = f"({self.batch_size}, 3, {size[1]}, {size[0]})"
            raise RequestError(f"teacher {teacher.name} does not take images of shape {shape}: {error}") from error
        matrix = self._adapters[index]
        if matrix is not None and logits.shape[1] != len(matrix):
            raise RequestError(
                f"teacher {teacher.name} knows {logits.shape[1]} classes, its `labels` are for {len(matrix)}"
            )
        return int(logits.shape[1] if matrix is None else matrix.shape[1])


def load(teacher: Teacher, on: device) -> Loaded:
    """Load a teacher's network onto a device, with the preprocessing that its settings and configuration give.

    Raises: RequestError when it cannot be loaded.
    """
    try:
        loaded = teacher.load(on)
    except ImportError as error:
        raise RequestError(
            f"teacher {teacher.name} needs a package that is not installed: {error}; install "
            "reinforced[teachers] or, for ONNX, reinforced[onnx]"
        ) from error
    return replace(loaded, preprocessing=teacher.preprocessing(loaded.preprocessing))
