"""WebDataset tars, every member of every sample kept."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import Field

from reinforced import columns
from reinforced.errors import RequestError
from reinforced.operator import ShardSpec, Source

from ._listing import IMAGE_SUFFIXES, find_files, open_path
from ._tar import TarSample, read_samples

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
LOOK_AHEAD = 100
"""Samples of the first tar from which the columns are taken."""


class ReadWebDataset(Source):
    """Reads WebDataset tars, one shard a tar, and keeps each member's bytes untouched.

    The first of jpg, jpeg, png, webp, gif, bmp, tif and tiff that a sample has becomes `image`, and `path` its member
    name; every other extension becomes a binary column of that name, `cls` also the column `label` where it is a whole
    number. An extension that is called like a column of the samples layer gets a dot before its name (`.key`). The
    columns are those of the first tar's first 100 samples, or `extensions`; a row with another extension fails, so that
    nothing is lost silently. `%2E`, `%2F` and `%00` in member names stand for dots, slashes and NUL in the key, as
    `write.webdataset` writes them. A cut tar costs the rows after the cut, one failed row naming it.
    """

    examples: ClassVar = ()

    path: Annotated[
        str,
        Field(min_length=1, description="A tar, a folder of tars, or a glob or brace pattern; local or an fsspec URL."),
    ]
    extensions: Annotated[
        list[str] | None,
        Field(description="Extensions that become binary columns, such as [json, txt, seg.png]; default: a look."),
    ] = None

    def columns(self) -> pa.Schema:
        """Return the columns, from `extensions` or a look at the first tar."""
        names = self._extensions()
        label = ["label"] if "cls" in names else []
        added = [
            columns.column(_column(name), "binary", f"Bytes of the sample's member with the extension {name}.")
            for name in names
        ]
        return columns.resolve(["key", "image", "path", *label, *added])

    def shards(self) -> Iterator[ShardSpec]:
        """Yield every tar with its size and time of modification, and the extensions that become columns."""
        names = self._extensions()
        for file in find_files(self.name(), self.path, TAR_SUFFIXES):
            yield {"tar": file.path, "size": file.size, "modified": file.modified, "extensions": names}

    def read(self, shard: ShardSpec) -> pa.Table:
        """Read one tar; raises OSError if it cannot be opened."""
        fs, _ = open_path(self.path)
        names = shard["extensions"]
        with fs.open(shard["tar"], "rb") as stream:
            samples = read_samples(stream, shard["tar"].rpartition("/")[2])
            rows = [_row(sample, names) for sample in samples]
        added = [pa.field(_column(name), pa.binary()) for name in names]
        label = ["label"] if "cls" in names else []
        schema = columns.resolve(["key", "image", "path", *label, *added, pa.field("_error", pa.string())])
        return pa.table({name: [row.get(name) for row in rows] for name in schema.names}, schema=schema)

    def _extensions(self) -> list[str]:
        if self.extensions is not None:
            return sorted(set(self.extensions))
        fs, _ = open_path(self.path)
        first = find_files(self.name(), self.path, TAR_SUFFIXES)[0]
        with fs.open(first.path, "rb") as stream:
            samples = list(itertools.islice(read_samples(stream, first.name), LOOK_AHEAD))
        if not any(sample.members for sample in samples):
            reason = next((sample.error for sample in samples), "it holds no files")
            raise RequestError(f"{self.name()}: '{first.path}' has no sample: {reason}")
        return sorted({name for sample in samples for name in _others(sample.members, _image(sample.members, ()))})


def _column(extension: str) -> str:
    clash = extension in columns.layer_schemas()["samples"].fields or extension.startswith((".", "_"))
    return f".{extension}" if clash else extension


def _image(members: Iterable[str], names: Iterable[str]) -> str | None:
    """Return the extension of the sample's image; one that has a column of its own is none."""
    candidates = [name for name in members if name.lower() in IMAGE_SUFFIXES and name not in names]
    return min(candidates, key=lambda name: (IMAGE_SUFFIXES.index(name.lower()), name), default=None)


def _others(members: Iterable[str], image: str | None) -> list[str]:
    return [name for name in members if name != image]


def _row(sample: TarSample, names: list[str]) -> dict[str, Any]:
    image = _image(sample.members, names)
    unforeseen = [name for name in _others(sample.members, image) if name not in names]
    if sample.error is None and unforeseen:
        sample.error = (
            f"the sample has the extension '{unforeseen[0]}', which is no column: the first samples have "
            f"none; name all of them in the parameter extensions, such as [{', '.join(sorted({*names, *unforeseen}))}]"
        )
    if sample.error is not None:
        return {"key": sample.key, "_error": sample.error}
    row: dict[str, Any] = {_column(name): sample.members[name][1] for name in names if name in sample.members}
    if "cls" in sample.members and re.fullmatch(rb"\s*-?\d{1,9}\s*", sample.members["cls"][1]):
        row["label"] = int(sample.members["cls"][1])
    path, content = sample.members[image] if image is not None else (None, None)
    return {"key": sample.key, "image": content, "path": path} | row
