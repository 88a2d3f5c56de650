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
from reinforced import student
from reinforced.comparison import HARD, REINFORCED, SMOOTHED, Result
from reinforced.corruption import CORRUPTIONS, SEVERITIES, corrupt
from reinforced.counter import hash64
from reinforced.dataset import Dataset
from reinforced.epoch import EpochReader
from reinforced.images import Pixels, decode
from reinforced.metrics import Labels, accuracy
from reinforced.models import resnet
from reinforced.student import Views

DATA = Path(__file__).parents[2] / "shared" / "data" / "cifar10"
ARMS = (HARD, SMOOTHED, REINFORCED)
CALIBRATION_IMAGES = 2000
"""Held out by the teacher's training and here: the lowest key hashes."""
CORRUPTED_IMAGES = 500
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
_Trained = dict[str, nn.Module]


@dataclass(frozen=True)
class Schedule:
    """How every student is trained: SGD with Nesterov momentum, the rate up for a fifth of the steps and down to 0."""

    depth: int = 8
    epochs: int = 12
    batch_size: int = 128
    learning_rate: float = 0.2
    weight_decay: float = 5e-4


def make(out: Path, data: Path, share: float, overrides: Sequence[str]) -> None:
    """Run the recipe on a share of the training images, chosen by the hashes of their keys."""
    recipe = resources.files("reinforced.pipelines").joinpath("cifar10_plus.yaml").read_text("utf-8")
    pipeline: dict[str, Any] = yaml.safe_load(recipe)
    if share < 1:
        pipeline["steps"].insert(0, {"op": "filter.where", "sql": f"md5(key) < '{int(share * 16**8):08x}'"})
    reinforced.run(pipeline, [f"out={out}", f"variables.data={data}", *overrides])


def compare(
    reader: EpochReader, data: Path, schedule: Schedule, seeds: Sequence[int]
) -> tuple[dict[str, Result], dict[str, list[float]], dict[str, Result]]:
    """Train the arms; returns scores on the test file, accuracy on corrupted test images, scores on calibration images.

    Corrupted accuracy is the mean over all kinds and severities on the first CORRUPTED_IMAGES by key hash.
    """
    keys = pq.read_table(data / "train.parquet", columns=["key"])["key"].to_pylist()
    held = set(sorted(keys, key=hash64)[:CALIBRATION_IMAGES])
    rows = rows_without(reader.dataset, held)
    views = student.stored_views(reader, rows, reader.draws)
    folder = workload.cache_folder() / "cifar10-students"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{Path(reader.dataset.path).name}-{schedule.depth}-{schedule.epochs}"
    trained = [train(views, len(rows), schedule, seed, folder / f"{name}-{seed}.pt") for seed in seeds]
    keys, pixels, labels = images_of(data / "test.parquet")
    _, held_pixels, held_labels = images_of(data / "train.parquet", held)
    return (
        {arm: student.score([predict(models[arm], pixels) for models in trained], labels) for arm in ARMS},
        corrupted_accuracy(trained, keys, pixels, labels),
        {arm: student.score([predict(models[arm], held_pixels) for models in trained], held_labels) for arm in ARMS},
    )


def rows_without(dataset: Dataset, held: set[str]) -> list[tuple[int, int, int]]:
    """Return (shard, row, label) of the images students learn from: all but those held out."""
    found = []
    for shard, info in enumerate(dataset.shards):
        table = dataset.read_shard(info.name, ["key", "label"])
        samples = zip(table.column("key").to_pylist(), table.column("label").to_pylist(), strict=True)
        found += [(shard, row, label) for row, (key, label) in enumerate(samples) if key not in held]
    return found


def train(views: Views, images: int, schedule: Schedule, seed: int, checkpoint: Path) -> _Trained:
    """Train a student an arm on the same batches from the same first weights, or go on from the checkpoint.

    views: one draw of all images after the other; an epoch takes one draw.
    """
    students, optimizers = {}, {}
    for arm in ARMS:
        torch.manual_seed(seed)
        students[arm] = resnet(schedule.depth).to(memory_format=torch.channels_last)
        optimizers[arm] = optimizer_of(students[arm], schedule)
    wanted = {arm: torch.from_numpy(views.targets(arm)) for arm in ARMS}
    start, steps = 0, images // schedule.batch_size
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        start = saved["epoch"]
        for arm in ARMS:
            students[arm].load_state_dict(saved[arm][0])
            optimizers[arm].load_state_dict(saved[arm][1])
    for epoch in range(start, schedule.epochs):
        began, losses = time.perf_counter(), dict.fromkeys(ARMS, 0.0)
        first = epoch % (len(views.labels) // images) * images
        order = first + torch.randperm(images, generator=torch.Generator().manual_seed(1000 * seed + epoch))
        for step, batch in enumerate(order[: steps * schedule.batch_size].view(steps, -1), epoch * steps):
            inputs = normalized(views.pixels[batch.numpy()])
            for arm, model in students.items():
                loss = step_once(model, optimizers[arm], inputs, wanted[arm][batch])
                losses[arm] += loss / steps
                optimizers[arm].param_groups[0]["lr"] = rate_at((step + 1) / (schedule.epochs * steps), schedule)
        state = {arm: [students[arm].state_dict(), optimizers[arm].state_dict()] for arm in ARMS}
        torch.save({"epoch": epoch + 1, **state}, checkpoint)
        said = ", ".join(f"{arm} {loss:.3f}" for arm, loss in losses.items())
        sys.stderr.write(f"seed {seed}, epoch {epoch + 1}: {said}, {time.perf_counter() - began:.0f} s\n")
    return {arm: model.eval() for arm, model in students.items()}


def optimizer_of(model: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """Return the optimizer of one student, at the first rate."""
    chosen: Any = {"momentum": 0.9, "nesterov": True, "weight_decay": schedule.weight_decay}
    return torch.optim.SGD(model.parameters(), rate_at(0, schedule), **chosen)


def rate_at(progress: float, schedule: Schedule) -> float:
    """Return the learning rate at a share of the training."""
    return schedule.learning_rate * float(np.interp(progress, [0, 0.2, 1], [0.1, 1, 0]))


def step_once(model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, wanted: Tensor) -> float:
    """Take one step towards the probabilities that are wanted and return the loss."""
    with torch.autocast("cpu", torch.bfloat16):
        found = model(inputs)
    loss = nn.functional.cross_entropy(found.float(), wanted)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(loss)


def normalized(pixels: Pixels) -> Tensor:
    """Return uint8 images (N, 32, 32, 3) as a network takes them: float32 (N, 3, 32, 32), channels last in memory."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - mean) / std


@torch.inference_mode()
def predict(model: nn.Module, pixels: Pixels) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return a student's probabilities (N, 10) in full precision."""
    parts = [model(normalized(pixels[i : i + 500])).softmax(1) for i in range(0, len(pixels), 500)]
    return torch.cat(parts).numpy()


def images_of(file: Path, chosen: set[str] | None = None) -> tuple[list[str], Pixels, Labels]:
    """Return keys, pixels and labels of a file's images, all or those with the chosen keys."""
    table = pq.read_table(file, columns=["key", "image", "label"])
    if chosen is not None:
        table = table.filter(pa.array([key in chosen for key in table["key"].to_pylist()]))
    pixels = np.stack([decode(image.as_py()) for image in table["image"]])
    return table["key"].to_pylist(), pixels, table["label"].to_numpy()


def corrupted_accuracy(
    trained: list[_Trained], keys: list[str], pixels: Pixels, labels: Labels
) -> dict[str, list[float]]:
    """Return for each arm and seed the mean accuracy over corruptions and severities, on some of the images."""
    chosen = sorted(range(len(keys)), key=lambda i: hash64(keys[i]))[:CORRUPTED_IMAGES]
    found: dict[str, list[list[float]]] = {arm: [[] for _ in trained] for arm in ARMS}
    for kind in CORRUPTIONS:
        for severity in SEVERITIES:
            images = np.stack([corrupt(pixels[i], kind, severity, key=keys[i]) for i in chosen])
            for number, models in enumerate(trained):
                for arm in ARMS:
                    found[arm][number].append(accuracy(predict(models[arm], images), labels[chosen]))
    return {arm: [float(np.mean(values)) for values in of_seeds] for arm, of_seeds in found.items()}


def compute_seconds(schedule: Schedule, images: int, steps: int = 20) -> float:
    """Return the seconds a student's own steps take in an epoch of so many images, without reading any."""
    model = resnet(schedule.depth).to(memory_format=torch.channels_last)
    optimizer = optimizer_of(model, schedule)
    inputs, wanted = torch.zeros(schedule.batch_size, 3, 32, 32), torch.full((schedule.batch_size, 10), 0.1)
    taken = []
    for _ in range(steps):
        start = time.perf_counter()
        step_once(model, optimizer, inputs.contiguous(memory_format=torch.channels_last), wanted)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken)) * images / schedule.batch_size
