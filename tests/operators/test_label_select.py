from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from photos import make_photos

import reinforced
from reinforced.batch import Batch
from reinforced.operators.label.background_colour import LabelBackgroundColour
from reinforced.operators.label.multi import LabelMulti
from reinforced.operators.label.select import LabelSelect
from reinforced.subgroups import audit

POOL = pa.table(
    {
        "key": list("abcde"),
        "teacher_classes": [[3, 1], [1, 3], [3, 1], [3, 1], [1, 3]],
        "teacher_probabilities": [[0.6, 0.3], [0.9, 0.1], [0.8, 0.2], [0.8, 0.2], [0.5, 0.5]],
    },
    schema=pa.schema(
        {
            "key": pa.string(),
            "teacher_classes": pa.list_(pa.int32()),
            "teacher_probabilities": pa.list_(pa.float32()),
        }
    ),
)


def test_the_surest_images_of_every_class_are_kept_with_its_label() -> None:
    found = LabelSelect(per_class=2)(POOL)
    assert dict(zip(found.column("key").to_pylist(), found.column("selected_label").to_pylist(), strict=True)) == {
        "b": 1,
        "c": 3,
        "d": 3,
        "e": 1,
    }
    assert LabelSelect(per_class=1)(POOL).column("key").to_pylist() == ["b", "c"]
    assert LabelSelect(per_class=5, min_probability=0.6)(POOL).column("key").to_pylist() == ["a", "b", "c", "d"]


def test_every_class_above_the_threshold_is_a_label() -> None:
    def labels(**parameters: Any) -> list[list[int]]:
        found: list[list[int]] = LabelMulti(**parameters)(POOL).column("labels").to_pylist()
        return found

    assert labels(min_probability=0.25) == [[3, 1], [1], [3], [3], [1, 3]]
    assert labels(min_probability=0.85) == [[], [1], [], [], []]
    assert labels(min_probability=0.1, max_labels=1) == [[3], [1], [3], [3], [1]]


@pytest.mark.parametrize(
    ("name", "colour"),
    [
        ("black", (20, 10, 30)),
        ("grey", (120, 120, 125)),
        ("white", (250, 245, 250)),
        ("red", (200, 20, 30)),
        ("yellow", (230, 210, 40)),
        ("green", (40, 150, 60)),
        ("blue", (60, 90, 220)),
        ("purple", (150, 40, 170)),
    ],
)
def test_the_background_is_the_colour_of_the_border_whatever_is_in_the_middle(
    name: str, colour: tuple[int, int, int]
) -> None:
    picture = np.full((40, 60, 3), colour, np.uint8)
    picture[8:-8, 8:-8] = (255, 0, 0)
    row = picture[:1, :5]
    batch = Batch(pa.table({"key": ["a", "b"]}), [picture, row])
    assert LabelBackgroundColour().transform(batch) == {"background_colour": [name, name]}


def test_an_audit_names_the_worst_subgroup_and_the_spread_within_classes() -> None:
    labels = ["cat"] * 8 + ["dog"] * 4
    groups = ["grey"] * 6 + ["green"] * 2 + ["grey"] * 2 + ["green"] * 2
    predictions = ["cat"] * 6 + ["dog"] * 2 + ["dog"] * 4
    found = audit(labels, predictions, groups)
    assert found.accuracy == 10 / 12
    assert (found.worst.label, found.worst.group, found.worst.images, found.worst.accuracy) == ("cat", "green", 2, 0)
    # Of cats, 3/4 stand in a group with accuracy 1 and 1/4 in one with 0; dogs are all right.
    assert found.macro_std == pytest.approx((np.sqrt(3 / 16) + 0) / 2)


def test_small_subgroups_do_not_decide() -> None:
    found = audit([0] * 5, [0, 0, 0, 0, 1], ["a"] * 4 + ["b"], min_images=2)
    assert (found.worst.group, found.macro_std) == ("a", 0)
    with pytest.raises(ValueError, match="no subgroup of these 2 images has 3"):
        audit([0, 1], [0, 1], ["a", "b"], min_images=3)


def test_another_number_of_images_is_chosen_without_asking_the_teachers_again(tmp_path: Path) -> None:
    make_photos(tmp_path / "pool", 16, side_px=16)
    pipeline = {
        "name": "pool",
        "out": str(tmp_path / "out"),
        "compact": False,
        "source": {"op": "read.images", "path": str(tmp_path / "pool"), "labels": "none", "shard_rows": 10},
        "steps": [
            {"op": "label.teacher", "size_px": 8, "teachers": [{"factory": "small_teachers.Means"}]},
            {"op": "label.select", "per_class": 1},
        ],
    }
    reinforced.run(pipeline)
    layers = sorted((tmp_path / "out/teacher_labels").glob("*.parquet"))
    before = [layer.stat().st_mtime_ns for layer in layers]
    few = reinforced.open(pipeline["out"]).to_arrow(columns=["key", "teacher_classes", "selected_label"])
    reinforced.run(pipeline, ["steps.1.per_class=3"])
    many = reinforced.open(pipeline["out"]).to_arrow(columns=["key", "teacher_classes", "selected_label"])
    assert len(layers) == 2 and [layer.stat().st_mtime_ns for layer in layers] == before
    assert set(few.column("key").to_pylist()) < set(many.column("key").to_pylist())
    classes = [found[0] for found in many.column("teacher_classes").to_pylist()]
    assert many.column("selected_label").to_pylist() == classes
    assert max(np.bincount(classes)) == 3
