"""Finding a source's files on local disk or at any fsspec URL: by name, with what tells that one has changed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from reinforced.errors import RequestError

from ._files import refusal

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")


@dataclass(frozen=True)
class Found:
    """A file: its `path` on its filesystem and its `name`, relative to the folder in which it was looked for."""

    path: str
    name: str
    size: int
    modified: str
    folder_link: bool

    @property
    def suffix(self) -> str:
        """The end of the name after its last dot, in lower case."""
        return self.name.rpartition("/")[2].rpartition(".")[2].lower()


def open_path(path: str) -> tuple[Any, str]:
    """Return the filesystem of a local path or fsspec URL and the path on it; what was listed before is forgotten."""
    import fsspec

    fs, root = fsspec.core.url_to_fs(path)
    fs.invalidate_cache()
    return fs, root


def require_folder(operator: str, fs: Any, folder: str) -> None:
    """Raise RequestError if the folder is not there."""
    if not fs.isdir(folder):
        state = "is a file" if fs.exists(folder) else "does not exist"
        raise RequestError(f"{operator}: '{folder}' {state}; give the path or URL of a folder")


def list_folder(operator: str, fs: Any, folder: str) -> list[Found]:
    """List all files below a folder in order of their names; links to folders as they are, hidden files not at all.

    Raises: RequestError if the folder is not there.
    """
    require_folder(operator, fs, folder)
    if _is_local(fs):
        files = _walk(folder, "")
    else:
        files = (_found(info, folder) for info in fs.find(folder, detail=True).values())
    return sorted((file for file in files if not _hidden(file.name)), key=lambda file: file.name)


def top_of_folder(fs: Any, folder: str) -> Iterator[tuple[str, bool]]:
    """Yield the name of each entry of a folder and whether it is a folder, as it is read."""
    if _is_local(fs):
        with os.scandir(folder) as entries:
            yield from ((entry.name, entry.is_dir()) for entry in entries)
    else:
        yield from ((info["name"], info["type"] == "directory") for info in fs.ls(folder, detail=True))


def _is_local(fs: Any) -> bool:
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(fs, LocalFileSystem)


def _walk(folder: str, below: str) -> Iterator[Found]:
    """List local files as fsspec does, without a dictionary and three path operations for each."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{below}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, f"{name}/")
                continue
            link = entry.is_symlink()
            found = entry.stat(follow_symlinks=not link or os.path.exists(entry.path))  # noqa: PTH110
            yield Found(entry.path, as_text(name), found.st_size, str(found.st_mtime), link and entry.is_dir())


def find_files(operator: str, path: str, suffixes: tuple[str, ...]) -> list[Found]:
    """Find the files that a path means: one file, a folder of files with these suffixes, or a glob or brace pattern.

    Raises: RequestError if there is none, or if one of a folder is a link that leaves it.
    """
    fs, root = open_path(path)
    if fs.isfile(root):
        return [_found(fs.info(root), root.rpartition("/")[0])]
    if fs.isdir(root):
        base = root
        found = [file for file in list_folder(operator, fs, root) if file.name.endswith(suffixes)]
    else:
        base = re.split(r"[*?\[{]", root)[0].rpartition("/")[0]
        infos = {info["name"]: info for pattern in expand_braces(root) for info in _match(operator, fs, pattern)}
        found = sorted((_found(info, base) for info in infos.values()), key=lambda file: file.name)
    if not found:
        raise RequestError(
            f"{operator}: no file {' or '.join(suffixes)} at '{path}'; give a file, a folder or a pattern"
        )
    for file in found:
        if refusal(fs, base, file.path):
            raise RequestError(f"{operator}: '{file.path}' {refusal(fs, base, file.path)}; give the path of that file")
    return found


def expand_braces(pattern: str) -> list[str]:
    """Expand `{000..009}` and `{a,b}` as a shell does."""
    for match in re.finditer(r"\{([^{}]*)\}", pattern):
        if numbers := re.fullmatch(r"(\d+)\.\.(\d+)", match[1]):
            first, last = numbers.groups()
            choices = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
        elif "," in match[1]:
            choices = match[1].split(",")
        else:
            continue
        before, after = pattern[: match.start()], pattern[match.end() :]
        return [whole for choice in choices for whole in expand_braces(before + choice + after)]
    return [pattern]


def as_text(name: str) -> str:
    r"""Return a file name as valid Unicode, bytes that are no UTF-8 as `\xff`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _match(operator: str, fs: Any, pattern: str) -> Iterator[dict[str, Any]]:
    if re.search(r"[*?\[]", pattern) and not fs.exists(pattern):
        yield from (info for info in fs.glob(pattern, detail=True).values() if info["type"] != "directory")
    elif fs.isfile(pattern):
        yield fs.info(pattern)
    else:
        raise RequestError(f"{operator}: '{pattern}' does not exist; give a file, a folder, or a glob or brace pattern")


def _found(info: dict[str, Any], base: str) -> Found:
    path = info["name"]
    name = path.removeprefix(base.rstrip("/") + "/" if base else "")
    link = bool(info.get("islink"))
    known = (info.get(key) for key in ("mtime", "LastModified", "updated", "last_modified", "ETag", "created"))
    modified = os.stat(path).st_mtime if link and os.path.exists(path) else next((k for k in known if k), "")  # noqa: PTH110, PTH116
    return Found(path, as_text(name), info["size"] or 0, str(modified), link and os.path.isdir(path))  # noqa: PTH112


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))
