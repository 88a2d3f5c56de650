"""Records of WARC files, compressed or not, out of a range of bytes: one that is broken costs itself."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

AHEAD_BYTES = 1 << 20
MAX_RECORD_BYTES = 1 << 26
# Each record is a gzip member of its own. These ten bytes do not come up by chance.
_MEMBER = re.compile(rb"\x1f\x8b\x08[\x00\x04\x08\x10]....[\x00\x02\x04][\x00\x03\x0b\xff]", re.DOTALL)
_PLAIN = re.compile(rb"(?:\A|(?<=\r\n\r\n))WARC/\d\.\d\r\n")
_LONGEST_BEGIN = 9  # a record that begins at the range's last byte is seen
_HEADER_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Record:
    """A record, or in `error` why it cannot be read; `offset` is where it begins in the file."""

    offset: int
    headers: dict[str, str]
    content: bytes = b""
    error: str | None = None


def read_records(fs: Any, path: str, start: int, stop: int, size: int) -> Iterator[Record]:
    """Yield the records that begin between two places of a file, whole ones also where they end behind the second."""
    first = max(0, start - len(_HEADER_END))  # what stands before tells the beginning of a record
    window = _Window(fs, path, first, min(stop + AHEAD_BYTES, size), size)
    packed = path.endswith(".gz")
    begin = _MEMBER if packed else _PLAIN
    at, expected, limit = start - first, 0 if start == 0 else None, stop - first
    while at < limit:
        found = begin.search(window.data, at, limit + _LONGEST_BEGIN)
        place = found.start() if found else limit
        if expected is not None and place > expected:
            gap = window.data[expected:place]
            if gap.strip():
                yield Record(first + expected, {}, error=f"bad record: {len(gap)} bytes that begin no record")
        if found is None or place >= limit:
            return
        try:
            record, end = _unpack(window, place) if packed else _plain(window, place)
            yield record
            at = expected = end
        except ValueError as error:
            yield Record(first + place, {}, error=f"bad record: {error}")
            at, expected = place + 1, None


@dataclass
class _Window:
    """Some bytes of a file that grow when a record asks for more."""

    fs: Any
    path: str
    start: int
    stop: int
    size: int
    data: bytes = b""

    def __post_init__(self) -> None:
        self.data = self.fs.cat_file(self.path, self.start, self.stop)

    def grow(self) -> bool:
        """Read on; returns False at the end of the file, or when no record should be as long."""
        if self.stop >= self.size or len(self.data) > 4 * MAX_RECORD_BYTES:
            return False
        stop = min(self.stop + len(self.data), self.size)
        self.data += self.fs.cat_file(self.path, self.stop, stop)
        self.stop = stop
        return True


def _unpack(window: _Window, place: int) -> tuple[Record, int]:
    """Unpack the gzip member at a place; returns its record and where it ends. Raises: ValueError."""
    while True:
        member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            content = member.decompress(memoryview(window.data)[place:], MAX_RECORD_BYTES)
        except zlib.error as error:
            raise ValueError(f"its compressed data is damaged ({error})") from error
        if member.eof:
            return _parse(content, window.start + place), len(window.data) - len(member.unused_data)
        if member.unconsumed_tail:
            raise ValueError(f"more than {MAX_RECORD_BYTES:,} bytes")
        if not window.grow():
            raise ValueError("the file ends in it")


def _plain(window: _Window, place: int) -> tuple[Record, int]:
    """Read the record at a place of a file that is not compressed. Raises: ValueError."""
    while (head := window.data.find(_HEADER_END, place)) < 0 and window.grow():
        pass
    length = _length(_headers(window.data[place : max(head, place)]))
    end = head + len(_HEADER_END) + length
    while end > len(window.data) and window.grow():
        pass
    return _parse(window.data[place:end], window.start + place), end


def _parse(content: bytes, offset: int) -> Record:
    head, _, rest = content.partition(_HEADER_END)
    if not head.startswith(b"WARC/"):
        raise ValueError("it does not begin with WARC/")
    headers = _headers(head)
    length = _length(headers)
    if len(rest) < length:
        raise ValueError(f"it has {len(rest):,} bytes, its header says {length:,}")
    return Record(offset, headers, rest[:length])


def _headers(head: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in head.decode("utf-8", "replace").split("\r\n")[1:])
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _length(headers: dict[str, str]) -> int:
    said = headers.get("content-length", "")
    if not (said.isascii() and said.isdigit() and len(said) < 10 and int(said) <= MAX_RECORD_BYTES):
        raise ValueError(f"its Content-Length is '{said[:20]}'")
    return int(said)
