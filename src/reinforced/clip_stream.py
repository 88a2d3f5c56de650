"""A PyTorch dataset of views and captions with CLIP teachers' embeddings of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from reinforced.clip_loss import ClipEmbeddings
from reinforced.dataset import Dataset
from reinforced.loader import ranks, shared_number
from reinforced.multimodal import ClipEpochReader


class ClipItem(NamedTuple):
    """A view, uint8 (3, height, width), the two texts to tokenize, and the teachers' embeddings, float16."""

    image: Tensor
    caption: str
    synthetic: str
    teachers: ClipEmbeddings


class ClipStream(IterableDataset[ClipItem]):
    """A dataset reinforced for CLIP, shard by shard, shuffled within a window.

    Ranks (of `torch.distributed`, or as given) and DataLoader workers each get their own equal part. Order, draws and
    captions depend on seed and epoch alone; call `set_epoch` before each epoch, it reaches running workers.
    A DataLoader's batch is a ClipItem of tensors and lists of texts. settings: as for `ClipEpochReader`.
    """

    def __init__(
        self, path: str | Dataset, *, rank: int | None = None, world_size: int | None = None, **settings: Any
    ) -> None:
        self.reader = ClipEpochReader(path, **settings)
        self.rank, self.world_size = ranks(rank, world_size)
        self._epoch = shared_number()

    def __len__(self) -> int:
        """Return the number of samples of this rank in an epoch."""
        return len(self.reader) // self.world_size

    def set_epoch(self, epoch: int) -> None:
        """Move on to the draws, the captions and the order of another epoch."""
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[ClipItem]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        start = self.rank * len(self)
        first, last = (start + len(self) * part // workers for part in (number, number + 1))
        for sample in self.reader.span(int(self._epoch), first, last):
            image = torch.from_numpy(sample.pixels).permute(2, 0, 1).contiguous()
            stored = (sample.view_embedding, sample.caption_embedding, sample.synthetic_embedding)
            embeddings = ClipEmbeddings(*(torch.from_numpy(vector.copy()) for vector in stored))
            yield ClipItem(image, sample.caption, sample.synthetic, embeddings)
