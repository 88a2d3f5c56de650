from __future__ import annotations

import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from reinforced.images import decode
from reinforced.loader import FractalDataset
from reinforced.operators.synthesize.fractal import SynthesizeFractal

SMALL = {"classes": 3, "instances": 4, "size_px": 32, "points": 5000, "seed": 5}


def test_training_sees_the_stored_pictures_without_storing_them() -> None:
    source = SynthesizeFractal(**SMALL)
    stored = source.read(next(source.shards()))
    made = FractalDataset(as_stored=True, **SMALL)
    assert len(made) == stored.num_rows == 12
    for i in range(12):
        image, label = made[i]
        assert label == stored["label"][i].as_py()
        assert torch.equal(image, torch.from_numpy(decode(stored["image"][i].as_py())).permute(2, 0, 1))


@pytest.mark.parametrize("grey", [True, False])
def test_pictures_before_encoding_are_three_channels_and_exact(grey: bool) -> None:
    style = {"colour": not grey, "background": not grey}
    image, _ = FractalDataset(**SMALL, **style)[-1]
    expected, _ = FractalDataset(as_stored=True, encoding="png", **SMALL, **style)[11]
    assert image.shape == (3, 32, 32) and image.dtype == torch.uint8 and torch.equal(image, expected)
    assert bool((image[0] == image[2]).all()) == grey


def test_workers_render_what_this_process_renders() -> None:
    dataset = pickle.loads(pickle.dumps(FractalDataset(**SMALL)))  # as where workers are started anew
    loader = DataLoader(dataset, batch_size=4, num_workers=2)
    images = torch.cat([batch for batch, _ in loader])
    assert torch.equal(images, torch.stack([dataset[i][0] for i in range(12)]))


def test_an_index_past_the_end_ends_iteration() -> None:
    dataset = FractalDataset(**SMALL)
    with pytest.raises(IndexError):
        dataset[12]
    with pytest.raises(ValueError, match="max_singular_value"):
        FractalDataset(max_singular_value=2)
