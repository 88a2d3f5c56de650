from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reinforced_dataset import write_dataset
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from reinforced.epoch import EpochReader
from reinforced.errors import RequestError
from reinforced.loader import Normalize, ReinforcedDataset, ReinforcedStream, ShardSampler
from reinforced.loss import SoftTargetKLLoss, SparseTarget


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_dataset(tmp_path_factory.mktemp("data") / "small"))


def fingerprints(items: Any) -> list[int]:
    """Return a number for each image, by which to recognise it."""
    return [hash(image.numpy().tobytes()) for image, _ in items]


def fingerprint(batch: Any) -> int:
    """Return a number for a batch of images."""
    return hash(batch[0].numpy().tobytes())


def expected(dataset: str, epoch: int) -> list[int]:
    samples = EpochReader(dataset, shuffle=False).samples(epoch)
    return [hash(np.ascontiguousarray(sample.pixels.transpose(2, 0, 1)).tobytes()) for sample in samples]


def test_an_index_gives_the_image_and_targets_of_the_current_epoch(dataset: str) -> None:
    found = ReinforcedDataset(dataset)
    samples = list(EpochReader(dataset, shuffle=False).samples(2))
    found.set_epoch(2)
    assert len(found) == len(samples) == 15
    for index in (0, 7, 14, -1):
        image, target = found[index]
        assert image.dtype == torch.uint8 and image.shape == (3, 10, 12)
        np.testing.assert_array_equal(image.permute(1, 2, 0), samples[index].pixels)
        assert isinstance(target, SparseTarget)
        np.testing.assert_array_equal(target.classes, samples[index].classes)
        np.testing.assert_array_equal(target.probabilities, samples[index].probabilities)
    with pytest.raises(IndexError):
        found[15]


def test_another_epoch_brings_other_views_of_the_same_images(dataset: str) -> None:
    found = ReinforcedDataset(dataset, targets="dense")
    first = fingerprints(found)
    found.set_epoch(1)
    assert not set(first) & set(fingerprints(found))
    found.set_epoch(4)  # there are four draws
    assert fingerprints(found) == first
    target = found[0][1]
    assert isinstance(target, torch.Tensor) and target.shape == (10,) and abs(target.sum() - 1) < 1e-5


def test_a_dataset_larger_than_the_cache_reads_each_shard_once_an_epoch(dataset: str) -> None:
    found = ReinforcedDataset(dataset, cache_bytes=1)
    order = list(ShardSampler(found))
    assert sorted(order) == list(range(15)) != order
    found.reader.window = 1
    held = [(found[i], list(found._shards))[1] for i in ShardSampler(found)]
    assert all(len(shards) == 1 for shards in held)
    changes = sum(before != after for before, after in itertools.pairwise(held))
    assert changes == 2, "the sampler leaves a shard and comes back"
    roomy = ReinforcedDataset(dataset)
    list(roomy)
    images = [shard.images for _, shard in roomy._shards.values()]
    roomy.set_epoch(1)
    assert fingerprints(roomy) == expected(dataset, 1)
    assert all(a is shard.images for a, (_, shard) in zip(images, roomy._shards.values(), strict=True)), "read again"


def test_ranks_sample_different_indices(dataset: str) -> None:
    found = ReinforcedDataset(dataset)
    parts = [list(ShardSampler(found, rank, 2)) for rank in range(2)]
    assert [len(part) for part in parts] == [7, 7] and len(set(parts[0] + parts[1])) == 14


@pytest.mark.parametrize("kind", [ReinforcedDataset, ReinforcedStream])
def test_the_epoch_reaches_workers_that_stay(dataset: str, kind: Any) -> None:
    found = kind(dataset)
    loader = DataLoader(found, batch_size=None, num_workers=2, persistent_workers=True)
    for epoch in (2, 3):
        found.set_epoch(epoch)
        assert sorted(fingerprints(loader)) == sorted(expected(dataset, epoch))


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_and_workers_share_an_epoch_without_overlap(dataset: str, workers: int) -> None:
    found = []
    for rank in range(2):
        stream = ReinforcedStream(dataset, window=4, rank=rank, world_size=2)
        stream.set_epoch(1)
        mine = fingerprints(DataLoader(stream, batch_size=None, num_workers=workers))
        assert len(mine) == len(stream) == 7, "ranks of unequal length hang"
        found += mine
    assert len(set(found)) == 14
    assert set(found) <= set(expected(dataset, 1))


def test_one_process_sees_every_image_once(dataset: str) -> None:
    stream = ReinforcedStream(dataset, window=6)
    assert sorted(fingerprints(stream)) == sorted(expected(dataset, 0))
    assert fingerprints(stream) == fingerprints(stream), "the order is not the same again"
    assert fingerprints(stream) != expected(dataset, 0)
    assert fingerprints(ReinforcedStream(dataset, shuffle=False)) == expected(dataset, 0)


@pytest.mark.parametrize("done", [0, 3, 8, 14])
def test_training_goes_on_where_it_stopped(dataset: str, done: int) -> None:
    whole = ReinforcedStream(dataset, window=6)
    whole.set_epoch(3)
    order = fingerprints(whole)
    stopped = ReinforcedStream(dataset, window=6)
    stopped.set_epoch(3)
    items = iter(stopped)
    assert fingerprints(next(items) for _ in range(done)) == order[:done]
    again = ReinforcedStream(dataset, window=6)
    again.load_state_dict(stopped.state_dict())
    assert again.state_dict() == stopped.state_dict()
    assert fingerprints(again) == order[done:]
    again.set_epoch(4)
    assert len(fingerprints(again)) == 15, "the next epoch starts at its beginning"


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")
@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("done", [1, 4])
def test_a_stateful_loader_goes_on_where_it_stopped(dataset: str, workers: int, done: int) -> None:
    def loader() -> StatefulDataLoader[Any]:
        return StatefulDataLoader(ReinforcedStream(dataset, window=6), batch_size=2, num_workers=workers)

    whole = [fingerprint(batch) for batch in loader()]
    stopped = loader()
    for _ in zip(range(done), stopped, strict=False):
        pass
    again = loader()
    again.load_state_dict(stopped.state_dict())
    assert [fingerprint(batch) for batch in again] == whole[done:]


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_plain_loader_goes_on_where_it_stopped(dataset: str, workers: int, persistent: bool) -> None:
    def loader(stream: ReinforcedStream) -> DataLoader[Any]:
        return DataLoader(stream, batch_size=2, num_workers=workers, persistent_workers=persistent)

    stream = ReinforcedStream(dataset, window=4)
    stream.set_epoch(1)
    whole = [fingerprint(batch) for batch in loader(stream)]
    for done in (1, 3, len(whole) - 1):
        again = ReinforcedStream(dataset, window=4)
        again.load_state_dict(json.loads(json.dumps(stream.position(done, batch_size=2, num_workers=workers))))
        batches = loader(again)
        assert [fingerprint(batch) for batch in batches] == whole[done:]
        again.set_epoch(1)
        if persistent:
            assert [fingerprint(batch) for batch in batches] == whole, "the next epoch starts at its beginning"


def test_a_position_with_another_number_of_workers_is_refused(dataset: str) -> None:
    stream = ReinforcedStream(dataset)
    stream.load_state_dict(stream.position(2, batch_size=2, num_workers=2))
    with pytest.raises(RequestError, match="number of workers 2, here it is 1"):
        next(iter(stream))


def test_a_position_of_another_run_is_refused(dataset: str) -> None:
    state = ReinforcedStream(dataset, seed=1).state_dict()
    with pytest.raises(RequestError, match="the saved position has seed 1, here it is 2"):
        ReinforcedStream(dataset, seed=2).load_state_dict(state)
    with pytest.raises(RequestError, match="world_size 1, here it is 2"):
        ReinforcedStream(dataset, seed=1, rank=0, world_size=2).load_state_dict(state)
    with pytest.raises(RequestError, match="rank 2"):
        ReinforcedStream(dataset, rank=2, world_size=2)


def test_batches_of_sparse_targets_go_into_the_loss(dataset: str) -> None:
    images, target = next(iter(DataLoader(ReinforcedStream(dataset), batch_size=5)))
    assert images.shape == (5, 3, 10, 12) and images.dtype == torch.uint8
    assert isinstance(target, SparseTarget) and target.classes.shape == (5, 3) and target.tail.shape == (5,)
    logits = torch.zeros(5, 10, requires_grad=True)
    SoftTargetKLLoss()(logits, target).backward()
    assert logits.grad is not None and logits.grad.abs().sum() > 0


def test_a_dataset_travels_to_spawned_workers(dataset: str) -> None:
    loader = DataLoader(ReinforcedDataset(dataset), batch_size=15, num_workers=1, multiprocessing_context="spawn")
    assert [images.shape[0] for images, _ in loader] == [15]


def test_a_path_object_opens(dataset: str) -> None:
    assert len(ReinforcedDataset(Path(dataset))) == 15  # type: ignore[arg-type]


def test_images_are_normalized_as_torchvision_does() -> None:
    images = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).view(2, 3, 4, 5)
    mean, std = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1), torch.tensor([0.2, 0.3, 0.1]).view(3, 1, 1)
    expected = (images.float() / 255 - mean) / std
    torch.testing.assert_close(Normalize([0.4, 0.5, 0.6], [0.2, 0.3, 0.1])(images), expected)
    assert Normalize(dtype=torch.bfloat16)(images).dtype == torch.bfloat16


def test_a_stream_mixes_originals_in_and_finds_its_own_images(dataset: str, tmp_path: Path) -> None:
    copy = write_dataset(tmp_path / "small", rows=[6])
    for kind in (ReinforcedDataset, ReinforcedStream):
        found = list(kind(str(copy), originals=1.0, images=str(copy)))
        assert all(target.tail == 0 and target.probabilities[0] == 1 for _, target in found)
