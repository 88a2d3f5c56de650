"""The images of a dataset's samples, read from where the user has them instead of from the dataset itself."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reinforced.dataset import FILE, Dataset, open_dataset
from reinforced.errors import RequestError
from reinforced.storage import Storage

By = Literal["name", "sha256"]
_PLACE = pa.schema([("name", pa.string()), ("file", pa.string()), ("offset", pa.int64()), ("size", pa.int64())])


class OwnImages(Protocol):
    """Encoded images by the position of their shard in the dataset, in the order of its kept rows."""

    def read(self, shard: int) -> pa.Array:
        """Read the images of a shard's kept rows. Raises: RequestError naming shard and key for one that is gone."""
        ...


def open_images(path: str, dataset: Dataset, by: By = "name") -> OwnImages:
    """Find the images of a dataset's samples in a folder, in WebDataset tars (uncompressed), or in another dataset.

    by: `name` goes by the column `path` in folders and tars (`key` plus any suffix where there is none) and by `key` in
    a dataset; `sha256` by content, for which all files there are read once.
    Raises: RequestError naming shard and key if one is not there.
    """
    if Storage(path).exists(FILE):
        return _InDataset(path, dataset, by)
    return _InFiles(path, dataset, by)


class _InDataset:
    def __init__(self, path: str, dataset: Dataset, by: By) -> None:
        self.dataset, self.other = dataset, open_dataset(path)
        own = "key" if by == "name" else "sha256"
        tables = [self.other.read_shard(shard.name, [own]) for shard in self.other.shards]
        names = pa.concat_tables(tables).column(own) if tables else pa.chunked_array([], pa.string())
        self._ends = np.cumsum([table.num_rows for table in tables])
        self._rows = [_found(dataset, shard, _column(dataset, shard, own), names, path) for shard in _shards(dataset)]

    def read(self, shard: int) -> pa.Array:
        rows = self._rows[shard]
        places = np.searchsorted(self._ends, rows, side="right")
        images = pa.chunked_array([], pa.binary())
        order = np.argsort(places, kind="stable")
        for place in np.unique(places):
            here = rows[order][places[order] == place] - (self._ends[place - 1] if place else 0)
            column = (
                self.other.read_shard(self.other.shards[place].name, ["image"]).column("image").take(pa.array(here))
            )
            images = pa.chunked_array([*images.chunks, *column.chunks], pa.binary())
        found = images.take(pa.array(np.argsort(order, kind="stable"))).combine_chunks()
        return _checked(self.dataset, shard, found)


class _InFiles:
    def __init__(self, path: str, dataset: Dataset, by: By) -> None:
        import fsspec

        self.dataset = dataset
        self._fs, root = fsspec.core.url_to_fs(path)
        exact = by == "sha256" or "path" in dataset.schema.names
        own = "sha256" if by == "sha256" else "path" if exact else "key"
        listed = [(n if exact else n.rpartition(".")[0], *rest) for n, *rest in _listed(self._fs, root, path)]
        places = (
            pa.table([pa.array(c) for c in zip(*listed, strict=True)], schema=_PLACE)
            if listed
            else _PLACE.empty_table()
        )
        names = pa.chunked_array([self._hashes(places)]) if by == "sha256" else places.column("name")
        self._places = [
            places.take(pa.array(_found(dataset, shard, _column(dataset, shard, own), names, path)))
            for shard in _shards(dataset)
        ]

    def read(self, shard: int) -> pa.Array:
        return _checked(self.dataset, shard, self._bytes(self._places[shard]))

    def _bytes(self, places: pa.Table) -> pa.Array:
        files, offsets = places.column("file").to_pylist(), places.column("offset").to_numpy()
        ends = offsets + places.column("size").to_numpy()
        found = self._fs.cat_ranges(files, offsets.tolist(), ends.tolist(), on_error="return") if files else []
        return pa.array([one if isinstance(one, bytes) else None for one in found], pa.binary())

    def _hashes(self, places: pa.Table) -> pa.Array:
        parts = (self._bytes(places.slice(start, 256)) for start in range(0, len(places), 256))
        return pa.array([_sha256(image.as_py()) for part in parts for image in part], pa.string())


def _listed(fs: Any, root: str, path: str) -> Iterator[tuple[str, str, int, int]]:
    """Yield (name, file, first byte, size) of every file of a folder, or of every member if it holds tars."""
    files = list(_walk(root, "")) if "local" in fs.protocol else _find(fs, root)
    if not files:
        raise RequestError(f"images '{path}' holds no file; give a folder of images, of tars, or a dataset")
    tars = [file for file in files if file[0].endswith(".tar")]
    if not tars:
        yield from files
    for _, file, _, _ in tars:
        try:
            with fs.open(file, "rb") as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
                yield from ((info.name, file, info.offset_data, info.size) for info in archive if info.isfile())
        except tarfile.TarError as error:
            raise RequestError(f"images: {file} is no tar that can be read from its middle: {error}") from error


def _find(fs: Any, root: str) -> list[tuple[str, str, int, int]]:
    found = fs.find(root, detail=True)
    return [(n.removeprefix(root).lstrip("/") or n.rpartition("/")[2], n, 0, i["size"]) for n, i in found.items()]


def _walk(folder: str, below: str) -> Iterator[tuple[str, str, int, int]]:
    """List local files as `_find` does, many times as fast."""
    if (file := Path(folder)).is_file():
        yield file.name, folder, 0, file.stat().st_size
    if not file.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, f"{below}{entry.name}/")
            else:
                yield f"{below}{entry.name}", entry.path, 0, entry.stat().st_size


def _shards(dataset: Dataset) -> range:
    return range(len(dataset.shards))


def _column(dataset: Dataset, shard: int, name: str) -> pa.ChunkedArray:
    return dataset.read_shard(dataset.shards[shard].name, [name]).column(name)


def _found(
    dataset: Dataset, shard: int, wanted: pa.ChunkedArray, names: pa.ChunkedArray, path: str
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return where the wanted names stand among the names that are there."""
    places = pc.index_in(wanted, value_set=names.combine_chunks())
    if places.null_count:
        row = places.is_null().to_pylist().index(True)
        raise RequestError(_about(dataset, shard, row, f"its image '{wanted[row]}' is not in '{path}'"))
    return places.to_numpy().astype(np.int64)  # type: ignore[no-any-return]


def _checked(dataset: Dataset, shard: int, images: pa.Array) -> pa.Array:
    """Return the images if each could be read and has the hash that the dataset has of it."""
    hashes: Sequence[str | None] = [None] * len(images)
    if "sha256" in dataset.schema.names:
        hashes = _column(dataset, shard, "sha256").to_pylist()
    for row, (image, expected) in enumerate(zip(images, hashes, strict=True)):
        content = image.as_buffer()
        if content is None:
            raise RequestError(_about(dataset, shard, row, "its image cannot be read; was the file moved?"))
        if expected is not None and (found := _sha256(content)) != expected:
            message = f"its image has SHA-256 {found}, the dataset was made from {expected}: the file has changed"
            raise RequestError(_about(dataset, shard, row, message))
    return images


def _about(dataset: Dataset, shard: int, row: int, message: str) -> str:
    return f"shard {dataset.shards[shard].name}, sample {_column(dataset, shard, 'key')[row]}: {message}"


def _sha256(content: Any) -> str:
    return hashlib.sha256(content or b"").hexdigest()
