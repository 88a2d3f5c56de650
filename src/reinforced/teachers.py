"""Teachers: networks that say with what probability an image shows each class, alone or as an ensemble.

A teacher in YAML is a mapping with the key of its kind, such as `torch_export: path.pt2`; a new kind is one subclass of
`Teacher`. Weights come as safetensors or exported programs: no pickle is ever executed.
"""

from __future__ import annotations

import hashlib
import importlib
import io
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator

from reinforced.augmentation import Settings
from reinforced.errors import RequestError, nearest
from reinforced.weight_files import read_weights, weights_only

if TYPE_CHECKING:
    from torch import Tensor, device
    from torch.nn import Module

    from reinforced.images import Pixels

Probabilities = npt.NDArray[np.float32]


class Teacher(Settings):
    """What every kind of teacher has: how it wants its pixels, and how its logits become probabilities."""

    mean: Annotated[
        tuple[float, float, float], Field(description="Subtracted from the channels, which are scaled to 0..1 first.")
    ] = (0.0, 0.0, 0.0)
    std: Annotated[tuple[float, float, float], Field(description="The channels are divided by these after that.")] = (
        1.0,
        1.0,
        1.0,
    )
    temperature: Annotated[float, Field(gt=0, description="Logits are divided by it before the softmax.")] = 1.0
    weight: Annotated[float, Field(gt=0, description="Weight of its probabilities in the ensemble's mean.")] = 1.0

    @field_validator("std")
    @classmethod
    def _check_std(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(value) <= 0:
            raise ValueError(f"std {list(value)} must be greater than 0")
        return value

    @property
    @abstractmethod
    def name(self) -> str:
        """What messages and the layer's metadata call it."""

    @abstractmethod
    def content_hash(self) -> str:
        """Return the SHA-256 of its weights, in hexadecimal; empty if it has none."""

    @abstractmethod
    def load(self, device: device) -> Module:
        """Return the network in evaluation mode: normalized float32 (N, 3, height, width) to logits (N, classes)."""


class TorchExportTeacher(Teacher):
    """A program that `torch.export.save` wrote, with its weights inside."""

    torch_export: Annotated[str, Field(description="The .pt2 file: a path, an fsspec URL, or package:path.")]

    @property
    def name(self) -> str:
        """The file's name."""
        return self.torch_export.rpartition("/")[2]

    def content_hash(self) -> str:
        """Return the SHA-256 of the file."""
        return hashlib.sha256(read_weights(self.torch_export)).hexdigest()

    def load(self, device: device) -> Module:
        """Load the program; one whose weights need more than `weights_only` loading is refused."""
        import torch

        with weights_only():
            try:
                program = torch.export.load(io.BytesIO(read_weights(self.torch_export)))
            except RequestError:
                raise
            except Exception as error:  # torch raises many kinds for a file that is none
                raise RequestError(f"teacher {self.name} is no exported program that can be loaded: {error}") from error
        if device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device)
        return program.module()


class FactoryTeacher(Teacher):
    """A network built by a Python function, with weights from a safetensors file."""

    factory: Annotated[str, Field(description="Dotted name of the function that builds the network.")]
    arguments: Annotated[dict[str, Any], Field(default_factory=dict, description="Keyword arguments for the function.")]
    weights: Annotated[
        str | None, Field(description="The .safetensors file: a path, an fsspec URL, or package:path.")
    ] = None

    @property
    def name(self) -> str:
        """The weights file's name, or the function's."""
        return (self.weights or self.factory).rpartition("/")[2]

    def content_hash(self) -> str:
        """Return the SHA-256 of the weights file."""
        return hashlib.sha256(read_weights(self.weights)).hexdigest() if self.weights else ""

    def load(self, device: device) -> Module:
        """Build the network and load its weights, all of them and no others; without any it starts from seed 0."""
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module: Module = self._function()(**self.arguments)
        if self.weights:
            try:
                module.load_state_dict(load(read_weights(self.weights)))
            except (SafetensorError, RuntimeError) as error:
                raise RequestError(f"teacher {self.name}: its weights do not fit {self.factory}: {error}") from error
        return module.to(device).eval()

    def _function(self) -> Any:
        module, _, name = self.factory.rpartition(".")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise RequestError(f"teacher factory '{self.factory}' cannot be imported: {error}") from error


KINDS: dict[str, type[Teacher]] = {"torch_export": TorchExportTeacher, "factory": FactoryTeacher}


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
    """Teachers ready to be asked: the weighted mean of their probabilities, the same however images are batched."""

    def __init__(
        self,
        teachers: Sequence[Teacher],
        size: tuple[int, int],
        *,
        batch_size: int = 64,
        cpus: int = 1,
        gpus: float = 0,
    ) -> None:
        """Load the teachers for images of `size` (width, height) px and ask each about a black one.

        Raises: RequestError when one cannot be loaded or asked, or when their class counts differ.
        """
        import torch

        self.teachers, self.batch_size, self.cpus = list(teachers), batch_size, cpus
        self.device = torch.device("cuda" if gpus > 0 and torch.cuda.is_available() else "cpu")
        self.hashes = [teacher.content_hash() for teacher in self.teachers]
        self._modules = [teacher.load(self.device) for teacher in self.teachers]
        counts = []
        for teacher, module in zip(self.teachers, self._modules, strict=True):
            try:
                counts.append(self._ask(teacher, module, np.zeros((1, size[1], size[0], 3), np.uint8)).shape[1])
            except (RuntimeError, AssertionError, TypeError) as error:
                shape = f"({batch_size}, 3, {size[1]}, {size[0]})"
                raise RequestError(f"teacher {teacher.name} does not take images of shape {shape}: {error}") from error
        if len(set(counts)) != 1:
            found = ", ".join(f"{t.name} {count}" for t, count in zip(self.teachers, counts, strict=True))
            raise RequestError(f"the teachers of an ensemble must know the same classes, their counts differ: {found}")
        self.classes: int = counts[0]

    def probabilities(self, pixels: Pixels) -> Probabilities:
        """Ask about uint8 images (n, height, width, 3); returns float32 (n, classes).

        Raises: ValueError naming the teacher whose output has a NaN.
        """
        total = sum(teacher.weight for teacher in self.teachers)
        mean = np.zeros((len(pixels), self.classes), np.float32)
        for teacher, module in zip(self.teachers, self._modules, strict=True):
            mean += np.float32(teacher.weight / total) * self._ask(teacher, module, pixels)
        return mean

    def _ask(self, teacher: Teacher, module: Module, pixels: Pixels) -> Probabilities:
        import torch

        found = []
        with torch.inference_mode(), _threads(self.cpus):
            for start in range(0, len(pixels), self.batch_size):
                part = pixels[start : start + self.batch_size]
                # Always the same shape: another would pick other kernels, which round differently.
                padded = np.zeros((self.batch_size, *part.shape[1:]), np.uint8)
                padded[: len(part)] = part
                logits = module(_normalized(torch.from_numpy(padded).to(self.device), teacher))
                probabilities = torch.softmax(logits.float() / teacher.temperature, dim=1)
                found.append(probabilities[: len(part)].cpu().numpy())
        answers: Probabilities = np.concatenate(found) if found else np.zeros((0, self.classes), np.float32)
        if np.isnan(answers).any():
            raise ValueError(f"teacher {teacher.name} answered NaN")
        return answers


def _normalized(pixels: Tensor, teacher: Teacher) -> Tensor:
    import torch

    values = pixels.permute(0, 3, 1, 2).to(torch.float32).div(255)
    mean, std = (torch.tensor(v, device=pixels.device).view(1, 3, 1, 1) for v in (teacher.mean, teacher.std))
    return values.sub(mean).div(std).contiguous()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute on so many threads: the number decides how sums are split, and so how they round."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
