"""Does a reinforced dataset teach better? A small student, equal steps and equal pixels in every arm, several seeds.

The arms differ in the target alone: the hard label, the label smoothed (Szegedy et al. 2016, *Rethinking the Inception
Architecture*), or the probabilities the teachers stored for that very view (Faghri et al. 2023, *Reinforce Data,
Multiply Impact*).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reinforced import sparse
from reinforced.augment import Augment
from reinforced.comparison import HARD, REINFORCED, SMOOTHED, Result
from reinforced.counter import hash64
from reinforced.epoch import EpochReader
from reinforced.errors import RequestError
from reinforced.images import Pixels, decode
from reinforced.metrics import (
    Floats,
    Labels,
    accuracy,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from reinforced.dataset import Dataset
    from reinforced.teacher import Teacher

SMOOTHING = 0.1


@dataclass(frozen=True)
class Schedule:
    """How every student is trained: the same for all arms."""

    steps: int = 2000
    batch_size: int = 128
    hidden: int = 32
    learning_rate: float = 0.003
    seeds: int = 3


@dataclass(frozen=True)
class Views:
    """The pixels all arms train on: uint8 (views, height, width, 3), each with its label and what the teachers said."""

    pixels: Pixels
    labels: Labels
    teacher: npt.NDArray[np.float32]

    def targets(self, arm: str) -> npt.NDArray[np.float32]:
        """Return the probabilities the student of this arm is to match, (views, classes)."""
        if arm == REINFORCED:
            return self.teacher
        classes = self.teacher.shape[1]
        hard = np.eye(classes, dtype=np.float32)[self.labels]
        return hard if arm == HARD else (1 - SMOOTHING) * hard + np.float32(SMOOTHING / classes)


def compare(views: Views, test_pixels: Pixels, test_labels: Labels, schedule: Schedule) -> list[Result]:
    """Train one student per arm and seed on the same views and steps; returns an arm's scores on the test images.

    Each result has `arm`, `accuracy`, `ece`, `ece_equal_mass` and `nll` as lists, one value a seed, and the
    `reliability` bins over all seeds together. One compute thread, so the numbers repeat on one kind of machine.
    """
    results = []
    with _one_thread():
        for arm in (HARD, SMOOTHED, REINFORCED):
            predictions = [
                predict(train(views.pixels, views.targets(arm), schedule, seed), views.pixels, test_pixels)
                for seed in range(schedule.seeds)
            ]
            results.append({"arm": arm, **score(predictions, test_labels)})
    return results


def train(pixels: Pixels, targets: npt.NDArray[np.float32], schedule: Schedule, seed: int) -> nn.Module:
    """Train an MLP on normalized views by cross-entropy to the targets, with Adam and a linearly falling rate.

    The same seed means the same first weights and the same order of views, whatever the targets.
    """
    import torch

    from reinforced.models import mlp

    inputs = normalized(pixels, pixels)
    wanted = torch.from_numpy(targets)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = mlp(inputs.shape[1], schedule.hidden, targets.shape[1])
        order = torch.randint(len(inputs), (schedule.steps, schedule.batch_size))
    optimizer = torch.optim.Adam(model.parameters(), schedule.learning_rate, fused=True)
    rate = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, schedule.steps)
    for batch in order:
        loss = torch.nn.functional.cross_entropy(model(inputs[batch]), wanted[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        rate.step()
    return model.eval()


def predict(model: nn.Module, reference: Pixels, pixels: Pixels) -> Floats:
    """Return the student's probabilities (N, classes); `reference` are the views that set its normalization."""
    import torch

    with torch.inference_mode():
        return model(normalized(pixels, reference)).softmax(1).numpy()  # type: ignore[no-any-return]


def normalized(pixels: Pixels, reference: Pixels) -> Tensor:
    """Return uint8 images (N, height, width, 3) as rows of floats, scaled by the mean and deviation of `reference`."""
    import torch

    mean, deviation = float(reference.mean()), float(reference.std()) or 1.0
    return torch.from_numpy((pixels.reshape(len(pixels), -1).astype(np.float32) - mean) / deviation)


def score(predictions: list[Floats], labels: Labels) -> Result:
    """Score one or more sets of predictions of the same test images: a list for each metric, pooled reliability."""
    pooled = reliability(np.concatenate(predictions), np.tile(labels, len(predictions)), bins=10)
    return {
        "accuracy": [accuracy(p, labels) for p in predictions],
        "ece": [expected_calibration_error(p, labels) for p in predictions],
        "ece_equal_mass": [expected_calibration_error(p, labels, equal_mass=True) for p in predictions],
        "nll": [negative_log_likelihood(p, labels) for p in predictions],
        "reliability": [asdict(b) for b in pooled],
    }


def chosen_rows(dataset: Dataset, split: str, part: str, count: int | None = None) -> list[tuple[int, int, int]]:
    """Return (shard, row, label) of the labelled samples of a part of the dataset, all or `count` of them at random.

    Which ones is decided by the hashes of their keys, so it stays the same in another order or with more shards.
    Raises: RequestError when there are none, or fewer than `count`.
    """
    found: list[tuple[int, int, int, int]] = []
    parts = set()
    for shard, info in enumerate(dataset.shards):
        table = dataset.read_shard(info.name, list(dict.fromkeys(["key", "label", split])))
        rows = zip(*(table.column(name).to_pylist() for name in ("key", "label", split)), strict=True)
        for row, (key, label, own) in enumerate(rows):
            parts.add(own)
            if own == part and label is not None:
                found.append((hash64(key), shard, row, label))
    if not found or (count is not None and len(found) < count):
        raise RequestError(
            f"this needs {count or 'some'} labelled images whose {split} is '{part}', {dataset.path} has "
            f"{len(found)}; it has {split}: {', '.join(sorted(map(str, parts))[:10])}"
        )
    return [(shard, row, label) for _, shard, row, label in sorted(sorted(found)[:count], key=lambda f: f[1:3])]


def stored_views(reader: EpochReader, rows: Sequence[tuple[int, int, int]], draws: int) -> Views:
    """Replay the stored augmentations of some samples, `draws` of each, with what the teachers said of them."""
    pixels: list[Pixels] = []
    labels: list[int] = []
    teacher: list[Floats] = []
    for epoch in range(draws):
        for shard in sorted({shard for shard, _, _ in rows}):
            loaded = reader.load(shard, epoch)
            wanted = [row for found, row, _ in rows if found == shard]
            samples = [loaded.sample(row) for row in wanted]
            pixels.extend(sample.pixels for sample in samples)
            labels.extend(sample.label for sample in samples)
            teacher.append(sparse.densify(loaded.targets, reader.classes)[wanted])
    return Views(np.stack(pixels), np.array(labels), np.concatenate(teacher))


def clean_images(dataset: Dataset, rows: Sequence[tuple[int, int, int]], size: tuple[int, int]) -> Pixels:
    """Decode some samples and resize them whole to (width, height) px: uint8 (N, height, width, 3)."""
    resize = Augment(size_px=size)
    images: list[Pixels] = []
    for shard in sorted({shard for shard, _, _ in rows}):
        encoded = dataset.read_shard(dataset.shards[shard].name, ["image"]).column("image")
        images.extend(resize.apply(decode(encoded[row].as_py()), {}) for found, row, _ in rows if found == shard)
    return np.stack(images)


def seconds_per_epoch(reader: EpochReader, batch_size: int) -> dict[str, float]:
    """Measure one pass over the dataset as a training loop sees it, with plain and with stored labels.

    Plain draws the same kind of augmentation on the spot and yields labels; stored reads augmentation and
    probabilities back. Decoding and augmenting are the same code on one thread. The faster of three passes counts.
    """

    def plain() -> None:
        augment, dataset = reader.reinforcement.augment, reader.dataset
        for shard in dataset.shards:
            table = dataset.read_shard(shard.name, ["key", "image", "label"])
            for start in range(0, table.num_rows, batch_size):
                part = table.slice(start, batch_size)
                images = [decode(value.as_py()) for value in part.column("image")]
                sides = [i.shape[1] for i in images], [i.shape[0] for i in images]
                drawn = augment.parameters(0, part.column("key").to_pylist(), [0], *sides)
                np.stack([augment.apply(image, {k: v[i] for k, v in drawn.items()}) for i, image in enumerate(images)])
                part.column("label").to_numpy()

    def stored() -> None:
        for batch in reader.batches(0, batch_size):
            batch.dense(reader.classes)

    passes = [(_seconds(plain), _seconds(stored)) for _ in range(3)]  # in turns: what slows the machine slows both
    return {"plain": min(first for first, _ in passes), "stored": min(second for _, second in passes)}


def teacher_score(teachers: Sequence[Teacher], pixels: Pixels, labels: Labels) -> Result:
    """Ask the teachers about clean images and score their mean probabilities, as `score` does."""
    from reinforced.teachers import Ensemble

    ensemble = Ensemble(teachers, (pixels.shape[2], pixels.shape[1]))
    return score([ensemble.probabilities(pixels)], labels)


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
