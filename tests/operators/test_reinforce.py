from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from reinforced_dataset import AUGMENT, samples
from safetensors.torch import save_file
from small_teachers import cnn

from reinforced import sparse
from reinforced.augment import Augment
from reinforced.batch import Batch
from reinforced.errors import RequestError
from reinforced.images import decode, encode_png
from reinforced.operator import Operator
from reinforced.registry import find_operator
from reinforced.reinforcement import Reinforcement, pixel_crc
from reinforced.teachers import Ensemble, parse_teacher

TEACHER: dict[str, Any] = {"factory": "small_teachers.cnn", "arguments": {"width": 4}, "temperature": 2.0}


def reinforce(**settings: Any) -> Any:
    defaults = {"draws": 5, "top_k": 3, "augment": AUGMENT, "teachers": [TEACHER], "batch_size": 4}
    return find_operator("reinforce")(**defaults | settings)


def test_each_row_is_a_replayable_view_with_the_teachers_answer() -> None:
    table, operator = samples(0, 6), reinforce()
    rows = operator(table).to_pylist()
    assert len(rows) == 30
    made = Reinforcement.parse(operator.metadata(), "here")
    ensemble = Ensemble([parse_teacher(TEACHER)], made.augment.size)
    for i, row in enumerate(rows):
        pixels = made.augment.apply(decode(table.column("image")[i // 5].as_py()), row)
        answer = ensemble.probabilities(pixels[None])
        classes, shares = sparse.encode(answer, 3, made.steps)
        table_of_classes = rows[i // 5 * 5]["class_table"]
        assert [table_of_classes[place] for place in row["class_places"]] == classes[0].tolist()
        assert (row["class_table"] is None) == (i % 5 > 0)
        assert np.abs(np.array(row["shares"]) - shares[0]).max() <= 1
        assert row["pixel_crc"] in (None, pixel_crc(pixels))


def test_draws_differ_and_more_of_them_leave_the_first_as_they_were() -> None:
    few, many = reinforce(draws=3)(samples(0, 4)).to_pylist(), reinforce(draws=7)(samples(0, 4)).to_pylist()
    for row in range(4):
        assert answers(many, 7, row)[:3] == answers(few, 3, row)
    boxes = {(r["crop_x"], r["crop_y"], r["crop_width"], r["crop_height"]) for r in many}
    assert len(boxes) > 20
    assert reinforce(seed=1, draws=3)(samples(0, 4)).to_pylist() != few


def test_further_draws_go_on_where_the_first_ended() -> None:
    all_at_once, later = reinforce(draws=7)(samples(0, 4)), reinforce(first_draw=3, draws=4)(samples(0, 4))
    for row in range(4):
        assert answers(later.to_pylist(), 4, row) == answers(all_at_once.to_pylist(), 7, row)[3:]


def answers(rows: list[dict[str, Any]], draws: int, image: int) -> list[dict[str, Any]]:
    """Return an image's rows with its classes themselves instead of their places."""
    own = rows[draws * image : draws * image + draws]
    table = own[0]["class_table"]
    return [
        {n: v for n, v in row.items() if n != "class_table"} | {"class_places": [table[p] for p in row["class_places"]]}
        for row in own
    ]


def test_one_row_in_64_has_a_pixel_hash() -> None:
    hashes = reinforce(draws=400, augment={"size_px": 2})(samples(0, 6)).column("pixel_crc")
    assert 20 < len(hashes) - hashes.null_count < 60


def test_a_reinforcement_without_augmentations_asks_about_the_image_itself() -> None:
    table = reinforce(augment={"size_px": 8}, draws=2)(samples(0, 3))
    assert table.column_names == ["class_table", "class_places", "shares", "pixel_crc"]
    rows = table.select(["class_places", "shares"]).to_pylist()
    assert rows[0] == rows[1] and rows[0] != rows[2]


def test_the_layer_says_how_it_was_made(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(cnn(width=4).state_dict(), tmp_path / "w.safetensors")
    operator = reinforce(
        teachers=[TEACHER | {"weights": str(tmp_path / "w.safetensors")}], top_k=2, precision=1e-4, seed=9
    )
    document = json.loads(operator.metadata()["reinforcement"])
    assert document["classes"] == 10 and document["top_k"] == 2 and document["steps"] == 7500 and document["seed"] == 9
    assert document["backends"].keys() == {"pillow", "simplejpeg"}
    assert document["teachers"][0]["temperature"] == 2.0 and document["teachers"][0]["name"] == "w.safetensors"
    assert list(operator.ingredients().values()) == [document["teachers"][0]["sha256"]]
    assert Augment.model_validate(document["augment"]) == operator.augment


def test_other_weights_are_another_ingredient(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    found = []
    for seed in range(2):
        torch.manual_seed(seed)
        save_file(cnn(width=4).state_dict(), path)
        operator = reinforce(teachers=[TEACHER | {"weights": str(path)}])
        found.append((operator.ingredients(), operator(samples(0, 2)).to_pylist()))
    assert found[0][0] != found[1][0]
    assert found[0][1] != found[1][1], "weights of an earlier run are used again"


def test_an_operator_travels_without_its_teachers() -> None:
    operator = reinforce()
    before = len(pickle.dumps(operator))
    operator.setup()
    assert len(pickle.dumps(operator)) == before
    again: Operator = pickle.loads(pickle.dumps(operator))
    assert again(samples(0, 2)).equals(operator(samples(0, 2)))


def test_an_image_that_a_teacher_cannot_judge_fails_with_its_name() -> None:
    three = TEACHER | {"arguments": {"classes": 3}}
    flawed = {"factory": "small_teachers.Means", "arguments": {"poison": True}}
    table = samples(0, 2)
    white = encode_png(np.full((9, 9, 3), 255, np.uint8))
    bad = table.set_column(1, "image", [pa.array([table.column("image")[0].as_py(), white], pa.binary())])
    operator = reinforce(teachers=[three, flawed], augment={"size_px": 8})
    assert operator(table).num_rows == 10
    with pytest.raises(ValueError, match=r"teacher small_teachers.Means answered NaN"):
        operator(bad)


def test_more_classes_than_the_teachers_know_are_refused_before_the_first_image() -> None:
    with pytest.raises(RequestError, match="top_k 11 is more than the 10 classes"):
        reinforce(top_k=11).setup()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"precision": 1e-6}, "too fine for top_k 3"),
        ({"draws": 60_000, "first_draw": 10_000}, "go up to 65535"),
        ({"teachers": [{"timn": "x"}]}, "exactly one of the keys"),
        ({"augment": {"size_px": 8, "horizontal_flips": {}}}, "did you mean 'horizontal_flip'"),
        ({"draws": 0}, "greater than or equal to 1"),
        ({"draws": 70_000}, "65535"),
    ],
)
def test_a_wrong_request_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        reinforce(**given)


def test_all_classes_can_be_stored() -> None:
    table = reinforce(top_k=10)(samples(0, 2))
    assert all(shares[-1] == 0 for shares in table.column("shares").to_pylist())
    assert all(sorted(classes) == list(range(10)) for classes in table.column("class_table").to_pylist()[::5])


def test_no_rows_give_no_rows() -> None:
    operator = reinforce()
    assert operator(samples(0, 0)).equals(operator.outputs().empty_table())


def test_a_batch_gives_a_column_for_every_output() -> None:
    operator = reinforce()
    added = operator.transform(Batch(samples(0, 3)))
    assert list(added) == operator.outputs().names
    assert {len(values) for values in added.values()} == {15}


def test_every_augmentation_is_stored_in_the_layer_and_replays_from_it(tmp_path: Path) -> None:
    names = [name for name in Augment.model_fields if name not in ("size_px", "backend")]
    operator = reinforce(augment={"size_px": [12, 10]} | {name: {} for name in names}, draws=40)
    table, made = samples(0, 4), Reinforcement.parse(operator.metadata(), "here")
    pq.write_table(operator(table), tmp_path / "layer.parquet", **operator.parquet)
    rows = pq.read_table(tmp_path / "layer.parquet").to_pylist()
    hashed = [(i, row) for i, row in enumerate(rows) if row["pixel_crc"] is not None]
    assert len(hashed) >= 2
    for i, row in hashed:
        partner = rows[40 * row["mix_row"] + i % 40]
        pixels, other = (
            made.augment.apply(decode(table.column("image")[image].as_py()), own)
            for image, own in ((i // 40, row), (row["mix_row"], partner))
        )
        if row["mix_row"] != i // 40:
            pixels = made.augment.mix(pixels, other, row)
        assert pixel_crc(pixels) == row["pixel_crc"]
    assert len({row["mix_row"] for row in rows}) == 4


def test_the_layer_is_written_with_the_encodings_it_asks_for(tmp_path: Path) -> None:
    operator = reinforce()
    table = operator(samples(0, 6))
    table = table.append_column("row", pa.array(range(30), pa.uint32()))
    pq.write_table(table, tmp_path / "layer.parquet", **operator.parquet)
    group = pq.read_metadata(tmp_path / "layer.parquet").row_group(0)
    encodings = {(c := group.column(i)).path_in_schema: c.encodings for i in range(group.num_columns)}
    assert "BYTE_STREAM_SPLIT" in encodings["crop_width"] and "BYTE_STREAM_SPLIT" in encodings["shares.list.element"]
    assert "RLE_DICTIONARY" in encodings["class_table.list.element"] and "DELTA_BINARY_PACKED" in encodings["row"]
    assert pq.read_table(tmp_path / "layer.parquet").equals(table)
