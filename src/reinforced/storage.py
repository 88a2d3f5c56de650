"""Files of a dataset, on local disk or at an fsspec URL: a file appears whole or not at all."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

TEMPORARY = ".tmp-"


@dataclass(frozen=True)
class Written:
    """A file that was written: enough to find out later whether it is still the same."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Storage:
    """A folder at `url`; paths given to its methods are relative to it."""

    url: str

    @functools.cached_property
    def local(self) -> Path | None:
        """The folder as a path, if it is on local disk."""
        if "://" in self.url and not self.url.startswith("file://"):
            return None
        return Path(self.url.removeprefix("file://")).absolute()

    @functools.cached_property
    def _remote(self) -> tuple[Any, str]:
        import fsspec

        fs, root = fsspec.core.url_to_fs(self.url)
        return fs, root

    def full(self, path: str) -> str:
        """Return the whole name of a file, as a person or another tool would open it."""
        return str(self.local / path) if self.local else f"{self.url.rstrip('/')}/{path}"

    def read(self, path: str) -> bytes:
        """Read a file. Raises FileNotFoundError."""
        if self.local:
            return (self.local / path).read_bytes()
        fs, root = self._remote
        fs.invalidate_cache()
        return fs.cat_file(f"{root}/{path}")  # type: ignore[no-any-return]

    def read_many(self, paths: Sequence[str]) -> list[bytes]:
        """Read several files, at once where the storage is far away."""
        if self.local or not paths:
            return [self.read(path) for path in paths]
        fs, root = self._remote
        found = fs.cat([f"{root}/{path}" for path in paths])
        return [found[f"{root}/{path}"] for path in paths]

    def write(self, path: str, data: bytes | memoryview) -> Written:
        """Write a file so that readers see all of it or nothing, replacing what was there."""
        if self.local:
            target = self.local / path
            beside = target.with_name(f"{TEMPORARY}{uuid.uuid4().hex}-{target.name}")
            try:
                beside.write_bytes(data)
            except FileNotFoundError:
                target.parent.mkdir(parents=True, exist_ok=True)
                beside.write_bytes(data)
            beside.replace(target)
        else:
            fs, root = self._remote
            fs.pipe_file(f"{root}/{path}", bytes(data))
        return Written(len(data), hashlib.sha256(data).hexdigest())

    def create(self, path: str, data: bytes) -> bool:
        """Write a file only if there is none; returns whether this call made it."""
        if self.local:
            target = self.local / path
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with target.open("xb") as file:
                    file.write(data)
            except FileExistsError:
                return False
            return True
        fs, root = self._remote
        try:
            fs.pipe_file(f"{root}/{path}", data, mode="create")
        except FileExistsError:
            return False
        return True

    def exists(self, path: str) -> bool:
        """Return whether the file or folder is there."""
        if self.local:
            return (self.local / path).exists()
        fs, root = self._remote
        fs.invalidate_cache()
        return bool(fs.exists(f"{root}/{path}"))

    def listing(self, folder: str) -> dict[str, int]:
        """Return the sizes in bytes of the files directly in a folder, by name; empty if it is not there."""
        if self.local:
            try:
                with os.scandir(self.local / folder) as entries:
                    return {e.name: e.stat().st_size for e in entries if e.is_file()}
            except FileNotFoundError:
                return {}
        fs, root = self._remote
        fs.invalidate_cache()
        try:
            found = fs.ls(f"{root}/{folder}", detail=True)
        except FileNotFoundError:
            return {}
        return {e["name"].rpartition("/")[2]: e["size"] for e in found if e["type"] == "file"}

    def folders(self, folder: str = "") -> list[str]:
        """Return the names of the folders directly in a folder, sorted."""
        if self.local:
            base = self.local / folder
            return sorted(p.name for p in base.iterdir() if p.is_dir()) if base.is_dir() else []
        fs, root = self._remote
        fs.invalidate_cache()
        try:
            found = fs.ls(f"{root}/{folder}".rstrip("/"), detail=True)
        except FileNotFoundError:
            return []
        return sorted(e["name"].rstrip("/").rpartition("/")[2] for e in found if e["type"] == "directory")

    def move(self, source: str, target: str) -> None:
        """Put a file in another's place (renamed on disk, copied on object stores)."""
        if self.local:
            (self.local / target).parent.mkdir(parents=True, exist_ok=True)
            (self.local / source).replace(self.local / target)
            return
        fs, root = self._remote
        fs.copy(f"{root}/{source}", f"{root}/{target}")
        fs.rm_file(f"{root}/{source}")

    def remove(self, path: str) -> None:
        """Remove a file or a folder with all that is in it; not being there is fine."""
        if self.local:
            import shutil

            target = self.local / path
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
            return
        fs, root = self._remote
        fs.invalidate_cache()
        if fs.exists(f"{root}/{path}"):
            fs.rm(f"{root}/{path}", recursive=True)

    def read_table(self, path: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a Parquet file, or some of its columns."""
        wanted = list(columns) if columns is not None else None
        if self.local:
            with pa.OSFile(self.full(path)) as file:
                return pq.read_table(file, columns=wanted)
        fs, root = self._remote
        with fs.open(f"{root}/{path}", "rb") as file:
            return pq.read_table(file, columns=wanted)

    def read_rows(self, path: str, parts: Sequence[tuple[range, Sequence[str]]]) -> tuple[list[pa.Table], int]:
        """Read parts of a Parquet file, each some rows of some columns, and count all its rows.

        Only the row groups that hold the rows are read.
        """
        if self.local:
            with pa.OSFile(self.full(path)) as file:
                return _read_rows(file, parts, far=False)
        fs, root = self._remote
        with fs.open(f"{root}/{path}", "rb", cache_type="none") as file:  # what fsspec reads ahead would be thrown away
            return _read_rows(file, parts, far=True)

    def read_schema(self, path: str) -> pa.Schema:
        """Read a Parquet file's schema with its metadata, nothing else."""
        if self.local:
            return pq.read_schema(self.full(path))
        fs, root = self._remote
        with fs.open(f"{root}/{path}", "rb") as file:
            return pq.read_schema(file)

    def write_table(self, path: str, table: pa.Table, **options: Any) -> Written:
        """Write a table as Parquet: the same rows give the same bytes (zstd, images stored as they are)."""
        buffer = pa.BufferOutputStream()
        compression: Any = {name: "none" if name == "image" else "zstd" for name in table.column_names}
        settings = {"compression": compression, "row_group_size": 1024, "write_page_index": True} | options
        pq.write_table(table, buffer, **settings)
        return self.write(path, memoryview(buffer.getvalue()))

    def clean(self, folders: Sequence[str]) -> None:
        """Remove the half-written files that a killed process left in these folders."""
        if self.local:
            for folder in folders:
                for name in self.listing(folder):
                    if name.startswith(TEMPORARY):
                        (self.local / folder / name).unlink(missing_ok=True)


def _read_rows(file: Any, parts: Sequence[tuple[range, Sequence[str]]], far: bool) -> tuple[list[pa.Table], int]:
    parquet = pq.ParquetFile(file, pre_buffer=far)  # one request for neighbouring columns
    metadata = parquet.metadata
    sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    ends = list(itertools.accumulate(sizes))
    tables = []
    for rows, columns in parts:
        groups = [i for i, end in enumerate(ends) if end > rows.start and end - sizes[i] < rows.stop]
        table = parquet.read_row_groups(groups, columns=list(columns), use_threads=False)
        skipped = rows.start - (ends[groups[0]] - sizes[groups[0]]) if groups else 0
        tables.append(table.slice(skipped, len(rows)))
    return tables, metadata.num_rows
