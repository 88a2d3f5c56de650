import subprocess
import sys

import numpy as np
import pytest
import torch

from reinforced.batch import Batch
from reinforced.metrics import accuracy, expected_calibration_error
from reinforced.models import mlp, resnet, whitened_cnn
from reinforced.operators.read.digits import ReadDigits
from reinforced.pipeline import load
from reinforced.teachers import Ensemble
from reinforced.weight_files import read_file


def test_the_mlp_takes_images_as_they_are_and_has_the_size_it_names() -> None:
    model = mlp(inputs=192, hidden=32, classes=10)
    assert model(torch.zeros(5, 3, 8, 8)).shape == (5, 10)
    assert sum(p.numel() for p in model.parameters()) == 192 * 32 + 32 + 32 * 10 + 10


@pytest.mark.parametrize(("depth", "parameters"), [(8, 78_042), (20, 272_474)])
def test_the_residual_network_has_the_size_the_paper_names_and_takes_any_image_size(
    depth: int, parameters: int
) -> None:
    model = resnet(depth, classes=10)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert len([m for m in model.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3)]) == depth - 1
    for side in (32, 16):
        assert model(torch.zeros(2, 3, side, side)).shape == (2, 10)


def test_the_stages_of_a_residual_network_halve_the_image_and_double_the_channels() -> None:
    shapes: list[torch.Size] = []
    model = resnet(depth=14).eval()
    for block in model.children():
        block.register_forward_hook(lambda _module, _inputs, found: shapes.append(found.shape))
    model(torch.zeros(1, 3, 32, 32))
    assert [tuple(shape[1:]) for shape in shapes[3:9]] == [(16, 32, 32)] * 2 + [(32, 16, 16)] * 2 + [(64, 8, 8)] * 2


@pytest.mark.parametrize("depth", [2, 18])
def test_a_depth_the_family_does_not_have_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=f"8, 14, 20, 26, .* not {depth}"):
        resnet(depth)


def test_the_first_layer_of_the_whitened_network_whitens_the_patches_it_was_set_to() -> None:
    torch.manual_seed(0)
    images = torch.randn(20, 3, 32, 32).cumsum(3)  # neighbouring pixels are alike, as in photos
    model = whitened_cnn()
    model.set_whitening(images)
    found = torch.nn.functional.conv2d(images, model.whiten.weight)[:, :12].transpose(0, 1).flatten(1)
    covariance = found @ found.T / found.shape[1]
    assert torch.allclose(covariance, torch.eye(12), atol=0.01)
    assert model(images).shape == (20, 10)
    assert model(images).dtype == torch.float32


def test_naming_a_model_does_not_import_torch() -> None:
    code = "import sys, reinforced.models; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_committed_teachers_stay_under_one_megabyte_and_know_the_digits() -> None:
    plan = load("quickstart")
    teachers = next(step for step in plan.steps if step.name == "reinforce").operator.teachers  # type: ignore[attr-defined]
    assert sum(len(read_file(teacher.weights)) for teacher in teachers) < 1_000_000
    assert len({teacher.content_hash() for teacher in teachers}) == len(teachers) == 3
    source = ReadDigits(shard_rows=1797)
    rows = Batch(source.read(next(source.shards())))
    test = [i for i, split in enumerate(rows.values("split")) if split == "test"]
    batch = rows.take(test)
    found = Ensemble(teachers, (8, 8)).probabilities(np.stack(batch.pixels))
    labels = np.array(batch.values("label"))
    assert accuracy(found, labels) > 0.98
    assert expected_calibration_error(found, labels) < 0.02
