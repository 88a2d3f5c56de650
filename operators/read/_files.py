"""Reading a source's files: what cannot be read says why, and nothing outside the folder is opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._listing import Found

MAX_FILE_BYTES = 2**31 - 1
"""Largest value of an Arrow binary column."""


def read_files(fs: Any, folder: str, names: Sequence[str], sizes: Sequence[int]) -> list[bytes | str]:
    """Read files of a folder, many at a time where the storage is far away: the bytes, or why there are none."""
    from fsspec.implementations.local import LocalFileSystem

    found: list[bytes | str] = [""] * len(names)
    wanted = []
    for i, (name, size) in enumerate(zip(names, sizes, strict=True)):
        found[i] = refusal(fs, folder, f"{folder}/{name}") or ""
        if size > MAX_FILE_BYTES:
            found[i] = f"the file has {size:,} bytes, more than the {MAX_FILE_BYTES:,} that a row can hold"
        if not found[i]:
            wanted.append(i)
    wanted_paths = [f"{folder}/{names[i]}" for i in wanted]
    contents: list[bytes | Exception]
    if isinstance(fs, LocalFileSystem):
        contents = [_read(path) for path in wanted_paths]
    else:
        contents = fs.cat_ranges(wanted_paths, None, None, on_error="return")
    for i, content in zip(wanted, contents, strict=True):
        if not isinstance(content, Exception):
            found[i] = content
        elif isinstance(content, OSError) and not isinstance(content, (TimeoutError, ConnectionError)):
            found[i] = f"the file cannot be read: {content.strerror or content}"
        else:
            raise content  # a connection that failed says nothing about the row: the shard is tried again
    return found


def _read(path: str) -> bytes | Exception:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        return error


def _is_plain(path: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def refusal(fs: Any, folder: str, path: str) -> str | None:
    """Say why a file is not to be opened: it leads out of its folder, or opening it could block; None if it may be."""
    from fsspec.implementations.local import LocalFileSystem

    if not isinstance(fs, LocalFileSystem):
        return None
    if path.rpartition("/")[0] == folder and _is_plain(path):
        return None  # nothing between the folder and the file can lead elsewhere
    if not os.path.realpath(path).startswith(os.path.join(os.path.realpath(folder), "")):  # noqa: PTH118
        return "is a link that leaves the folder"
    if os.path.lexists(path) and os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113
        return "is not a regular file"
    return None


def cut(files: list[Found], rows: int, size: int) -> Iterator[list[Found]]:
    """Yield runs of at most so many files and bytes, at least one file each."""
    part: list[Found] = []
    total = 0
    for file in files:
        if part and (len(part) == rows or total + file.size > size):
            yield part
            part, total = [], 0
        part.append(file)
        total += file.size
    yield part
