"""PyTorch datasets that replay reinforcements; their loss is in `reinforced.loss` and can be had from here as well.

Pixels come out as uint8 (3, height, width): normalize them on the device, which is faster. `EpochReader` in
`reinforced.epoch` is the same without PyTorch.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset as MapDataset
from torch.utils.data import IterableDataset, Sampler, get_worker_info

from reinforced import sparse
from reinforced.dataset import Dataset
from reinforced.epoch import EpochReader
from reinforced.errors import RequestError
from reinforced.fractal_dataset import FractalDataset
from reinforced.loss import SoftTargetKLLoss, SparseTarget
from reinforced.own_images import By
from reinforced.sample import Sample
from reinforced.shard_epoch import ShardEpoch

__all__ = [
    "FractalDataset",
    "Item",
    "Normalize",
    "ReinforcedDataset",
    "ReinforcedStream",
    "ShardSampler",
    "SoftTargetKLLoss",
    "SparseTarget",
]

Targets = Literal["dense", "sparse"]


Item = tuple[Tensor, Tensor | SparseTarget]


class ReinforcedDataset(MapDataset[Item]):
    """A reinforced dataset by index: an image's draw of the current epoch, as (uint8 (3, height, width), target).

    Shards are read when first asked for. The encoded images of those used last stay in memory, up to `cache_bytes` in
    each process; the next epoch then reads only its reinforcements. If the dataset does not fit, visit it shard
    by shard with a `ShardSampler`, or use `ReinforcedStream`: images from anywhere would read a shard for each.
    Call `set_epoch` before each epoch; it reaches running workers, persistent ones too.

    path: the dataset. targets: `sparse` (a SparseTarget) or `dense` (float32 (classes,), the tail spread evenly).
    cache_bytes: the shard in use stays even if it alone has more. `originals`, `images` and `images_by` are those of
    `EpochReader`. Raises: RequestError as `EpochReader` does.
    """

    def __init__(
        self,
        path: str | Dataset,
        *,
        layer: str | Sequence[str] = "reinforced",
        targets: Targets = "sparse",
        seed: int = 0,
        cache_bytes: int = 2**31,
        originals: float = 0.0,
        images: str | None = None,
        images_by: By = "name",
    ) -> None:
        own: Any = {"originals": originals, "images": images, "images_by": images_by}
        self.reader = EpochReader(path, layer=layer, seed=seed, **own)
        self.targets, self.cache_bytes = targets, cache_bytes
        self._epoch = shared_number()
        self._ends = np.cumsum(self.reader.counts)
        self._shards: dict[int, tuple[int, ShardEpoch]] = {}
        """Shards in memory, each with the epoch it is at; the one used last is the last."""

    def __len__(self) -> int:
        return len(self.reader)

    @property
    def epoch(self) -> int:
        """The current epoch, the same in all processes."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Move on to the draws of another epoch."""
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> Item:
        index = range(len(self))[operator.index(index)]
        shard = int(np.searchsorted(self._ends, index, side="right"))
        row = index - int(self._ends[shard] - self.reader.counts[shard])
        return _item(self._shard(shard).sample(row), self.targets, self.reader.classes)

    def _shard(self, shard: int) -> ShardEpoch:
        wanted = self.epoch
        epoch, found = self._shards.pop(shard, (-1, None))
        if found is None or epoch != wanted:
            found = self.reader.load(shard, wanted, found.images if found else None)
        self._shards[shard] = wanted, found
        while len(self._shards) > 1 and sum(held.bytes for _, held in self._shards.values()) > self.cache_bytes:
            del self._shards[next(iter(self._shards))]
        return found


class ShardSampler(Sampler[int]):
    """Indices of a `ReinforcedDataset`, shuffled as a stream is: shards in random order, samples within windows.

    Ranks (of `torch.distributed`, or as given) get equal parts; the order is that of the dataset's current epoch.
    """

    def __init__(self, dataset: ReinforcedDataset, rank: int | None = None, world_size: int | None = None) -> None:
        self.dataset = dataset
        self.rank, self.world_size = ranks(rank, world_size)

    def __len__(self) -> int:
        return len(self.dataset) // self.world_size

    def __iter__(self) -> Iterator[int]:
        reader, first = self.dataset.reader, self.rank * len(self)
        starts = np.cumsum(reader.counts) - reader.counts
        for shards, rows in reader.order(self.dataset.epoch, first, first + len(self)):
            yield from (starts[shards] + rows).tolist()


class ReinforcedStream(IterableDataset[Item]):
    """A reinforced dataset shard by shard, each read once and in sequence, shuffled within a window.

    Ranks (of `torch.distributed`, or as given) and DataLoader workers each get their own equal part; ranks get the same
    number of samples, the few that do not divide are left out of the epoch. Order and draws depend on seed and epoch
    alone. Call `set_epoch` before each epoch; it reaches running workers, persistent ones too.

    A run that stopped goes on where it was. `torchdata.stateful_dataloader.StatefulDataLoader` saves and restores the
    state of each worker by itself; for PyTorch's own DataLoader `position` makes the state from the number of batches.

    path: the dataset. targets: `sparse` (a SparseTarget) or `dense` (float32 (classes,), the tail spread evenly).
    window: samples shuffled together. `originals`, `images` and `images_by` are those of `EpochReader`.
    Raises: RequestError as `EpochReader` does.
    """

    def __init__(
        self,
        path: str | Dataset,
        *,
        layer: str | Sequence[str] = "reinforced",
        targets: Targets = "sparse",
        seed: int = 0,
        shuffle: bool = True,
        window: int = 2048,
        rank: int | None = None,
        world_size: int | None = None,
        originals: float = 0.0,
        images: str | None = None,
        images_by: By = "name",
    ) -> None:
        own: Any = {"originals": originals, "images": images, "images_by": images_by}
        self.reader = EpochReader(path, layer=layer, seed=seed, shuffle=shuffle, window=window, **own)
        self.targets = targets
        self.rank, self.world_size = ranks(rank, world_size)
        self._epoch = shared_number()
        self._turn = 0
        """Which part the first worker has."""
        self._done: list[int] = []
        """How many samples of each worker's part are done; empty before the first iteration."""
        self._resume_in: int | None = None
        """The epoch that the next iteration goes on with, instead of beginning it."""

    def __len__(self) -> int:
        """Return the number of samples of this rank in an epoch."""
        return len(self.reader) // self.world_size

    @property
    def epoch(self) -> int:
        """The current epoch, the same in all processes."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Move on to the draws and the order of another epoch, from its beginning."""
        self._epoch.fill_(epoch)
        self._turn, self._done, self._resume_in = 0, [], None

    def state_dict(self) -> dict[str, Any]:
        """Return where this process or worker is in the epoch."""
        return self._state(self._turn, list(self._done))

    def position(self, batches: int, batch_size: int, num_workers: int) -> dict[str, Any]:
        """Return the state when a DataLoader with workers has handed out so many batches of the current epoch.

        The workers are ahead of what the main process got, but take turns. Load the state before the first iteration of
        a DataLoader with as many workers: the batches that would have followed do.
        """
        parts = [self._part(part, num_workers) for part in range(num_workers)]
        sizes = np.array([last - first for first, last in parts])
        turns = -(-sizes // batch_size)  # those of two parts differ by at most one, as their sizes do
        rounds = min(batches // num_workers, int(turns.min()))
        last_round = np.flatnonzero(turns > rounds)[: batches - rounds * num_workers]
        given = np.full(num_workers, rounds)
        given[last_round] += 1
        return self._state(batches % num_workers, np.minimum(given * batch_size, sizes).tolist())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the state was taken. Raises: RequestError if the seed or the number of ranks differ."""
        for name, mine in {"seed": self.reader.seed, "world_size": self.world_size}.items():
            _agree(name, state[name], mine)
        self.set_epoch(state["epoch"])
        self._turn, self._done, self._resume_in = state["turn"], list(state["done"]), state["epoch"]

    def __iter__(self) -> Iterator[Item]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        if self._resume_in == self.epoch and self._done:
            _agree("number of workers", len(self._done), workers)
        else:
            self._turn, self._done = 0, [0] * workers
        self._resume_in = None
        part = (number + self._turn) % workers
        first, last = self._part(part, workers)
        for sample in self.reader.span(self.epoch, first, last, self._done[part]):
            self._done[part] += 1
            yield _item(sample, self.targets, self.reader.classes)

    def _state(self, turn: int, done: list[int]) -> dict[str, Any]:
        names = {"epoch": self.epoch, "seed": self.reader.seed, "world_size": self.world_size}
        return names | {"turn": turn, "done": done}

    def _part(self, part: int, parts: int) -> tuple[int, int]:
        """First and last position in the epoch of one of this rank's parts."""
        start = self.rank * len(self)
        return start + len(self) * part // parts, start + len(self) * (part + 1) // parts


def ranks(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Return rank and number of ranks as given, else those of `torch.distributed`."""
    grouped = torch.distributed.is_available() and torch.distributed.is_initialized()
    world_size = world_size or (torch.distributed.get_world_size() if grouped else 1)
    rank = rank if rank is not None else torch.distributed.get_rank() if grouped else 0
    if not 0 <= rank < world_size:
        raise RequestError(f"rank {rank} must be from 0 to world_size - 1, which is {world_size - 1}")
    return rank, world_size


def shared_number() -> Tensor:
    """Return a number that workers see change."""
    return cast(Tensor, torch.zeros((), dtype=torch.int64).share_memory_())  # type: ignore[no-untyped-call]


def _agree(name: str, saved: int, here: int) -> None:
    if saved != here:
        raise RequestError(f"the saved position has {name} {saved}, here it is {here}: they must agree")


def _item(sample: Sample, targets: Targets, classes: int) -> Item:
    image = torch.from_numpy(sample.pixels).permute(2, 0, 1).contiguous()
    if targets == "dense":
        row = sparse.SparseProbabilities(sample.classes[None], sample.probabilities[None], np.array([sample.tail]))
        return image, torch.from_numpy(sparse.densify(row, classes)[0])
    kinds = torch.from_numpy(sample.classes.astype(np.int64))
    return image, SparseTarget(kinds, torch.tensor(sample.probabilities), torch.tensor(sample.tail))


class Normalize(nn.Module):
    """Turn uint8 images (N, 3, height, width) into float ones with this mean and deviation (of values from 0 to 1).

    Run it on the device: a batch of bytes is a quarter of the copy. The defaults are those of ImageNet.
    """

    def __init__(
        self,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.dtype = dtype
        self.scale = nn.Buffer(1 / (255 * torch.tensor(std).view(3, 1, 1)))
        self.shift = nn.Buffer(-torch.tensor(mean).view(3, 1, 1) / torch.tensor(std).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return the normalized images in `dtype`."""
        return torch.addcmul(self.shift, images.float(), self.scale).to(self.dtype)
