"""Published files, in a folder or still in their tar: found by name, read one at a time, never unpacked."""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path
from typing import Any

from reinforced.errors import RequestError


class Archive:
    """The files below a folder or in an uncompressed tar, by their path inside it; links are left out.

    Raises: RequestError when there is neither, or a tar that is compressed or damaged.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.files: dict[str, tuple[int, int]] = {}
        """Path inside to offset in the tar (0 in a folder) and size in bytes."""
        if self.path.is_dir():
            self._walk(self.path, "")
            said = "\n".join(f"{name}:{size}" for name, (_, size) in sorted(self.files.items()))
        elif self.path.is_file():
            self._scan()
            state = self.path.stat()
            said = f"{state.st_size}:{state.st_mtime_ns}"
        else:
            raise RequestError(f"'{path}' does not exist; give the folder, or the tar, that was published")
        self.signature = hashlib.sha256(said.encode("utf-8", "surrogateescape")).hexdigest()
        """Changes with the names and sizes of a folder's files, and with the size and time of a tar."""

    def __deepcopy__(self, memo: Any) -> Archive:
        return self  # it never changes, and may list millions of files

    def read(self, name: str) -> bytes:
        """Return the bytes of a file. Raises: ValueError when there is none or it is cut off."""
        if name not in self.files:
            raise ValueError(f"{self.path} has no file {name} for this sample")
        offset, size = self.files[name]
        with (self.path / name if self.path.is_dir() else self.path).open("rb") as file:
            file.seek(offset)
            data = file.read(size)
        if len(data) != size:
            raise ValueError(f"{self.path}: {name} is cut off: {len(data)} of {size} bytes")
        return data

    def _walk(self, folder: Path, below: str) -> None:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    self._walk(Path(entry.path), f"{below}{entry.name}/")
                elif entry.is_file(follow_symlinks=False):
                    self.files[below + entry.name] = (0, entry.stat(follow_symlinks=False).st_size)

    def _scan(self) -> None:
        try:
            with tarfile.open(self.path, "r:") as tar:
                while (info := tar.next()) is not None:
                    tar.members = []  # type: ignore[attr-defined]  # it would keep every header
                    if info.isfile():
                        self.files[info.name.removeprefix("./")] = (info.offset_data, info.size)
        except tarfile.TarError as error:
            raise RequestError(
                f"'{self.path}' cannot be read as a tar ({error}); single files cannot be found in a compressed one: "
                "decompress it with gunzip, or unpack it and give the folder"
            ) from error
