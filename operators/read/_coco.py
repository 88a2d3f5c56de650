"""What a COCO file says, checked, in the form of the column `objects`."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from reinforced import run_length

from ._listing import open_path


@dataclass(frozen=True)
class Index:
    """The images in order of name, and the objects of each by its id."""

    sha256: str
    images: list[dict[str, Any]]
    objects: dict[int, list[dict[str, Any]]]


@functools.lru_cache(maxsize=1)
def read_index(path: str, version: str) -> Index:  # noqa: ARG001  # another version is another index
    """Read a file, once for all shards of a process. Raises: ValueError, KeyError, TypeError for what is not COCO."""
    fs, file = open_path(path)
    data = fs.cat_file(file)
    whole = json.loads(data)
    images = sorted(whole["images"], key=lambda image: image["file_name"])
    if twice := [key for key, count in Counter(stem(image["file_name"]) for image in images).items() if count > 1]:
        raise ValueError(f"two images are called '{twice[0]}'")
    sizes = {image["id"]: (image["width"], image["height"]) for image in images}
    categories = sorted(whole["categories"], key=lambda category: category["id"])
    labels = {category["id"]: (i, category) for i, category in enumerate(categories)}
    objects: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for one in whole["annotations"]:
        for name, known in (("image_id", sizes), ("category_id", labels)):
            if one[name] not in known:
                raise ValueError(f"annotation {one.get('id')} has {name} {one[name]}, which is not in the file")
        try:
            objects[one["image_id"]].append(_object(one, *labels[one["category_id"]], sizes[one["image_id"]]))
        except ValueError as error:
            raise ValueError(f"annotation {one.get('id')}: {error}") from error
    return Index(hashlib.sha256(data).hexdigest(), images, objects)


def _object(one: dict[str, Any], label: int, category: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    if len(one["bbox"]) != 4:
        raise ValueError(f"bbox is {one['bbox']}; it must be left, top, width, height")
    given = one.get("segmentation") or []
    values, names = one.get("keypoints") or [], category.get("keypoints") or []
    if values and len(values) != 3 * len(names):
        raise ValueError(f"{len(values)} numbers of keypoints; category '{category['name']}' has {len(names)} of them")
    points = zip(names, values[0::3], values[1::3], values[2::3], strict=True) if values else ()
    return {
        "label": label,
        "label_name": category["name"],
        "box": one["bbox"],
        "area": one.get("area"),
        "visibility": one.get("visibility"),
        "mask": _mask(given, size) if isinstance(given, dict) else None,
        "polygons": given if isinstance(given, list) and given else None,
        "keypoints": [dict(zip(("name", "x", "y", "visible"), point, strict=True)) for point in points],
        "crowd": bool(one.get("iscrowd", 0)),
    }


def _mask(given: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    (width, height), counts = size, given["counts"]
    text = counts if isinstance(counts, str) else run_length.pack(counts)
    if list(given["size"]) != [height, width] or run_length.covered(text) != width * height:
        raise ValueError(
            f"its mask has {given['size'][1]} x {given['size'][0]} px and runs over {run_length.covered(text)}, "
            f"its image has {width} x {height}"
        )
    return {"size": [height, width], "counts": text}


def stem(name: str) -> str:
    """Return a file's path without its suffix."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + (last.rpartition(".")[0] or last)
