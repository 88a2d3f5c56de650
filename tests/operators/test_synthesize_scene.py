"""`synthesize.scene`: what a scene says of its objects is what its pixels show."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from photos import layer_bytes, make_photos
from PIL import Image
from sprites import make_sprites, save

from reinforced.errors import RequestError
from reinforced.images import decode
from reinforced.operators.synthesize.scene import SynthesizeScene
from reinforced.run import run
from reinforced.run_length import decode as decode_mask
from reinforced.stream import Stream

PLAIN = {"brightness": [1, 1], "saturation": [1, 1], "hue": [0, 0], "light": [0, 0], "tint": [1, 1], "blur_px": [0, 0]}


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Any]:
    make_photos(tmp_path / "photos", 3, side_px=90)
    return {"sprites": str(make_sprites(tmp_path / "sprites")), "backgrounds": str(tmp_path / "photos")}


def scene(folders: dict[str, Any], **parameters: Any) -> SynthesizeScene:
    return SynthesizeScene.model_validate({**folders, "scenes": 12, "width_px": 120, "height_px": 90, **parameters})


def read(source: SynthesizeScene) -> list[dict[str, Any]]:
    source.columns()
    table = pa.concat_tables([source.read(shard) for shard in source.shards()])
    assert table.column("_error").null_count == len(table)
    return table.to_pylist()


def test_masks_boxes_and_classes_say_what_the_pixels_show(folders: dict[str, Any]) -> None:
    rows = read(scene(folders, encoding="png", randomizers=PLAIN | {"objects": [2, 5], "scale": [0.5, 0.8]}))
    colours = {"ring": (200, 60, 40), "arrow": (40, 90, 220), "square": (20, 160, 60)}
    found = 0
    for row in rows:
        pixels, semantic = decode(row["image"]), np.asarray(Image.open(io.BytesIO(row["semantic_mask"])))
        assert pixels.shape == (90, 120, 3)
        shown = np.zeros((90, 120), int)
        for one in row["objects"]:
            mask = decode_mask(**one["mask"])
            assert not shown[mask].any(), "a pixel belongs to one object"
            shown[mask] = one["label"] + 1
            left, top, width, height = (int(value) for value in one["box"])
            assert mask[top : top + height, left : left + width].sum() == mask.sum() == one["area"]
            assert mask[top].any() and mask[:, left].any() and mask[top + height - 1].any()
            assert 0.2 <= one["visibility"] <= 1
            near = np.abs(pixels[mask].astype(int) - colours[one["label_name"]]).max(1)
            assert (near < 8).mean() > 0.5 or one["visibility"] < 0.6, "slivers are mostly blended edges"
            found += 1
        assert (semantic == shown).all()
    assert found > 24


def test_the_points_of_a_sprite_move_with_it(folders: dict[str, Any]) -> None:
    """The tip is where the arrow is thin and ends, the tail where it ends and is thick: both lie at its mask's rim."""
    rows = read(scene(folders, randomizers={"objects": [1, 1], "rotation_degrees": [-180, 180]}, scenes=40))
    arrows = [one for row in rows for one in row["objects"] if one["label_name"] == "arrow" and one["visibility"] == 1]
    assert len(arrows) > 3
    for one in arrows:
        points = {point["name"]: point for point in one["keypoints"]}
        if min(point["visible"] for point in points.values()) == 0:
            continue  # the last pixel's middle is inside of the scene, its rim outside
        ys, xs = np.nonzero(decode_mask(**one["mask"]))
        tip, tail = (np.array([points[name]["x"], points[name]["y"]]) for name in ("tip", "tail"))
        along = np.stack([xs + 0.5, ys + 0.5], 1) @ (tip - tail) / np.linalg.norm(tip - tail)
        length = along.max() - along.min()
        assert np.linalg.norm(tip - tail) == pytest.approx(length * 78 / 80, abs=2.5)
        assert abs(along.max() - tip @ (tip - tail) / np.linalg.norm(tip - tail)) < 2.5
        assert points["tip"]["visible"] == points["tail"]["visible"] == 2


def test_a_point_behind_another_object_is_hidden_and_one_outside_is_not_labelled(folders: dict[str, Any]) -> None:
    rows = read(scene(folders, randomizers={"objects": [6, 6], "scale": [0.5, 0.9]}, scenes=30))
    states = []
    for row in rows:
        masks = [decode_mask(**one["mask"]) for one in row["objects"]]
        for i, one in enumerate(row["objects"]):
            for point in one["keypoints"]:
                states.append(point["visible"])
                if point["visible"]:
                    covered = any(mask[int(point["y"]), int(point["x"])] for mask in masks[i + 1 :])
                    assert point["visible"] == (1 if covered else 2)
    assert set(states) == {0, 1, 2}


def test_scenes_do_not_depend_on_the_cut_or_on_how_many_there_are(folders: dict[str, Any]) -> None:
    whole = read(scene(folders))
    assert read(scene(folders, shard_rows=5)) == whole == read(scene(folders, scenes=20))[:12]
    assert read(scene(folders, seed=1)) != whole


def test_light_falls_from_its_side(folders: dict[str, Any]) -> None:
    ranges = PLAIN | {"light": [0.5, 0.5], "objects": [0, 0]}
    dark, lit = scene(folders, randomizers=PLAIN | {"objects": [0, 0]}), scene(folders, randomizers=ranges)
    for key in ("a", "b", "c"):
        plain, _ = dark.compose(Stream(0, "", key))[1].lit()
        pixels, light = lit.compose(Stream(0, "", key))[1].lit()
        across, down = light["light_direction"]
        gain = pixels.astype(float).mean(2) / np.maximum(1, plain.astype(float).mean(2))
        side, other = (gain[:, -9:], gain[:, :9]) if abs(across) > abs(down) else (gain[-9:], gain[:9])
        if (across if abs(across) > abs(down) else down) < 0:
            side, other = other, side
        assert side.mean() > 1.1 > 0.9 > other.mean()


def test_fractals_and_atoms_are_sprites_over_noise() -> None:
    pytest.importorskip("numba")
    for op in ("synthesize.fractal", "synthesize.visual_atom"):
        made = {"sprites": {"op": op, "classes": 3, "instances": 2, "size_px": 64}, "scenes": 3}
        rows = read(SynthesizeScene.model_validate(made | {"width_px": 96, "height_px": 64}))
        assert sum(len(row["objects"]) for row in rows) > 2
        assert {one["label"] for row in rows for one in row["objects"]} <= {0, 1, 2}
        assert all(row["background"].startswith("synthesize.noise ") for row in rows)


def test_one_worker_and_two_store_the_same_bytes(folders: dict[str, Any], tmp_path: Path) -> None:
    source = {"op": "synthesize.scene", **folders, "scenes": 6, "width_px": 64, "height_px": 48, "shard_rows": 2}
    for workers in (1, 2):
        out = str(tmp_path / str(workers))
        run({"name": "scenes", "out": out, "source": source, "steps": []}, workers=workers, engine="local")
    first = layer_bytes(tmp_path / "1")
    assert len(first) == 3
    assert first == layer_bytes(tmp_path / "2")


def test_a_broken_background_costs_only_its_own_scene(folders: dict[str, Any]) -> None:
    (Path(folders["backgrounds"]) / "broken.jpg").write_bytes(b"\xff\xd8\xffno")
    source = scene(folders, scenes=30)
    errors = source.read({"start": 0, "stop": 30}).column("_error").to_pylist()
    assert 0 < sum(error is not None for error in errors) < 30


def test_ranges_come_from_a_file(folders: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "ranges.yaml").write_text("objects: [3, 3]\nscale: [0.1, 0.2]\n")
    from_file = scene(folders, randomizers=str(tmp_path / "ranges.yaml"))
    assert read(from_file) == read(scene(folders, randomizers={"objects": [3, 3], "scale": [0.1, 0.2]}))
    before = from_file.ingredients()
    (tmp_path / "ranges.yaml").write_text("objects: [3, 4]\n")
    assert scene(folders, randomizers=str(tmp_path / "ranges.yaml")).ingredients() != before
    (tmp_path / "ranges.yaml").write_text("objcts: [3, 4]\n")
    with pytest.raises(RequestError, match="did you mean 'objects'"):
        scene(folders, randomizers=str(tmp_path / "ranges.yaml")).columns()


def test_sprites_that_cannot_be_cut_out_are_refused_before_the_run(folders: dict[str, Any]) -> None:
    sprites = Path(folders["sprites"])
    Image.new("RGB", (20, 10)).save(sprites / "photo.jpg")
    with pytest.raises(RequestError, match=r"photo.jpg': has no transparent pixel; save it with alpha"):
        scene(folders).columns()
    Image.new("L", (10, 10), 255).save(sprites / "photo.mask.png")
    with pytest.raises(RequestError, match=r"mask photo.mask.png has 10 x 10 px, the image 20 x 10 px"):
        scene(folders).columns()
    (sprites / "photo.mask.png").unlink()
    (sprites / "photo.jpg").unlink()
    save(sprites / "photo.png", np.eye(9, dtype=bool), (1, 2, 3))
    (sprites / "photo.json").write_text(json.dumps({"keypoints": {"nose": [10, 4]}}))
    with pytest.raises(RequestError, match=r"photo.json must be .* with points in its 9 x 9 px"):
        scene(folders).columns()


def test_noise_is_no_sprite() -> None:
    with pytest.raises(ValueError, match="noise has no outline"):
        SynthesizeScene.model_validate({"sprites": {"op": "synthesize.noise"}})
