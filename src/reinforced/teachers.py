"""Teachers: networks that say with what probability an image shows each class, alone or as an ensemble.

A teacher in YAML is a mapping with the key of its kind, such as `torch_export: path.pt2`; a new kind is one subclass of
`Teacher` in `teacher_kinds`. Weights come as safetensors, tensors alone or exported programs: no pickle is executed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, SerializeAsAny

from reinforced.errors import RequestError, nearest
from reinforced.teacher import Loaded, Network, Preprocessing, Teacher
from reinforced.teacher_kinds.factory import FactoryTeacher
from reinforced.teacher_kinds.onnx import OnnxTeacher
from reinforced.teacher_kinds.open_clip import OpenClipTeacher
from reinforced.teacher_kinds.timm import TimmTeacher
from reinforced.teacher_kinds.torch_export import TorchExportTeacher
from reinforced.teacher_kinds.torchvision import TorchvisionTeacher
from reinforced.teacher_kinds.transformers import TransformersTeacher
from reinforced.threads import compute_threads

if TYPE_CHECKING:
    from torch import Tensor, device

    from reinforced.images import Pixels

Floats = npt.NDArray[np.float32]
Combination = Literal["mean", "most_confident"]

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
        batch_size: int = 64,
        cpus: int = 1,
        gpus: float = 0,
    ) -> None:
        """Load the teachers for images of `size` (width, height) px and ask each about a black one.

        combine: the weighted mean of their probabilities, or for each image the answer of the teacher whose largest
        probability is highest (the first of equals). classes: how many the labels have; None takes what teachers say.
        Raises: RequestError when one cannot be loaded or asked, or when their class counts differ.
        """
        import torch

        self.teachers, self.combine, self.batch_size, self.cpus = list(teachers), combine, batch_size, cpus
        self.device = torch.device("cuda" if gpus > 0 and torch.cuda.is_available() else "cpu")
        self.hashes = [teacher.content_hash() for teacher in self.teachers]
        with compute_threads(cpus):
            loaded = [_load(teacher, self.device) for teacher in self.teachers]
        self.preprocessing = [t.preprocessing(own.preprocessing) for t, own in zip(self.teachers, loaded, strict=True)]
        self._networks: list[Network] = [own.network for own in loaded]
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

    def probabilities(self, pixels: Pixels) -> Floats:
        """Ask about uint8 images (n, height, width, 3); returns float32 (n, classes).

        Raises: ValueError naming the teacher whose output has a NaN.
        """
        return self.combined([self.logits(i, pixels) for i in range(len(self.teachers))])

    def combined(self, logits: Sequence[Floats], temperatures: Sequence[float] | None = None) -> Floats:
        """Combine the logits of each teacher into probabilities (n, classes), at their own temperatures or these."""
        used = temperatures or [teacher.temperature for teacher in self.teachers]
        answers = [self.answer(i, found, used[i]) for i, found in enumerate(logits)]
        if self.combine == "most_confident":
            stacked = np.stack(answers)
            chosen = stacked.max(axis=2).argmax(axis=0)
            picked: Floats = stacked[chosen, np.arange(stacked.shape[1])]
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
        import torch

        teacher, found = self.teachers[index], []
        with torch.inference_mode(), compute_threads(self.cpus):
            for start in range(0, max(len(pixels), 1), self.batch_size):
                part = pixels[start : start + self.batch_size]
                # Always the same shape: another would pick other kernels, which round differently.
                padded = np.zeros((self.batch_size, *part.shape[1:]), np.uint8)
                padded[: len(part)] = part
                images = prepared(torch.from_numpy(padded).to(self.device), self.preprocessing[index])
                found.append(self._networks[index](images)[: len(part)].float().cpu().numpy())
        answers: Floats = np.concatenate(found)
        if answers.ndim != 2:
            raise RequestError(f"teacher {teacher.name} must answer (N, classes), it did {answers.shape}")
        if not np.isfinite(answers.max(axis=1)).all():  # minus infinity rules a class out, which is fine
            raise ValueError(f"teacher {teacher.name} answered NaN or infinity")
        return answers

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


def prepared(pixels: Tensor, how: Preprocessing) -> Tensor:
    """Turn uint8 images (n, height, width, 3) into what a network takes: float32 (n, 3, height, width)."""
    import torch

    values = pixels.permute(0, 3, 1, 2).to(torch.float32).div(255)
    if how.size is not None and how.size != (values.shape[3], values.shape[2]):
        size = (how.size[1], how.size[0])
        values = torch.nn.functional.interpolate(values, size, mode=how.interpolation, antialias=True).clamp(0, 1)
    mean, std = (torch.tensor(v, device=pixels.device).view(1, 3, 1, 1) for v in (how.mean, how.std))
    return values.sub(mean).div(std).contiguous()


def _load(teacher: Teacher, on: device) -> Loaded:
    try:
        return teacher.load(on)
    except ImportError as error:
        raise RequestError(
            f"teacher {teacher.name} needs a package that is not installed: {error}; install "
            "reinforced[teachers] or, for ONNX, reinforced[onnx]"
        ) from error
