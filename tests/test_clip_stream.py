from __future__ import annotations

import pytest
import torch
from clip_dataset import pairs, reinforced
from torch.utils.data import DataLoader

pytest.importorskip("open_clip")

from reinforced.clip_stream import ClipStream
from reinforced.multimodal import ClipEpochReader


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return reinforced(tmp_path_factory.mktemp("clip")).path


def test_batches_hold_the_readers_samples(dataset: str) -> None:
    stream = ClipStream(dataset, seed=3)
    stream.set_epoch(2)
    (batch,) = DataLoader(stream, 20)
    samples = list(ClipEpochReader(dataset, seed=3).samples(2))
    assert batch.image.dtype == torch.uint8 and batch.image.shape == (20, 3, 16, 16)
    for i, sample in enumerate(samples):
        assert torch.equal(batch.image[i].permute(1, 2, 0), torch.from_numpy(sample.pixels))
        assert (batch.caption[i], batch.synthetic[i]) == (sample.caption, sample.synthetic)
        assert batch.teachers.synthetic[i].tolist() == sample.synthetic_embedding.tolist()
        assert batch.teachers.views[i].tolist() == sample.view_embedding.tolist()


def test_ranks_and_workers_share_an_epoch(dataset: str) -> None:
    found = []
    for rank in range(2):
        stream = ClipStream(dataset, rank=rank, world_size=2)
        items = [item for batch in DataLoader(stream, 3, num_workers=2) for item in batch.image]
        assert len(items) == len(stream) == 10
        found += [item.numpy().tobytes() for item in items]
    assert len(set(found)) == pairs(20).num_rows
