"""Samples of a WebDataset tar, read as a stream: nothing is extracted, and a cut or odd archive says so."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Self

from ..write._names import decode_key, split_member
from ._listing import as_text


@dataclass
class TarSample:
    """Consecutive members of one key: extension to (member name, bytes); `error` says why it is no good sample."""

    key: str
    members: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    error: str | None = None


class _StrictTarInfo(tarfile.TarInfo):
    """Raises where tarfile takes a broken or missing header for the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the end marker
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error


def read_samples(stream: IO[bytes], name: str) -> Iterator[TarSample]:
    """Read the samples of the tar called `name`, compressed or not.

    If the archive is cut off or damaged, the last sample has the error: that of the member that is cut, or one of its
    own with the tar's name as key. A key that comes back gives a second sample, which has an error.
    """
    sample: TarSample | None = None
    seen: set[str] = set()
    for key, extension, member, content in _members(stream, name):
        if sample is None or key != sample.key or extension in sample.members:
            if sample is not None:
                yield sample
            sample = TarSample(key, error=f"key '{key}' is in {name} more than once" if key in seen else None)
            seen.add(key)
        if isinstance(content, str):
            sample.error = sample.error or content
        else:
            sample.members[extension] = (member, content)
    if sample is not None:
        yield sample


def _members(stream: IO[bytes], tar_name: str) -> Iterator[tuple[str, str, str, bytes | str]]:
    """Yield (key, extension, member name, bytes or what is wrong) of every member that is not a folder or hidden."""
    key, extension, member = tar_name, "", ""
    try:
        with tarfile.open(fileobj=stream, mode="r|*", tarinfo=_StrictTarInfo, encoding="utf-8") as archive:
            for info in archive:
                member = as_text(info.name)
                if info.isdir() or member.rpartition("/")[2].startswith("."):
                    continue
                stem, extension = split_member(member)
                key = decode_key(stem)
                yield key, extension, member, _content(archive, info, member, extension)
                key, extension, member = tar_name, "", ""
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        where = f" in member '{member}'" if member else ""
        yield key, extension, member, f"{tar_name} is cut off or damaged{where}: {error}; make it again"


def _content(archive: tarfile.TarFile, info: tarfile.TarInfo, member: str, extension: str) -> bytes | str:
    if not info.isfile():
        return f"member '{member}' is a link or a device, not a file"
    if not extension:
        return f"member '{member}' has no extension, which would say what it is"
    if member != info.name:
        return f"the name of member '{member}' is not UTF-8"
    stream = archive.extractfile(info)
    assert stream is not None
    return stream.read()
