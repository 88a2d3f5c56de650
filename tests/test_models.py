import subprocess
import sys

import numpy as np
import torch

from reinforced.batch import Batch
from reinforced.metrics import accuracy, expected_calibration_error
from reinforced.models import mlp
from reinforced.operators.read.digits import ReadDigits
from reinforced.pipeline import load
from reinforced.teachers import Ensemble
from reinforced.weight_files import read_file


def test_the_mlp_takes_images_as_they_are_and_has_the_size_it_names() -> None:
    model = mlp(inputs=192, hidden=32, classes=10)
    assert model(torch.zeros(5, 3, 8, 8)).shape == (5, 10)
    assert sum(p.numel() for p in model.parameters()) == 192 * 32 + 32 + 32 * 10 + 10


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
