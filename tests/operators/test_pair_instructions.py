from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from reinforced.batch import Batch
from reinforced.images import Pixels, decode, encode_png
from reinforced.operators.pair._targets import GREEN, RED, colours
from reinforced.operators.pair.instructions import PairInstructions

MASK = np.zeros((20, 30), np.uint8)
MASK[2:6, 3:9], MASK[10:15, 20:28] = 1, 2


def encoded(values: np.ndarray) -> bytes:
    import io

    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


PHOTO = np.random.default_rng(0).integers(60, 200, (20, 30, 3), dtype=np.uint8)
ROW = {
    "key": "a",
    "image": encode_png(PHOTO),
    "object_names": ["cat", "cat"],
    "object_boxes": [[3, 2, 6, 4], [20, 10, 8, 5]],
    "object_mask": encoded(MASK),
    "depth_map": encoded((np.arange(600).reshape(20, 30) * 10).astype(np.uint16)),
    "label_name": "cat",
}


def made(tasks: list[str], rows: list[dict[str, Any]], **parameters: Any) -> list[dict[str, Any]]:
    operator = PairInstructions(tasks=tasks, **parameters)
    operator.setup()
    schema = pa.schema([pa.field("key", pa.string()), *operator.inputs()])
    table = pa.table({f.name: pa.array([row[f.name] for row in rows], f.type) for f in schema})
    return operator.generate(Batch(table)).to_pylist()  # type: ignore[no-any-return]


def target(task: str, **changes: Any) -> tuple[Pixels, str]:
    (row,) = made([task], [ROW | changes])
    assert row["image"] == ROW["image"]
    assert (row["key"], row["parent"], row["task"]) == (f"a/{task}", "a", task)
    return decode(row["target_image"]), row["instruction"]


def test_every_box_of_the_object_is_drawn_and_nothing_else_changes() -> None:
    picture, said = target("detection")
    changed = (picture != PHOTO).any(2)
    expected = np.zeros((20, 30), bool)
    for left, top, width, height in ROW["object_boxes"]:  # type: ignore[attr-defined]
        expected[top : top + height, left : left + width] = True
        expected[top + 1 : top + height - 1, left + 1 : left + width - 1] = False
    np.testing.assert_array_equal(changed, expected)
    (colour,) = {tuple(pixel) for pixel in picture[expected].tolist()}
    assert next(name for name, value in colours.items() if value == colour) in said
    assert "cat" in said


def test_the_mask_shows_only_the_object_that_the_words_ask_for() -> None:
    picture, said = target("segmentation", object_names=["cat", "dog"])
    np.testing.assert_array_equal(picture[..., 0] == 255, np.equal(MASK, 1 if "cat" in said else 2))
    both, _ = target("segmentation")
    np.testing.assert_array_equal(both[..., 0] == 255, MASK > 0)


def test_near_is_light_far_is_dark_and_unknown_is_black() -> None:
    picture, _ = target("depth")
    grey = picture[..., 0].ravel()
    assert (grey[0], grey[1], grey[-1]) == (0, 255, 0)  # the first distance is 0: not known
    assert (np.diff(grey[1:].astype(int)) <= 0).all()


def test_green_is_yes_and_red_is_no() -> None:
    rows = [ROW | {"key": str(i)} for i in range(40)]
    answers = {}
    for row in made(["classification"], rows, classes=["dog", "cat"]):
        (colour,) = {tuple(pixel) for pixel in decode(row["target_image"]).reshape(-1, 3).tolist()}
        answers.setdefault(colour, []).append("a dog" in row["instruction"])
    assert set(answers) == {GREEN, RED}
    assert all(answers[RED]) and not any(answers[GREEN])


def test_an_image_is_asked_only_for_what_it_is_annotated_with() -> None:
    rows = [ROW | {"object_names": [], "object_boxes": [], "depth_map": None}, ROW | {"key": "b", "label_name": None}]
    keys = [row["key"] for row in made(["detection", "segmentation", "depth", "classification"], rows)]
    assert keys == ["a/classification", "b/detection", "b/segmentation", "b/depth"]


def test_the_same_task_is_asked_for_in_many_words() -> None:
    rows = [ROW | {"key": str(i)} for i in range(60)]
    assert len({row["instruction"] for row in made(["segmentation"], rows)}) > 30
    assert made(["depth"], rows) == made(["depth"], rows) != made(["depth"], rows, seed=1)


def test_a_mask_of_another_size_costs_the_row_and_says_so() -> None:
    with pytest.raises(ValueError, match=r"\(5, 5\), not grey of the image's size \(20, 30\)"):
        target("segmentation", object_mask=encoded(np.ones((5, 5), np.uint8)))
