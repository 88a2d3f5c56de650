from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import reinforced
from reinforced import ifs
from reinforced.errors import RequestError
from reinforced.images import decode
from reinforced.operators.synthesize.fractal import SynthesizeFractal
from reinforced.plan import plan

SMALL = {"classes": 3, "instances": 4, "size_px": 32, "points": 5000}


def whole(**parameters: Any) -> pa.Table:
    source = SynthesizeFractal(**{**SMALL, **parameters})
    return pa.concat_tables(source.read(shard) for shard in source.shards())


def spec(out: Path, **parameters: Any) -> dict[str, Any]:
    return {"name": "fractals", "out": str(out), "source": {"op": "synthesize.fractal", **SMALL, **parameters}}


def test_every_class_has_its_instances_under_keys_that_sort() -> None:
    table = whole()
    assert table["key"].to_pylist() == [f"{label:05d}/{instance:06d}" for label in range(3) for instance in range(4)]
    assert table["label"].to_pylist() == [label for label in range(3) for _ in range(4)]
    assert table["_error"].null_count == 12


def test_another_shard_size_changes_no_byte() -> None:
    assert whole(shard_rows=5).equals(whole())


def test_more_classes_and_instances_leave_the_others_as_they_are() -> None:
    few, many = whole(), whole(classes=4, instances=6)
    images = dict(zip(many["key"].to_pylist(), many["image"].to_pylist(), strict=True))
    assert [images[key] for key in few["key"].to_pylist()] == few["image"].to_pylist()


def test_the_pictures_differ_by_seed_class_and_instance() -> None:
    images = whole()["image"].to_pylist() + whole(seed=1)["image"].to_pylist()
    assert len(set(images)) == 24


def test_runs_with_one_worker_and_two_store_the_same_bytes(tmp_path: Path) -> None:
    for workers in (1, 2):
        reinforced.run(spec(tmp_path / str(workers), shard_rows=4), workers=workers, engine="local")
    one, two = (sorted((tmp_path / name / "samples").iterdir()) for name in ("1", "2"))
    assert len(one) == 3 and [f.read_bytes() for f in one] == [f.read_bytes() for f in two]


def test_instances_of_a_class_are_jitters_of_one_code() -> None:
    table = whole()
    first = table.filter(pa.array(table["label"].to_numpy() == 0))
    code = SynthesizeFractal(**SMALL).code(0)
    for row in first["codes"].to_pylist():
        changed = np.isclose(np.array(row[0]).reshape(-1, 6), np.array(code.maps), rtol=1e-6).all(axis=1)
        assert (~changed).sum() == 1


def test_a_picture_with_several_objects_names_them_all(tmp_path: Path) -> None:
    table = whole(objects=[1, 5], instances=8, size_px=64)
    counts = {len(labels) for labels in table["object_labels"].to_pylist()}
    assert counts == {1, 2, 3, 4, 5}
    for row in table.to_pylist():
        assert row["object_labels"][-1] == row["label"] and set(row["object_labels"]) <= {0, 1, 2}
        assert len(row["object_labels"]) == len(row["object_boxes"]) == len(row["codes"])
        for left, top, width, height in row["object_boxes"]:
            assert 0 <= left <= 64 - width and 0 <= top <= 64 - height and 9 <= width == height <= 39


def test_objects_are_where_their_boxes_are() -> None:
    source = SynthesizeFractal(**{**SMALL, "size_px": 64}, objects=(2, 3), colour=False, background=False)
    for label in range(3):
        picture = source.make(label, 0)
        inside = np.zeros((64, 64), bool)
        for left, top, width, height in picture.parameters["object_boxes"]:
            inside[top : top + height, left : left + width] = True
            assert picture.pixels[top : top + height, left : left + width].any()
        assert not picture.pixels[~inside].any()


def test_blur_happens_as_often_as_its_probability_says() -> None:
    passes = [whole(instances=40, blur_probability=p)["blur_passes"].to_numpy() > 0 for p in (0.0, 0.5, 1.0)]
    assert passes[0].sum() == 0 and passes[2].all() and 40 < passes[1].sum() < 80


def test_fractaldb_instances_walk_through_weights_patches_and_flips() -> None:
    source = SynthesizeFractal(**{**SMALL, "instances": 1000}, vary="weights", colour=False, background=False)
    places = [0, 1, 24, 25, 250]
    codes = [source.make(0, place).parameters["codes"][0] for place in places]
    assert codes[0] == codes[3] == codes[4] == [value for own in source.code(0).maps for value in own]
    assert codes[1] != codes[0] != codes[2]
    assert len({source.make(0, place).pixels.tobytes() for place in places}) == 5


@pytest.mark.parametrize("colour", [True, False])
def test_png_stores_the_pixels_that_were_rendered(colour: bool) -> None:
    source = SynthesizeFractal(**SMALL, encoding="png", colour=colour, background=colour)
    pixels, stored = (
        source.make(1, 2).pixels,
        decode(whole(encoding="png", colour=colour, background=colour)["image"][6].as_py()),
    )
    assert np.array_equal(stored, pixels if colour else np.repeat(pixels[..., None], 3, axis=2))


def test_a_class_without_a_usable_code_costs_its_own_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    good = whole(classes=40, instances=2)
    monkeypatch.setattr(ifs, "MOST_ATTEMPTS", 1)
    ifs.find_code.cache_clear()
    table = whole(classes=40, instances=2)
    ifs.find_code.cache_clear()
    failed = [attempts > 1 for attempts in good["code_attempts"].to_pylist()]
    assert 0 < sum(failed) < 40
    for row, before, broken in zip(table.to_pylist(), good.to_pylist(), failed, strict=True):
        assert (row["_error"] is not None) == broken
        assert "lower min_filling" in row["_error"] if broken else row == before


@pytest.mark.parametrize(("wrong", "said"), [
    ({"max_singular_value": 1.2}, "less than or equal to 1"),
    ({"max_singular_value": 0.3}, "impossible with 2 maps; it must be from 0.67 to 1"),
    ({"maps": [1, 4]}, "greater than or equal to 2"),
    ({"maps": [4, 2]}, "rising order"),
    ({"objects": [0, 5]}, "greater than or equal to 1"),
    ({"object_size": [0.5, 1.5]}, "less than or equal to 1"),
    ({"size_px": 4}, "greater than or equal to 16"),
    ({"classes": 0}, "classes"),
    ({"delta": 1.0}, "delta"),
    ({"colour": False}, "set background: false"),
    ({"codes": "svg"}, "codes"),
])  # fmt: skip
def test_what_cannot_be_rendered_is_refused_in_the_plan(wrong: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"synthesize\.fractal") as caught:
        plan(spec(tmp_path, **wrong))
    assert said in str(caught.value)


def test_without_numba_the_plan_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "numba" else find(name, *rest))
    with pytest.raises(RequestError, match=r"install reinforced\[synthesis\]"):
        plan(spec(tmp_path))
