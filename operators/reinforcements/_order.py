"""The index of an image: its place in torchvision's ImageFolder, which published reinforcements are numbered by."""

from __future__ import annotations

import hashlib
from pathlib import Path

from reinforced.dataset import Dataset, open_dataset
from reinforced.errors import RequestError


def image_order(order: str) -> dict[str, int]:
    """Return the index of each path: its line in a text file, or its place in a dataset's `path` column, sorted.

    A dataset's paths are sorted as ImageFolder does: by class folder, then folder, then file name. Rows that were
    dropped from it later count. Raises: RequestError when a dataset has no column `path`, or paths are double.
    """
    if Path(order).is_file():
        paths = Path(order).read_text("utf-8").splitlines()
    else:
        dataset, layer = _paths_of(order)
        tables = [dataset.read(layer, shard.name, ["path"]) for shard in dataset.shards]
        paths = sorted((path for t in tables for path in t.column("path").to_pylist() if path), key=_imagefolder)
    index = {path: i for i, path in enumerate(paths)}
    if len(index) != len(paths):
        raise RequestError(f"order {order} has a path more than once, so its images have no index of their own")
    return index


def order_signature(order: str) -> str:
    """Return a hash of what decides the order."""
    if Path(order).is_file():
        return hashlib.sha256(Path(order).read_bytes()).hexdigest()
    dataset, layer = _paths_of(order)
    return hashlib.sha256("\n".join(shard.files[layer][1] for shard in dataset.shards).encode()).hexdigest()


def _paths_of(order: str) -> tuple[Dataset, str]:
    dataset = open_dataset(order)
    homes = dataset.column_layers()
    if "path" not in homes:
        raise RequestError(
            f"{order} has no column 'path' to order its images by; name a column that holds each one's index "
            "(key_column), or give a text file of paths (order)"
        )
    return dataset, homes["path"]


def _imagefolder(path: str) -> tuple[str, str, str]:
    folder, _, name = path.rpartition("/")
    return path.split("/", 1)[0], folder, name
