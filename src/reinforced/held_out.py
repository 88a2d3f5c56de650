"""What samples are held against: hashes or embeddings of another dataset, or hashes from a file, with their keys."""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from reinforced.dataset import Dataset, open_dataset
from reinforced.errors import nearest
from reinforced.images import ImageError, Pixels, decode

THUMBNAIL_PX = 128


@dataclass(frozen=True)
class HeldOut:
    """Keys and the values of one column, in the order of the keys."""

    keys: Sequence[str]
    values: pa.ChunkedArray
    dataset: Dataset | None = None
    """Where the images are, if it is a dataset that has them."""
    _recent: dict[str, pa.Table] = field(default_factory=dict, compare=False, repr=False)
    """The shard that an image was last taken from."""

    def image(self, key: str) -> bytes | None:
        """Return the encoded image of a key, if there is one."""
        place = self._places.get(key)
        if place is None or self.dataset is None:
            return None
        shard, row = place
        if shard not in self._recent:
            self._recent.clear()
            self._recent[shard] = self.dataset.read_shard(shard, ["image"])
        return self._recent[shard].column("image")[row].as_py()  # type: ignore[no-any-return]

    @functools.cached_property
    def _places(self) -> dict[str, tuple[str, int]]:
        if self.dataset is None or "image" not in self.dataset.schema.names:
            return {}
        keys = (
            (s.name, self.dataset.read_shard(s.name, ["key"]).column("key").to_pylist()) for s in self.dataset.shards
        )
        return {key: (shard, row) for shard, found in keys for row, key in enumerate(found)}


def read_held_out(path: str, column: str) -> HeldOut:
    """Read a column with its keys from a dataset, a Parquet file, or a text file of lines `HEXADECIMAL-HASH [key]`.

    Raises: ValueError that says what is not there and how to make it.
    """
    dataset = None
    if path.endswith((".parquet", ".txt")):
        table = _read_text(path) if path.endswith(".txt") else _read_parquet(path, column)
        table = table.rename_columns(["key", column])
    else:
        dataset = open_dataset(path)
        if column not in dataset.schema.names:
            raise ValueError(
                f"dataset {path} has no column '{column}'{nearest(column, dataset.schema.names)}; add it with a "
                f"pipeline that has source: {{op: read.dataset, path: {path}}}, out: {path} and the step that makes it"
            )
        table = dataset.to_arrow(columns=["key", column])
    table = table.filter(table.column(column).is_valid()).sort_by("key")
    return HeldOut(table.column("key").to_pylist(), table.column(column), dataset)


def digest(path: str, column: str) -> str:
    """Return a digest of what `read_held_out` reads."""
    if path.endswith((".parquet", ".txt")):
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    dataset = open_dataset(path)
    layers = {dataset.column_layers().get(column, "samples"), "verdicts"}
    files = [(s.name, [s.files[layer][1] for layer in sorted(layers & s.files.keys())]) for s in dataset.shards]
    return hashlib.sha256(repr(sorted(files)).encode()).hexdigest()


def _read_parquet(path: str, column: str) -> pa.Table:
    table = pq.read_table(path)
    if column not in table.column_names:
        raise ValueError(f"{path} has no column '{column}'{nearest(column, table.column_names)}")
    keys = table.column("key") if "key" in table.column_names else [f"row {i}" for i in range(len(table))]
    return pa.table([keys, table.column(column)], ["key", column])


def _read_text(path: str) -> pa.Table:
    keys, hashes = [], []
    for number, line in enumerate(Path(path).read_text("utf-8").splitlines(), 1):
        digits, _, key = line.strip().partition(" ")
        if not digits:
            continue
        try:
            whole = int(digits, 16)
        except ValueError:
            raise ValueError(f"{path}, line {number}: '{digits[:40]}' is no hash in hexadecimal digits") from None
        if len(digits) not in (16, 64):
            raise ValueError(f"{path}, line {number}: a hash has 16 or 64 hexadecimal digits, got {len(digits)}")
        hashes.append([whole >> shift & 0xFFFFFFFFFFFFFFFF for shift in range(0, 4 * len(digits), 64)])
        keys.append(key.strip() or digits)
    if len({len(words) for words in hashes}) > 1:
        raise ValueError(f"{path} has hashes of 64 and of 256 bits; keep them in files of their own")
    one = not hashes or len(hashes[0]) == 1
    values = (
        pa.array([words[0] for words in hashes], pa.uint64()) if one else pa.array(hashes, pa.list_(pa.uint64(), 4))
    )
    return pa.table([pa.array(keys, pa.string()), values], ["key", "hash"])


def side_by_side(images: Sequence[bytes | None]) -> bytes | None:
    """Return a small JPEG of pictures side by side, those that are not there or do not decode left out."""
    from PIL import Image

    small = []
    for data in images:
        try:
            picture = Image.fromarray(_decoded(data))
        except ImageError:
            continue
        picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
        small.append(picture)
    if not small:
        return None
    page = Image.new("RGB", (sum(p.width for p in small) + 4 * (len(small) - 1), max(p.height for p in small)), "white")
    left = 0
    for picture in small:
        page.paste(picture, (left, 0))
        left += picture.width + 4
    buffer = io.BytesIO()
    page.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _decoded(data: bytes | None) -> Pixels:
    if data is None:
        raise ImageError("the row has no image")
    return decode(data)


def best_matches(
    queries: npt.NDArray[Any], values: npt.NDArray[Any], distance: Any, rows: int = 1 << 13
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return for each query the row of `values` at the least distance, the first of equals, and that distance.

    distance: a function of (queries, some values) that returns (queries, values).
    """
    least, best = np.full(len(queries), np.inf), np.full(len(queries), -1)
    for start in range(0, len(values), rows):
        found = distance(queries, values[start : start + rows])
        place = found.argmin(1)
        here = np.take_along_axis(found, place[:, None], 1)[:, 0]
        better = here < least
        least[better], best[better] = here[better], start + place[better]
    return best, least
