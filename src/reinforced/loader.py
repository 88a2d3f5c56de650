"""PyTorch datasets that replay reinforcements, and the loss for their targets.

Pixels come out as uint8 (3, height, width): normalize them on the device, which is faster. `EpochReader` in
`reinforced.epoch` is the same without PyTorch.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset as MapDataset
from torch.utils.data import IterableDataset, get_worker_info

from reinforced import sparse
from reinforced.dataset import Dataset
from reinforced.epoch import EpochReader, Sample, ShardEpoch
from reinforced.errors import RequestError
from reinforced.fractal_dataset import FractalDataset as FractalDataset

Targets = Literal["dense", "sparse"]


class SparseTarget(NamedTuple):
    """The most probable classes, int64 (..., k), their probabilities, float32 (..., k), and the tail."""

    classes: Tensor
    probabilities: Tensor
    tail: Tensor


Item = tuple[Tensor, Tensor | SparseTarget]


class ReinforcedDataset(MapDataset[Item]):
    """A reinforced dataset by index: an image's draw of the current epoch, as (uint8 (3, height, width), target).

    Shards are read when first asked for and then stay in memory, encoded: for datasets that fit; stream others with
    `ReinforcedStream`. Call `set_epoch` before each epoch (before workers start, so without persistent ones).

    path: the dataset. targets: `sparse` (a SparseTarget) or `dense` (float32 (classes,), the tail spread evenly).
    Raises: RequestError as `EpochReader` does.
    """

    def __init__(
        self, path: str | Dataset, *, layer: str = "reinforced", targets: Targets = "sparse", seed: int = 0
    ) -> None:
        self.reader = EpochReader(path, layer=layer, seed=seed, shuffle=False)
        self.targets, self.epoch = targets, 0
        self._ends = np.cumsum(self.reader.counts)
        self._shards: dict[int, ShardEpoch] = {}

    def __len__(self) -> int:
        return len(self.reader)

    def set_epoch(self, epoch: int) -> None:
        """Move on to the draws of another epoch."""
        self.epoch = epoch
        self._shards = {}

    def __getitem__(self, index: int) -> Item:
        index = range(len(self))[operator.index(index)]
        shard = int(np.searchsorted(self._ends, index, side="right"))
        if shard not in self._shards:
            self._shards[shard] = self.reader.load(shard, self.epoch)
        row = index - int(self._ends[shard] - self.reader.counts[shard])
        return _item(self._shards[shard].sample(row), self.targets, self.reader.classes)


class ReinforcedStream(IterableDataset[Item]):
    """A reinforced dataset shard by shard, each read once and in sequence, shuffled within a window.

    Ranks (of `torch.distributed`, or as given) and DataLoader workers each get their own equal part; ranks get the same
    number of samples, the few that do not divide are left out of the epoch. Order and draws depend on seed and epoch
    alone. Call `set_epoch` before each epoch. `state_dict` says how far this process (or worker) is;
    after `load_state_dict` the next iteration goes on there.

    path: the dataset. targets: `sparse` (a SparseTarget) or `dense` (float32 (classes,), the tail spread evenly).
    window: samples shuffled together. Raises: RequestError as `EpochReader` does.
    """

    def __init__(
        self,
        path: str | Dataset,
        *,
        layer: str = "reinforced",
        targets: Targets = "sparse",
        seed: int = 0,
        shuffle: bool = True,
        window: int = 2048,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        self.reader = EpochReader(path, layer=layer, seed=seed, shuffle=shuffle, window=window)
        self.targets, self.epoch = targets, 0
        grouped = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.rank = rank if rank is not None else torch.distributed.get_rank() if grouped else 0
        self.world_size = world_size or (torch.distributed.get_world_size() if grouped else 1)
        if not 0 <= self.rank < self.world_size:
            raise RequestError(f"rank {self.rank} must be from 0 to world_size - 1, which is {self.world_size - 1}")
        self._done = self._resume_at = 0

    def __len__(self) -> int:
        """Return the number of samples of this rank in an epoch."""
        return len(self.reader) // self.world_size

    def set_epoch(self, epoch: int) -> None:
        """Move on to the draws and the order of another epoch, from its beginning."""
        self.epoch, self._done, self._resume_at = epoch, 0, 0

    def state_dict(self) -> dict[str, int]:
        """Return where this process or worker is in the epoch."""
        _, _, parts = self._span()
        return {"epoch": self.epoch, "done": self._done, "seed": self.reader.seed, "parts": parts}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where `state_dict` was called. Raises: RequestError if seed or number of ranks x workers differ."""
        mine = self.state_dict()
        for name in ("seed", "parts"):
            if state[name] != mine[name]:
                raise RequestError(
                    f"the saved position has {name} {state[name]}, here it is {mine[name]}: they must agree"
                )
        self.epoch, self._done, self._resume_at = state["epoch"], state["done"], state["done"]

    def __iter__(self) -> Iterator[Item]:
        first, last, _ = self._span()
        self._done, self._resume_at = self._resume_at, 0
        for sample in self.reader.span(self.epoch, first, last, self._done):
            self._done += 1
            yield _item(sample, self.targets, self.reader.classes)

    def _span(self) -> tuple[int, int, int]:
        """First and last position of this rank and worker in the epoch, and the number of such parts."""
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        start = self.rank * len(self)
        return (
            start + len(self) * number // workers,
            start + len(self) * (number + 1) // workers,
            self.world_size * workers,
        )


def _item(sample: Sample, targets: Targets, classes: int) -> Item:
    image = torch.from_numpy(sample.pixels).permute(2, 0, 1).contiguous()
    if targets == "dense":
        row = sparse.SparseProbabilities(sample.classes[None], sample.probabilities[None], np.array([sample.tail]))
        return image, torch.from_numpy(sparse.densify(row, classes)[0])
    kinds = torch.from_numpy(sample.classes.astype(np.int64))
    return image, SparseTarget(kinds, torch.tensor(sample.probabilities), torch.tensor(sample.tail))


class SoftTargetKLLoss(nn.Module):
    """Kullback-Leibler divergence from the teachers' probabilities to the student's, the mean over the batch.

    Takes logits (N, classes) and targets, dense (N, classes) or sparse; a sparse target gives the same loss as the
    dense one with its tail spread evenly, without making it. tail: `spread`, or `apart` to compare the tail with the
    student's probability of all unlisted classes together, which says nothing about how it is divided among them.
    """

    def __init__(self, tail: Literal["spread", "apart"] = "spread") -> None:
        super().__init__()
        self.tail = tail

    def forward(self, logits: Tensor, target: Tensor | SparseTarget | tuple[Any, ...]) -> Tensor:
        """Return the loss, a scalar."""
        student = torch.log_softmax(logits.float(), dim=1)
        if isinstance(target, Tensor):
            return (_x_log_x(target) - target * student).sum(dim=1).mean()
        classes, teacher, rest = SparseTarget(*target)
        listed = student.gather(1, classes)
        loss = (_x_log_x(teacher) - teacher * listed).sum(dim=1)
        others = logits.shape[1] - classes.shape[1]
        if others == 0:
            return loss.mean()
        if self.tail == "spread":
            student_rest = (student.sum(dim=1) - listed.sum(dim=1)) / others
            return (loss + _x_log_x(rest) - rest * math.log(others) - rest * student_rest).mean()
        unlisted = torch.logsumexp(student.scatter(1, classes, -torch.inf), dim=1)
        return (loss + _x_log_x(rest) - rest * unlisted).mean()


def _x_log_x(values: Tensor) -> Tensor:
    return cast(Tensor, torch.special.xlogy(values, values))
