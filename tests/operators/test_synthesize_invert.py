from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from reinforced.images import decode
from reinforced.inversion import Objective, _statistics, invert
from reinforced.operators.synthesize.invert import SynthesizeInvert
from reinforced.plan import plan
from reinforced.teachers import load

DIGITS = {"factory": "reinforced.models.mlp", "size_px": 8, "mean": [0.327] * 3, "std": [0.346] * 3}
TEACHERS = [
    DIGITS | {"arguments": {"inputs": 192, "hidden": hidden}, "weights": f"package:weights/digits_{i}.safetensors"}
    for i, hidden in enumerate((96, 128))
]


def source(**parameters: Any) -> SynthesizeInvert:
    objective = {"steps": 60, "half_size_steps": 0}
    chosen = {"teacher": TEACHERS[0], "classes": 10, "instances": 2, "objective": objective, "batch_size": 5}
    return SynthesizeInvert.model_validate({**chosen, "shard_rows": 20, **parameters})


def read(one: SynthesizeInvert) -> list[dict[str, Any]]:
    return pa.concat_tables([one.read(shard) for shard in one.shards()]).to_pylist()


def test_the_teacher_sees_the_class_it_was_asked_for_and_another_teacher_mostly_too() -> None:
    rows = read(source(verifier=TEACHERS[1]))
    assert [row["label"] for row in rows] == [*range(10)] * 2
    assert np.mean([row["probability"] > 0.5 for row in rows]) > 0.5, "chance is a tenth"
    own = read(source())
    assert min(row["probability"] for row in own) > 0.8
    assert [row["image"] for row in own] == [row["image"] for row in rows]
    assert {decode(row["image"]).shape for row in rows} == {(8, 8, 3)}
    assert len({row["image"] for row in rows}) == 20


def test_images_are_the_same_however_shards_are_cut() -> None:
    assert read(source(shard_rows=5)) == read(source())
    assert read(source(seed=1)) != read(source())
    with pytest.raises(ValueError, match="shard_rows 7 must be a multiple of batch_size 5"):
        source(shard_rows=7)


def test_images_have_the_statistics_that_batch_normalization_remembers() -> None:
    teacher = source(teacher={"factory": "small_teachers.remembering", "size_px": 16}, classes=4).teacher
    import torch

    def distance(weight: float) -> float:
        loaded = load(teacher, torch.device("cpu"))
        objective = Objective(steps=80, half_size_steps=40, batch_norm=weight, roll=0.1, learning_rate=0.1)
        images = invert(loaded, [0, 1, 2, 3], list("abcd"), (16, 16), objective, 0)
        assert images.shape == (4, 3, 16, 16)
        with torch.no_grad(), _statistics(loaded.network) as found:
            loaded.network(images)
        return float(sum(found))

    assert distance(5.0) < 0.5 * distance(0.0)


def test_a_teacher_that_cannot_be_differentiated_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be differentiated"):
        source(teacher={"onnx": "a.onnx"})


def test_the_source_has_the_gpu_that_it_asks_for_and_the_steps_after_it_do_not(tmp_path: Path) -> None:
    spec = {"op": "synthesize.invert", "teacher": TEACHERS[0], "classes": 10, "resources": {"gpus": 1}}
    steps = [{"op": "filter.where", "sql": "probability > 0.5"}]
    made = plan({"name": "inverted", "out": str(tmp_path / "out"), "source": spec, "steps": steps})
    assert [segment.resources.gpus for segment in made.segments] == [1, 0]
