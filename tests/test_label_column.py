from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photos import make_photos
from reinforced_dataset import AUGMENT, samples
from small_teachers import Means

import reinforced
from reinforced.batch import Batch
from reinforced.errors import RequestError
from reinforced.inspection import find_sample
from reinforced.label_column import checked_labels
from reinforced.registry import find_operator
from reinforced.teachers import Ensemble, parse_teacher

MEANS: dict[str, Any] = {"factory": f"{Means.__module__}.Means", "temperature": 0.05}
CNN: dict[str, Any] = {"factory": "small_teachers.cnn", "arguments": {"classes": 3}, "temperature": 0.05}


def with_labels(labels: list[int | None]) -> Batch:
    import pyarrow as pa

    table = samples(0, len(labels))
    table = table.drop_columns(["label"]) if "label" in table.column_names else table
    return Batch(table.append_column("label", pa.array(labels, pa.int64())))


def test_a_label_beyond_the_classes_is_named_with_its_key() -> None:
    batch = with_labels([0, 2, 3])
    with pytest.raises(ValueError, match=rf"'{batch.keys[2]}' has label 3, the teachers know classes 0 to 2"):
        checked_labels(batch, 3, needed=False)


def test_a_missing_label_matters_only_where_it_chooses() -> None:
    batch = with_labels([1, None])
    assert checked_labels(batch, 3, needed=False).tolist() == [1, 0]
    with pytest.raises(ValueError, match=rf"'{batch.keys[1]}' has no label"):
        checked_labels(batch, 3, needed=True)


def test_the_teacher_most_confident_on_the_label_answers() -> None:
    teachers = [parse_teacher(MEANS), parse_teacher(CNN)]
    asked = Ensemble(teachers, (8, 8), combine="most_confident_on_label")
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    labels = np.arange(40) % 3
    found = asked.probabilities(images, labels)
    first, second = (Ensemble([teacher], (8, 8)).probabilities(images) for teacher in teachers)
    rows = np.arange(40)
    chosen = first[rows, labels] >= second[rows, labels]
    assert 0 < chosen.sum() < 40, "each is chosen somewhere"
    np.testing.assert_array_equal(found, np.where(chosen[:, None], first, second))
    with pytest.raises(RequestError, match="needs the images' labels"):
        asked.probabilities(images)


def test_every_view_is_judged_by_the_label_of_its_image() -> None:
    batch = with_labels([0, 1, 2])
    settings = {"draws": 4, "top_k": 3, "augment": AUGMENT, "teachers": [MEANS, CNN]}
    operator = find_operator("reinforce")(combine="most_confident_on_label", **settings)
    whole = operator(batch.table)
    parts = [operator(batch.table.slice(i, 1)).to_pylist() for i in range(3)]
    assert whole.to_pylist() == [row for part in parts for row in part]


def test_a_wrong_label_costs_only_its_own_row(tmp_path: Path) -> None:
    pipeline = {
        "name": "digits",
        "out": str(tmp_path / "out"),
        "max_failure_rate": 1.0,
        "source": {"op": "read.digits", "shard_rows": 1797},
        "steps": [
            {
                "op": "reinforce",
                "draws": 1,
                "top_k": 3,
                "augment": {"size_px": 8},
                "teachers": [{"factory": "reinforced.models.mlp", "arguments": {"inputs": 192, "classes": 9}}],
                "label_classes": 9,
            },
        ],
    }
    result = reinforced.run(pipeline, workers=1)
    counts = result.counts["reinforce"]
    assert (counts.kept, counts.failed) == (1617, 180)
    assert set(result.dataset.to_arrow(columns=["label"]).column("label").to_pylist()) == set(range(9))
    table = find_operator("read.digits")().read({"start": 0, "stop": 30})
    nine = table.column("key")[table.column("label").to_pylist().index(9)].as_py()
    (judged,) = find_sample(result.dataset, nine)["ledger"]
    assert f"sample '{nine}' has label 9, the teachers know classes 0 to 8" in judged["reason"]


def test_a_pipeline_without_labels_cannot_choose_by_them(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 2)
    step = {"op": "reinforce", "draws": 1, "top_k": 3, "augment": AUGMENT, "teachers": [MEANS]}
    step["combine"] = "most_confident_on_label"
    with pytest.raises(RequestError, match="reads column 'label', which nobody before it provides"):
        reinforced.plan(
            {
                "name": "x",
                "out": str(tmp_path / "out"),
                "source": {"op": "read.images", "path": f"{tmp_path}/photos", "labels": "none"},
                "steps": [step],
            }
        )
