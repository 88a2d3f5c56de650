"""Names that stay inside the sink's folder whatever a key holds, and that lead back to the key."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container

_TOKENS = {"2E": ".", "2F": "/", "00": "\0"}
_SUFFIXES = {
    b"\xff\xd8\xff": ("jpg", "jpeg"),
    b"\x89PNG": ("png",),
    b"GIF8": ("gif",),
    b"BM": ("bmp",),
    b"II*\0": ("tif", "tiff"),
    b"MM\0*": ("tif", "tiff"),
}
MAX_NAME_BYTES = 180


def encode_key(key: str) -> str:
    """Turn a key into the name of tar members without their extension.

    WebDataset ends the key at the first dot of the file name, so dots there become `%2E`; so do the folders `.` and
    `..`, while `%2F` and `%00` stand for slashes that name no folder and for NUL. What looks like one of these gets
    `%25` in place of its `%`: `decode_key` gives every key back.
    """
    assert key, "a key is not empty"
    text = re.sub(r"%((?:25)*(?:2E|2F|00))", r"%25\1", key).replace("\0", "%00")
    text = re.sub(r"\A/|/\Z|(?<=/)/", "%2F", text)
    text = re.sub(r"(?:\A|(?<=/))\.{1,2}(?=/)", lambda dots: dots[0].replace(".", "%2E"), text)
    folder, slash, name = text.rpartition("/")
    return folder + slash + name.replace(".", "%2E")


def decode_key(stem: str) -> str:
    """Turn the name of a tar member without its extension into the key."""

    def decode(match: re.Match[str]) -> str:
        return f"%{match[1][2:]}{match[2]}" if match[1] else _TOKENS[match[2]]

    return re.sub(r"%((?:25)*)(2E|2F|00)", decode, stem.removeprefix("./"))


def split_member(name: str) -> tuple[str, str]:
    """Split a member's name at the first dot of its file name, as WebDataset does; no extension gives an empty one."""
    match = re.fullmatch(r"((?:.*/)?[^/.]+)\.([^/]+)", name, re.DOTALL)
    return (match[1], match[2]) if match else (name, "")


def member_stem(key: str, path: str | None) -> str:
    """Return what the members of a sample are called before the extension: as `path` has it, else the encoded key."""
    stem, extension = split_member(path or "")
    inside = not stem.startswith("/") and ".." not in stem.split("/") and "\0" not in stem
    return stem if extension and inside and decode_key(stem) == key else encode_key(key)


def image_extension(data: bytes, path: str | None, taken: Container[str] = ()) -> str:
    """Return the extension for an image: the suffix of `path` if it fits the bytes, else that of the bytes' format.

    The suffix of `path` also stays if the bytes are of no known format or `taken` has that format's extension.
    """
    suffix = (path or "").rpartition("/")[2].rpartition(".")[2]
    fitting = next((found for magic, found in _SUFFIXES.items() if data.startswith(magic)), ())
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        fitting = ("webp",)
    is_image = suffix.lower() in {"webp", *(name for names in _SUFFIXES.values() for name in names)}
    if suffix.lower() in fitting or (is_image and (not fitting or fitting[0] in taken)):
        return suffix
    return fitting[0] if fitting else "bin"


def file_name(text: str) -> str:
    """Turn any text into one file name: unsafe characters percent-encoded, over-long names cut and ended by a hash."""
    name = re.sub(r'[%/\\:*?"<>|\x00-\x1f\x7f]|\A\.', lambda c: f"%{ord(c[0]):02X}", text) or "%"
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    return f"{name.encode()[:140].decode(errors='ignore')}%{hashlib.sha256(text.encode()).hexdigest()[:32]}"
