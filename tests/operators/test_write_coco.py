"""`write.coco` and `read.coco`: pycocotools reads what is written, and all of it comes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photos import make_photos
from sprites import make_sprites

from reinforced.dataset import open_dataset
from reinforced.errors import RequestError
from reinforced.export import export
from reinforced.operators.read.coco import ReadCoco
from reinforced.run import run
from reinforced.run_length import decode

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools, numpy 2


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coco")
    make_photos(folder / "photos", 2, side_px=64)
    source = {"op": "synthesize.scene", "sprites": str(make_sprites(folder / "sprites")), "scenes": 5, "shard_rows": 2}
    source |= {"backgrounds": str(folder / "photos"), "width_px": 80, "height_px": 60}
    sinks = [{"op": "write.coco", "path": str(folder / "out")}]
    run({"name": "scenes", "out": str(folder / "dataset"), "source": source, "steps": [], "sinks": sinks})
    return folder


def rows(folder: Path) -> list[dict[str, Any]]:
    table = open_dataset(str(folder / "dataset")).to_arrow(columns=["key", "image", "objects"])
    return sorted(table.to_pylist(), key=lambda row: row["key"])


def test_pycocotools_loads_every_object(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = pytest.importorskip("pycocotools.coco").COCO(str(written / "out" / "annotations.json"))
    assert {name for one in coco.loadCats(coco.getCatIds()) for name in [one["name"]]} <= {"arrow", "ring", "square"}
    stored = {row["key"]: row["objects"] for row in rows(written)}
    assert len(coco.getImgIds()) == len(stored) == 5
    arrows = 0
    for image in coco.loadImgs(coco.getImgIds()):
        assert (image["width"], image["height"]) == (80, 60)
        assert (written / "out" / "images" / image["file_name"]).is_file()
        annotations = coco.loadAnns(coco.getAnnIds(image["id"]))
        objects = stored[image["file_name"].removesuffix(".jpg")]
        for annotation, one in zip(annotations, objects, strict=True):
            mask = coco.annToMask(annotation)
            assert (mask == decode(**one["mask"])).all()
            assert mask.sum() == annotation["area"] == one["area"]
            assert annotation["bbox"] == one["box"]
            if one["label_name"] == "arrow":
                arrows += 1
                assert coco.loadCats(annotation["category_id"])[0]["keypoints"] == ["tail", "tip"]
                found = {point["name"]: point for point in one["keypoints"]}
                values = [found[name][field] for name in ("tail", "tip") for field in ("x", "y", "visible")]
                np.testing.assert_allclose(annotation["keypoints"], values, atol=1e-3)
                assert annotation["num_keypoints"] == sum(value > 0 for value in values[2::3])
    assert arrows > 0
    assert "index created" in capsys.readouterr().out


def test_what_is_written_is_read_again(written: Path) -> None:
    out = written / "out"
    source = ReadCoco(path=str(out / "images"), annotations=str(out / "annotations.json"), shard_rows=2)
    found = [row for shard in source.shards() for row in source.read(shard).to_pylist()]
    assert [row["image"] for row in found] == [row["image"] for row in rows(written)]
    names = {one["label_name"] for row in found for one in row["objects"]}
    labels = {name: i for i, name in enumerate(sorted(names))}
    for row, before in zip(found, rows(written), strict=True):
        assert row["_error"] is None
        for one, other in zip(row["objects"], before["objects"], strict=True):
            assert one["label"] == labels[one["label_name"]]
            for name in ("label_name", "box", "area", "mask", "crowd"):
                assert one[name] == other[name]
            assert one["visibility"] == pytest.approx(other["visibility"], abs=1e-3)
            points = [{p["name"]: p["visible"] for p in each["keypoints"]} for each in (one, other)]
            assert points[0] == points[1]


def test_export_writes_the_same_file(written: Path, tmp_path: Path) -> None:
    list(export(str(written / "dataset"), "coco", str(tmp_path / "out")))
    for name in ("annotations.json",):
        assert (tmp_path / "out" / name).read_bytes() == (written / "out" / name).read_bytes()
    assert not (tmp_path / "out" / "_parts").exists()


def test_polygons_and_numbered_runs_of_other_tools_are_kept(written: Path, tmp_path: Path) -> None:
    source = external(written, tmp_path, {"segmentation": [[1, 2, 9, 2, 9, 7]], "bbox": [1, 2, 8, 5]})
    (row,) = source.read(next(source.shards())).slice(0, 1).to_pylist()
    assert row["objects"][-1]["polygons"] == [[1, 2, 9, 2, 9, 7]]
    assert row["objects"][-1]["mask"] is None
    runs = {"size": [60, 80], "counts": [10, 60, 4730]}
    source = external(written, tmp_path, {"segmentation": runs, "bbox": [0, 0, 2, 60], "iscrowd": 1})
    (row,) = source.read(next(source.shards())).slice(0, 1).to_pylist()
    assert decode(**row["objects"][-1]["mask"]).sum() == 60
    assert row["objects"][-1]["crowd"] is True


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image_id": 99}, r"annotation 77 has image_id 99, which is not in the file"),
        ({"category_id": 99}, r"annotation 77 has category_id 99, which is not"),
        ({"segmentation": {"size": [60, 81], "counts": [4860]}}, r"mask has 81 x 60 px .* its image has 80 x 60"),
        ({"segmentation": {"size": [60, 80], "counts": [48]}}, r"runs over 48, its image has 80 x 60"),
        ({"bbox": [1, 2]}, r"annotation 77: bbox is \[1, 2\]"),
        ({"keypoints": [1]}, r"annotation 77: 1 numbers of keypoints"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused_before_the_run(
    written: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(RequestError, match=said):
        external(written, tmp_path, changes).columns()


def test_an_image_that_is_gone_costs_only_its_own_row(written: Path, tmp_path: Path) -> None:
    source = external(written, tmp_path, {}, path=str(tmp_path))
    errors = source.read(next(source.shards())).column("_error").to_pylist()
    assert errors == ["the file cannot be read: No such file or directory"] * 5


def external(written: Path, folder: Path, changes: dict[str, Any], path: str | None = None) -> ReadCoco:
    """Return the written file with one annotation more."""
    whole = json.loads((written / "out" / "annotations.json").read_text())
    one = {"id": 77, "image_id": 1, "category_id": whole["categories"][0]["id"], "bbox": [0, 0, 5, 5], "area": 25}
    whole["annotations"].append(one | changes)
    (folder / "other.json").write_text(json.dumps(whole))
    return ReadCoco(path=path or str(written / "out" / "images"), annotations=str(folder / "other.json"))
