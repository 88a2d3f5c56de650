"""WebDataset tars: one a shard, the same rows always the same bytes."""

from __future__ import annotations

import base64
import io
import json
import math
import tarfile
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import pyarrow as pa
import pyarrow.types as types
from pydantic import Field

from reinforced.operator import Sink
from reinforced.storage import Storage

from ._names import image_extension, member_stem

FOLLOWING = ("path", "width", "height", "sha256")
"""Columns that follow from the members: they do not make a json member by themselves."""


class WriteWebDataset(Sink):
    """Writes each shard as `<path>/<shard>.tar`, with no time or owner in it, so equal rows give equal bytes.

    Binary columns go out untouched, one member each with the column's name as extension (less a leading dot); the
    image as the suffix of its `path` if that fits the bytes, else by their format. All other columns go into a `json`
    member, into `columns.json` where `json` is such a binary column. No json is made for path, width, height and sha256
    alone, nor for a label beside `cls`: what `read.webdataset` gave comes out as the same members. Dots in keys are
    written as `%2E`, because WebDataset ends the key at the first dot; see `read.webdataset`, which undoes it.
    """

    reads: ClassVar = ("key",)
    examples: ClassVar = ()

    path: Annotated[str, Field(min_length=1, description="Folder for the tars: a local path or an fsspec URL.")]
    leave_out: Annotated[
        tuple[str, ...], Field(description="Columns to leave out, such as embeddings, which are long as JSON.")
    ] = ()

    def check(self, available: pa.Schema) -> None:
        """Raise ValueError if a column's name cannot be an extension, or one to leave out is not there."""
        if absent := [name for name in self.leave_out if name not in available.names or name in ("key", "image")]:
            raise ValueError(f"leave_out names {absent}: neither key nor image, but columns that are there")
        for name in _extensions(available):
            if not name or "/" in name or "\0" in name:
                raise ValueError(f"binary column '{name}' cannot be the extension of a tar member; rename it")
        _json_extension(pa.schema([field for field in available if field.name not in self.leave_out]))

    def write(self, shard: str, table: pa.Table) -> list[str]:
        """Write one tar; raises ValueError if two members of a sample would have the same name."""
        table = table.drop_columns(list(self.leave_out))
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8") as archive:
            for name, content in _members(table):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        storage = Storage(self.path)
        storage.write(f"{shard}.tar", buffer.getbuffer())
        return [storage.full(f"{shard}.tar")]


def _members(table: pa.Table) -> Iterator[tuple[str, bytes]]:
    extensions = _extensions(table.schema)
    described = [name for name in _described(table.schema) if name in table.column_names]
    json_extension = _json_extension(table.schema)
    for batch in table.to_batches(max_chunksize=64):
        for row in batch.to_pylist():
            members = {e: row[column] for e, column in extensions.items() if row[column] is not None}
            stem = member_stem(row["key"], row.get("path"))
            if row.get("image") is not None:
                image = image_extension(row["image"], row.get("path"), members)
                if image in members:
                    raise ValueError(f"key '{row['key']}': image and column would both be '{stem}.{image}'; rename it")
                members = {image: row["image"]} | members
            if json_extension or not members:  # a row with nothing in it is still a row
                values = {name: _plain(row[name]) for name in described}
                members[json_extension or "json"] = json.dumps(values, ensure_ascii=False).encode()
            yield from ((f"{stem}.{extension}", content) for extension, content in members.items())


def _extensions(schema: pa.Schema) -> dict[str, str]:
    """Return the column of each extension: the binary ones except the image."""
    binary = [f.name for f in schema if types.is_binary(f.type) or types.is_large_binary(f.type)]
    return {name.removeprefix("."): name for name in binary if name != "image"}


def _described(schema: pa.Schema) -> list[str]:
    """Return the columns that go into the json member."""
    extensions = _extensions(schema)
    gone = {"key", "image", *extensions.values(), *(["label"] if "cls" in extensions else [])}
    return [name for name in schema.names if name not in gone]


def _json_extension(schema: pa.Schema) -> str | None:
    extensions = _extensions(schema)
    if all(name in FOLLOWING for name in _described(schema)):
        return None
    free = [name for name in ("json", "columns.json") if name not in extensions]
    if not free:
        raise ValueError("the members json and columns.json are both taken by binary columns; drop or rename one")
    return free[0]


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: bytes as base64, NaN and infinities as null, times as text."""
    match value:
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case bytes():
            return base64.b64encode(value).decode()
        case None | str() | bool() | int():
            return value
        case _ if hasattr(value, "__float__"):
            return float(value) if math.isfinite(value) else None
    return str(value)
