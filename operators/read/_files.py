"""Reading a source's files: what cannot be read says why, and nothing outside the folder is opened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

MAX_FILE_BYTES = 2**31 - 1
"""Largest value of an Arrow binary column."""


def read_files(fs: Any, folder: str, names: Sequence[str], sizes: Sequence[int]) -> list[bytes | str]:
    """Read files of a folder, many at a time where the storage is far away: the bytes, or why there are none."""
    found: list[bytes | str] = [""] * len(names)
    wanted = []
    for i, (name, size) in enumerate(zip(names, sizes, strict=True)):
        found[i] = refusal(fs, folder, f"{folder}/{name}") or ""
        if size > MAX_FILE_BYTES:
            found[i] = f"the file has {size:,} bytes, more than the {MAX_FILE_BYTES:,} that a row can hold"
        if not found[i]:
            wanted.append(i)
    contents = fs.cat_ranges([f"{folder}/{names[i]}" for i in wanted], None, None, on_error="return")
    for i, content in zip(wanted, contents, strict=True):
        if isinstance(content, Exception):
            # A connection that failed says nothing about the row: the shard is tried again.
            if not isinstance(content, OSError) or isinstance(content, (TimeoutError, ConnectionError)):
                raise content
            content = f"the file cannot be read: {content.strerror or content}"
        found[i] = content
    return found


def refusal(fs: Any, folder: str, path: str) -> str | None:
    """Say why a file is not to be opened: it leads out of its folder, or opening it could block; None if it may be."""
    from fsspec.implementations.local import LocalFileSystem

    if not isinstance(fs, LocalFileSystem):
        return None
    if not os.path.realpath(path).startswith(os.path.join(os.path.realpath(folder), "")):  # noqa: PTH118
        return "is a link that leaves the folder"
    if os.path.lexists(path) and os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113
        return "is not a regular file"
    return None
