"""COCO: images in a folder, one JSON file of their objects."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import Field

from reinforced.dataset import Dataset
from reinforced.images import measure
from reinforced.operator import Sink
from reinforced.storage import Storage

from ._names import file_name, image_extension

FILE, PARTS = "annotations.json", "_parts"


class WriteCoco(Sink):
    """Writes images as `<path>/images/<key>.<suffix>` and their `objects` as `<path>/annotations.json` in COCO's form.

    The file has images, annotations and categories, and loads in `pycocotools.coco.COCO`. A category's id is its label
    plus one; its keypoints are all points that objects of it have, in order of name, v = 0 where an object lacks one.
    Annotations carry COCO's fields and `visibility`. A slash in a key becomes `%2F`.
    """

    reads: ClassVar = ("key", "image", "objects")
    examples: ClassVar = ()

    path: Annotated[str, Field(min_length=1, description="Folder to write into: a local path or an fsspec URL.")]

    def write(self, shard: str, table: pa.Table) -> list[str]:
        """Write the images of one shard, and its part of the file."""
        storage = Storage(self.path)
        part: list[dict[str, Any]] = []
        wanted = [name for name in ("key", "image", "path", "objects") if name in table.column_names]
        for row in table.select(wanted).to_pylist():
            if row["image"] is not None:
                name = f"{file_name(row['key'])}.{image_extension(row['image'], row.get('path'))}"
                storage.write(f"images/{name}", row["image"])
                width, height = measure(row["image"])
                image = {"file_name": name, "width": width, "height": height}
                part.append({"image": image, "objects": row["objects"] or []})
        storage.write(f"{PARTS}/{shard}.json", json.dumps(part).encode())
        return [storage.full(f"images/{row['image']['file_name']}") for row in part]

    def finish(self, dataset: Dataset) -> None:
        """Put the parts together, ids counted from 1 in order of shards."""
        storage = Storage(self.path)
        rows = [row for shard in dataset.shards for row in json.loads(storage.read(f"{PARTS}/{shard.name}.json"))]
        categories = _categories(one for row in rows for one in row["objects"])
        points = {category["id"]: category.get("keypoints", []) for category in categories}
        images = [{"id": i, **row["image"]} for i, row in enumerate(rows, start=1)]
        objects = ((i, one) for i, row in enumerate(rows, start=1) for one in row["objects"])
        annotations = [
            {"id": n, "image_id": image, **_annotation(one, points[one["label"] + 1])}
            for n, (image, one) in enumerate(objects, start=1)
        ]
        whole: dict[str, Any] = {"info": {"description": dataset.name}, "licenses": []}
        whole |= {"images": images, "annotations": annotations, "categories": categories}
        storage.write(FILE, json.dumps(whole).encode())
        storage.remove(PARTS)


def _categories(objects: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    names: dict[int, str] = {}
    points: dict[int, set[str]] = {}
    for one in objects:
        label = one["label"]
        names.setdefault(label, one["label_name"] or str(label))
        points.setdefault(label, set()).update(point["name"] for point in one["keypoints"] or [])
    return [
        {"id": label + 1, "name": name, "supercategory": ""}
        | ({"keypoints": sorted(points[label]), "skeleton": []} if points[label] else {})
        for label, name in sorted(names.items())
    ]


def _annotation(one: dict[str, Any], names: list[str]) -> dict[str, Any]:
    box = [_number(value) for value in one["box"]]
    area = box[2] * box[3] if one["area"] is None else one["area"]
    found = {"category_id": one["label"] + 1, "bbox": box, "area": _number(area), "iscrowd": int(bool(one["crowd"]))}
    if one["mask"] or one["polygons"]:
        found["segmentation"] = one["mask"] or [[_number(value) for value in line] for line in one["polygons"]]
    if names:
        points = {point["name"]: point for point in one["keypoints"] or []}
        found["keypoints"] = list(_flat(points, names))
        found["num_keypoints"] = sum(point["visible"] > 0 for point in points.values())
    if one["visibility"] is not None:
        found["visibility"] = _number(one["visibility"])
    return found


def _flat(points: dict[str, dict[str, Any]], names: list[str]) -> Iterator[float]:
    for name in names:
        point = points.get(name, {"x": 0, "y": 0, "visible": 0})
        yield from (_number(point["x"]), _number(point["y"]), point["visible"])


def _number(value: float) -> float:
    """Round to a thousandth: what is stored has 24 bits, and COCO's own files two decimals."""
    assert math.isfinite(value)
    rounded = round(value, 3)
    return int(rounded) if rounded == int(rounded) else rounded
