"""Residual networks trained side by side on cifar10-plus: the same views in the same order, labels of their own."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import workload
import yaml
from torch import Tensor, nn

import reinforced
from reinforced import scoring, student_images
from reinforced.comparison import Result
from reinforced.corruption import CORRUPTIONS
from reinforced.counter import hash64
from reinforced.dataset import Dataset
from reinforced.epoch import EpochReader
from reinforced.forward import threads
from reinforced.images import Pixels, decode
from reinforced.metrics import Floats
from reinforced.models import resnet
from reinforced.scoring import HeldOut
from reinforced.student import Lessons
from reinforced.student_images import Row

DATA = Path(__file__).parents[2] / "shared" / "data" / "cifar10"
CALIBRATION_IMAGES = 2000
"""Held out by the teacher's training and here: the lowest key hashes of the training images."""
CORRUPTED_IMAGES = 500
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


@dataclass(frozen=True)
class Schedule:
    """How every student is trained: SGD with Nesterov momentum, the rate up for a fifth of the steps and down to 0."""

    depth: int = 8
    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 0.2
    weight_decay: float = 5e-4

    def rate_at(self, progress: float) -> float:
        """Return the learning rate at a share of the training."""
        return self.learning_rate * float(np.interp(progress, [0, 0.2, 1], [0.1, 1, 0]))


class Student:
    """A network with its optimizer; convolutions are multiplied in bfloat16 while it learns, and in full precision
    when it is asked."""

    def __init__(self, schedule: Schedule, seed: int) -> None:
        torch.manual_seed(seed)
        self.network: nn.Module = resnet(schedule.depth).to(memory_format=torch.channels_last)
        chosen: Any = {"momentum": 0.9, "nesterov": True, "weight_decay": schedule.weight_decay}
        self.optimizer = torch.optim.SGD(self.network.parameters(), schedule.rate_at(0), **chosen)

    def learn(self, inputs: Tensor, wanted: Tensor, rate: float) -> float:
        """Take one step towards the probabilities that are wanted and return the loss."""
        self.optimizer.param_groups[0]["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16):
            found = self.network.train()(inputs)
        loss = nn.functional.cross_entropy(found.float(), wanted)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.item()

    @torch.inference_mode()
    def probabilities(self, pixels: Pixels) -> Floats:
        """Return (N, 10) for uint8 images (N, 32, 32, 3)."""
        asked = self.network.eval()
        parts = [asked(normalized(pixels[i : i + 500])).softmax(1) for i in range(0, len(pixels), 500)]
        return torch.cat(parts).numpy()

    def state(self) -> list[Any]:
        """Return what a checkpoint keeps."""
        return [self.network.state_dict(), self.optimizer.state_dict()]

    def load(self, state: list[Any]) -> None:
        """Go on from a checkpoint."""
        self.network.load_state_dict(state[0])
        self.optimizer.load_state_dict(state[1])


def make(out: Path, data: Path, share: float, overrides: Sequence[str]) -> None:
    """Run the recipe on a share of the training images, chosen by the hashes of their keys."""
    recipe = resources.files("reinforced.pipelines").joinpath("cifar10_plus.yaml").read_text("utf-8")
    pipeline: dict[str, Any] = yaml.safe_load(recipe)
    if share < 1:
        pipeline["steps"].insert(0, {"op": "filter.where", "sql": f"md5(key) < '{int(share * 16**8):08x}'"})
    reinforced.run(pipeline, [f"out={out}", f"variables.data={data}", *overrides])


def compare(
    reader: EpochReader, data: Path, schedule: Schedule, seeds: Sequence[int]
) -> tuple[list[Result], list[Result], list[Result]]:
    """Train the arms; returns their scores on the test file, on corrupted test images and on the calibration images."""
    keys = pq.read_table(data / "train.parquet", columns=["key"])["key"].to_pylist()
    held = set(sorted(keys, key=hash64)[:CALIBRATION_IMAGES])
    rows = rows_without(reader.dataset, held)
    lessons = student_images.stored_views(reader, rows, reader.draws).lessons()
    folder = workload.cache_folder() / "cifar10-students"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{Path(reader.dataset.path).name}-{schedule.depth}-{schedule.epochs}"
    trained = [train(lessons, len(rows), schedule, seed, folder / f"{name}-{seed}.pt") for seed in seeds]
    arms = {arm: [students[arm] for students in trained] for arm in lessons}
    test = images_of(data / "test.parquet")
    some = set(sorted(test.keys, key=hash64)[:CORRUPTED_IMAGES])
    return (
        scoring.score(arms, test),
        scoring.score(arms, images_of(data / "test.parquet", some, tuple(CORRUPTIONS))),
        scoring.score(arms, images_of(data / "train.parquet", held)),
    )


def rows_without(dataset: Dataset, held: set[str]) -> list[Row]:
    """Return the samples students learn from: all but those held out."""
    found = []
    for shard, info in enumerate(dataset.shards):
        table = dataset.read_shard(info.name, ["key", "label"])
        samples = zip(table.column("label").to_pylist(), table.column("key").to_pylist(), strict=True)
        found += [Row(shard, row, label, key) for row, (label, key) in enumerate(samples) if key not in held]
    return found


def train(
    lessons: dict[str, Lessons], images: int, schedule: Schedule, seed: int, checkpoint: Path
) -> dict[str, Student]:
    """Train a student an arm on the same batches from the same first weights, or go on from the checkpoint.

    lessons: one draw of all images after the other; an epoch takes one draw.
    """
    students = {arm: Student(schedule, seed) for arm in lessons}
    pixels = next(iter(lessons.values())).pixels
    wanted = {arm: torch.from_numpy(lesson.targets) for arm, lesson in lessons.items()}
    start, steps = 0, images // schedule.batch_size
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        start = saved["epoch"]
        for arm, learner in students.items():
            learner.load(saved[arm])
    for epoch in range(start, schedule.epochs):
        began, losses = time.perf_counter(), dict.fromkeys(students, 0.0)
        first = epoch % (len(pixels) // images) * images
        order = first + torch.randperm(images, generator=torch.Generator().manual_seed(1000 * seed + epoch))
        for step, batch in enumerate(order[: steps * schedule.batch_size].view(steps, -1), epoch * steps):
            inputs, rate = normalized(pixels[batch.numpy()]), schedule.rate_at(step / (schedule.epochs * steps))
            for arm, learner in students.items():
                losses[arm] += learner.learn(inputs, wanted[arm][batch], rate) / steps
        torch.save({"epoch": epoch + 1, **{arm: learner.state() for arm, learner in students.items()}}, checkpoint)
        said = ", ".join(f"{arm} {loss:.3f}" for arm, loss in losses.items())
        sys.stderr.write(f"seed {seed}, epoch {epoch + 1}: {said}, {time.perf_counter() - began:.0f} s\n")
    return students


def normalized(pixels: Pixels) -> Tensor:
    """Return uint8 images (N, 32, 32, 3) as a network takes them: float32 (N, 3, 32, 32), channels last in memory."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - mean) / std


def images_of(file: Path, chosen: set[str] | None = None, corruptions: Sequence[str] = ()) -> HeldOut:
    """Return a file's images, all or those with the chosen keys, to score on."""
    table = pq.read_table(file, columns=["key", "image", "label"])
    if chosen is not None:
        table = table.filter(pa.array([key in chosen for key in table["key"].to_pylist()]))
    pixels = np.stack([decode(image.as_py()) for image in table["image"]])
    return HeldOut(pixels, table["label"].to_numpy(), table["key"].to_pylist(), corruptions)


def step_seconds(schedule: Schedule, images: int, steps: int = 20) -> float:
    """Return the seconds of processor time a student's own steps take in an epoch of so many images, on one thread."""
    learner, wanted = Student(schedule, 0), torch.full((schedule.batch_size, 10), 0.1)
    inputs = normalized(np.zeros((schedule.batch_size, 32, 32, 3), np.uint8))
    taken = []
    with threads(1):
        for _ in range(steps):
            start = time.process_time()
            learner.learn(inputs, wanted, schedule.learning_rate)
            taken.append(time.process_time() - start)
    return float(np.median(taken)) * images / schedule.batch_size
