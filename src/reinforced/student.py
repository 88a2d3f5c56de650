"""Does a reinforced dataset teach better? The same student trained for equal steps on each arm's lessons, and scored.

Students are scored on held-out images as they are and, where asked for, under common corruptions. `evaluate` needs
arrays alone; the operator `evaluate.student` calls it with the views of a dataset, where arms differ in the target: the
hard label, the label smoothed (Szegedy et al. 2016, *Rethinking the Inception Architecture*), or the probabilities the
teachers stored for that very view (Faghri et al. 2023, *Reinforce Data, Multiply Impact*).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from reinforced.comparison import Result
from reinforced.errors import RequestError, nearest
from reinforced.forward import threads
from reinforced.images import Pixels
from reinforced.metrics import Floats
from reinforced.scoring import HeldOut, score

if TYPE_CHECKING:
    from torch import Tensor, nn

_STATISTICS_VIEWS = 10_000
_AT_ONCE = 1_000


@dataclass(frozen=True)
class Schedule:
    """Which network every student is and how it is trained: the same for all arms.

    student: `mlp`, `resnet8`, `resnet20` and so on, or the dotted name of a function that builds a network for
    normalized images (N, 3, height, width) and takes `classes` beside `arguments`. hidden: the units of `mlp`.
    optimizer: Adam, or SGD with Nesterov momentum 0.9; the rate falls linearly to a hundredth. threads: of compute; the
    number decides how sums round. device: such as `cuda`.
    """

    steps: int = 2000
    batch_size: int = 128
    hidden: int = 32
    learning_rate: float = 0.003
    seeds: int = 3
    student: str = "mlp"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Literal["adam", "sgd"] = "adam"
    weight_decay: float = 0.0
    threads: int = 1
    device: str = "cpu"

    @property
    def name(self) -> str:
        """What tables call the student."""
        return f"MLP-{self.hidden}" if self.student == "mlp" else re.sub(r"^resnet(?=\d)", "ResNet-", self.student)


@dataclass(frozen=True)
class Lessons:
    """What an arm learns from: uint8 (views, height, width, 3) and the probabilities wanted, (views, classes)."""

    pixels: Pixels
    targets: npt.NDArray[np.float32]


class Student:
    """A trained network with the normalization it was trained with."""

    def __init__(self, network: nn.Module, schedule: Schedule, views: Pixels) -> None:
        """Take mean and deviation of all values from the first views."""
        self.network, self.device = network, schedule.device
        self.channels_first = schedule.student != "mlp"
        reference = views[:_STATISTICS_VIEWS]
        self.mean, self.deviation = float(reference.mean()), float(reference.std()) or 1.0

    def logits(self, pixels: Tensor) -> Tensor:
        """Return (N, classes) for uint8 images (N, height, width, 3) on the student's device."""
        inputs = pixels.float().sub(self.mean).div(self.deviation)
        return self.network(inputs.permute(0, 3, 1, 2) if self.channels_first else inputs)  # type: ignore[no-any-return]

    def probabilities(self, pixels: Pixels) -> Floats:
        """Return (N, classes) for uint8 images (N, height, width, 3)."""
        import torch

        with torch.inference_mode():
            parts = (pixels[start : start + _AT_ONCE] for start in range(0, len(pixels), _AT_ONCE))
            found = [self.logits(torch.from_numpy(part).to(self.device)).softmax(1).cpu().numpy() for part in parts]
        return np.concatenate(found)


def evaluate(arms: Mapping[str, Lessons], held_out: HeldOut, schedule: Schedule) -> list[Result]:
    """Train `schedule.seeds` students on each arm's lessons, the same steps in each, and score them; see `score`.

    Raises: RequestError when a label is no class of the lessons, or when the student cannot be built for them.
    """
    with threads(schedule.threads):
        students = {
            arm: [train(lessons, schedule, seed) for seed in range(schedule.seeds)] for arm, lessons in arms.items()
        }
        return score(students, held_out)


def train(lessons: Lessons, schedule: Schedule, seed: int) -> Student:
    """Train a student by cross-entropy to the targets on views drawn with replacement.

    The same seed means the same first weights and the same order of views, whatever the targets.
    """
    import torch

    views, wanted = (torch.from_numpy(array).to(schedule.device) for array in (lessons.pixels, lessons.targets))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(schedule, lessons.pixels.shape[1:3], lessons.targets.shape[1]).to(schedule.device)
        order = torch.randint(len(views), (schedule.steps, schedule.batch_size)).to(schedule.device)
        student = Student(network, schedule, lessons.pixels)
        optimizer = _optimizer(network, schedule)
        rate = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, schedule.steps)
        network.train()
        for batch in order:
            loss = torch.nn.functional.cross_entropy(student.logits(views[batch]), wanted[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            rate.step()
    network.eval()
    return student


def build(schedule: Schedule, size: tuple[int, int], classes: int) -> nn.Module:
    """Build the schedule's network for images of (height, width) px.

    Raises: RequestError when there is none of that name, or when it does not answer (N, classes).
    """
    import torch

    from reinforced import models

    if schedule.student == "mlp":
        return models.mlp(3 * size[0] * size[1], schedule.hidden, classes)
    try:
        if depth := re.fullmatch(r"resnet(\d+)", schedule.student):
            return models.resnet(int(depth[1]), classes, **schedule.arguments)
        network: nn.Module = _factory(schedule.student)(classes=classes, **schedule.arguments)
        with torch.no_grad():
            shape = tuple(network.eval()(torch.zeros(2, 3, *size)).shape)
    except (TypeError, ValueError, RuntimeError) as error:
        raise RequestError(f"student '{schedule.student}' cannot be built for {size} px: {error}") from error
    if shape != (2, classes):
        raise RequestError(
            f"student '{schedule.student}' answers {shape} to 2 images, there are {classes} classes: it must take "
            f"`classes` and answer (2, {classes})"
        )
    return network


def _optimizer(network: nn.Module, schedule: Schedule) -> Any:
    import torch

    shared: dict[str, Any] = {"lr": schedule.learning_rate, "weight_decay": schedule.weight_decay, "fused": True}
    if schedule.optimizer == "adam":
        return torch.optim.Adam(network.parameters(), **shared)
    return torch.optim.SGD(network.parameters(), momentum=0.9, nesterov=True, **shared)


def _factory(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    if not module:
        raise RequestError(
            f"student '{name}' is unknown{nearest(name, ['mlp', 'resnet8', 'resnet20'])}; or name a function that "
            "builds one, such as package.module.function"
        )
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise RequestError(f"student '{name}' cannot be imported: {error}") from error
