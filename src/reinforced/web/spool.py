"""A file of finished downloads: what a killed process had fetched is read back, but for a torn last entry."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import asdict, fields
from pathlib import Path

from reinforced.web.fetch import Answer

_ENTRY = struct.Struct("<IIII")
"""Row, bytes of the description, bytes of the body, CRC-32 of both."""


class Spool:
    """Answers of a shard's rows, appended as they come; `path` None keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self.answers: dict[int, Answer] = {}
        """What was there when it was opened."""
        self._file = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            whole = self._read(path.read_bytes()) if path.exists() else 0
            self._file = path.open("r+b" if path.exists() else "w+b", buffering=0)
            self._file.truncate(whole)
            self._file.seek(whole)

    def _read(self, data: bytes) -> int:
        """Read the entries that are whole and return where they end."""
        known = {f.name for f in fields(Answer)}
        at = 0
        while at + _ENTRY.size <= len(data):
            row, described, size, crc = _ENTRY.unpack_from(data, at)
            start = at + _ENTRY.size
            content = data[start : start + described + size]
            if len(content) < described + size or zlib.crc32(content) != crc:
                break
            values = json.loads(content[:described])
            assert values.keys() <= known, f"the spool has {sorted(values)}"
            image = None if values["error"] is not None else content[described:]
            self.answers[row] = Answer(**(values | {"image": image}))
            at = start + described + size
        return at

    def add(self, row: int, answer: Answer) -> None:
        """Append a row's answer; it is safe from the process's death when this returns."""
        if self._file is None:
            return
        description = json.dumps(asdict(answer) | {"image": None}).encode()
        body = answer.image or b""
        content = description + body
        entry = _ENTRY.pack(row, len(description), len(body), zlib.crc32(content)) + content
        written = self._file.write(entry)
        while written < len(entry):  # an unbuffered write may take a part
            written += self._file.write(entry[written:])

    def close(self) -> None:
        """Close the file; removing it is for who knows that the rows are committed."""
        if self._file is not None:
            self._file.close()
