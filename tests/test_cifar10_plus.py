"""The recipe cifar10_plus, on a few images of CIFAR-10's size with a teacher that has learned nothing."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import reinforced
from reinforced.epoch import EpochReader
from reinforced.errors import RequestError
from reinforced.models import whitened_cnn


def jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def settings(tmp_path: Path) -> list[str]:
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
    keys = [f"train/cat/{number:04d}" for number in range(len(images))]
    table = {"key": keys, "image": [jpeg(image) for image in images], "label": pa.array([3] * 6, pa.uint8())}
    pq.write_table(pa.table(table), tmp_path / "train.parquet")
    return [f"out={tmp_path / 'made'}", f"variables.data={tmp_path}", f"variables.weights={tmp_path}"]


def test_the_recipe_reinforces_the_train_file_and_a_student_can_read_it(tmp_path: Path, settings: list[str]) -> None:
    torch.manual_seed(0)
    state = {name: value.contiguous() for name, value in whitened_cnn().state_dict().items()}
    save_file(state, tmp_path / "teacher_0.safetensors")
    reader = EpochReader(reinforced.run("cifar10_plus", [*settings, "variables.draws=2"], workers=1).dataset)
    batch = next(reader.batches(0, 6))
    assert batch.pixels.shape == (6, 32, 32, 3)
    assert (reader.draws, reader.classes, set(batch.labels)) == (2, 10, {3})
    np.testing.assert_allclose(batch.dense(10).sum(axis=1), 1, atol=1e-5)


def test_without_the_teacher_the_plan_says_which_example_makes_it(settings: list[str]) -> None:
    with pytest.raises(
        RequestError, match=r"teacher_0\.safetensors' is not there.*examples/train_cifar10_teachers\.py"
    ):
        reinforced.plan("cifar10_plus", settings)
