"""Decoding images that nobody vouches for: by content, in allowed formats only, upright, to RGB uint8."""

from __future__ import annotations

import functools
import hashlib
import io
import re
import warnings
from types import ModuleType

import numpy as np
import numpy.typing as npt
import simplejpeg

Pixels = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 89_478_485
"""Largest picture decoded, in pixels: Pillow's own limit against decompression bombs."""
MAX_SCANS = 100
"""Most scans of a JPEG: each costs a pass over all pixels for a few bytes, and encoders write about ten."""

_JPEG = b"\xff\xd8\xff"
_ORIENTATION_MARKS = (b"Exif\x00\x00", b"eXIf", b"EXIF", b"Raw profile type exif", b"tiff:Orientation", b"adobe.xmp")
_SIGNATURES = {
    _JPEG: "JPEG",
    b"\x89PNG": "PNG",
    b"RIFF": "WEBP",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
}
# libjpeg's warnings after which pixels are wrong; bytes to spare before the end marker, say, harm nothing.
_DAMAGE = re.compile(r"bad \w+ code|premature end|instead of RST|before marker 0xd[0-7]|progression", re.IGNORECASE)
_PILLOW_WARNINGS = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


class ImageError(ValueError):
    """The bytes are no image that can be decoded; the message is the reason that goes into the ledger."""


@functools.cache
def _import_pillow() -> ModuleType:
    import PIL.Image
    import PIL.TiffImagePlugin  # Pillow would import all its plugins to find these two
    import PIL.WebPImagePlugin

    PIL.Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    return PIL


def _pillow() -> ModuleType:
    # Pillow warns about odd metadata that changes no pixel. Not catch_warnings: two threads in it lose the filters.
    if _PILLOW_WARNINGS not in warnings.filters:
        warnings.filterwarnings("ignore", module=r"PIL\.")
    return _import_pillow()


def open_image(data: bytes):  # type: ignore[no-untyped-def]  # Pillow is imported only where an image is opened
    """Open the image header with Pillow, by content and in the allowed formats only; decodes nothing yet.

    Pillow's warnings are silenced in this process from here on; its warning about bombs is an error here.
    """
    PIL = _pillow()  # noqa: N806
    try:
        image = PIL.Image.open(io.BytesIO(data), formats=FORMATS)
    except PIL.UnidentifiedImageError as error:
        for signature, name in _SIGNATURES.items():
            if data.startswith(signature):
                raise ImageError(f"broken {name} header") from error
        raise ImageError(f"not an image in an allowed format ({', '.join(FORMATS)})") from error
    except Exception as error:  # Pillow raises many kinds for bytes that lie
        raise ImageError(_reason(error)) from error
    _check_size(*image.size)
    return image


def measure(data: bytes) -> tuple[int, int]:
    """Return (width, height) in pixels of the upright image from its header alone."""
    if data[:3] == _JPEG and not _may_be_turned(data):
        try:
            height, width, *_ = simplejpeg.decode_jpeg_header(data)
            _check_size(width, height)
            return width, height
        except ValueError as error:
            if isinstance(error, ImageError):
                raise
    image = open_image(data)
    width, height = image.size
    return (height, width) if _orientation(data, image) in (5, 6, 7, 8) else (width, height)


def orientation(data: bytes) -> int:
    """Return the EXIF orientation of an encoded image from its header: 1 is upright, 2 to 8 are turned or mirrored."""
    return _orientation(data, open_image(data)) if _may_be_turned(data) else 1


def decode(data: bytes) -> Pixels:
    """Decode an encoded image to upright RGB pixels.

    Returns: uint8 of shape (height, width, 3). The first frame of an animation; alpha composed over white; 16-bit grey
    scaled to 8 bits, floating-point grey clipped to 0..255. Equal bit for bit to Pillow's decoding (libjpeg-turbo
    decodes JPEGs, faster); a JPEG whose compressed data is damaged is an error here, where Pillow returns smears.
    Raises: ImageError with the reason.
    """
    return _decode_jpeg(data, "RGB", 0) if data[:3] == _JPEG else _decode_with_pillow(data)


def decode_rgba(data: bytes) -> Pixels:
    """Decode an encoded image to upright pixels with their opacity, uint8 (height, width, 4), 255 where it has none.

    Raises: ImageError with the reason.
    """
    image = open_image(data)
    try:
        return _upright(np.array(image.convert("RGBA")), _orientation(data, image))
    except Exception as error:
        raise ImageError(_reason(error)) from error


def decode_luma(data: bytes, min_side_px: int) -> Pixels:
    """Decode an encoded image to its upright luma (ITU-R BT.601), for what looks at coarse structure only.

    A JPEG is decoded at the smallest of libjpeg's scales that leaves both sides at least `min_side_px`, which is much
    faster; other formats, and smaller images, in full. Returns: uint8 of shape (height, width).
    Raises: ImageError with the reason.
    """
    pixels = _decode_jpeg(data, "GRAY", min_side_px) if data[:3] == _JPEG else _decode_with_pillow(data)
    if pixels.shape[2] == 1:
        return pixels[..., 0]
    luma: Pixels = (pixels @ np.array([19595, 38470, 7471]) + (1 << 15) >> 16).astype(np.uint8)
    return luma


def _decode_jpeg(data: bytes, colorspace: str, min_side_px: int) -> Pixels:
    header = data[: data.find(b"\xff\xda")]
    # Only a progressive JPEG has many scans, and one of a few kilobytes can have thousands.
    if (b"\xff\xc2" in header or b"\xff\xca" in header) and data.count(b"\xff\xda") > MAX_SCANS:
        raise ImageError(f"more than {MAX_SCANS} scans")
    try:
        height, width, encoded, _ = simplejpeg.decode_jpeg_header(data)
        if width * height > MAX_PIXELS or encoded not in ("YCbCr", "Gray"):
            return _decode_with_pillow(data)
        pixels: Pixels = simplejpeg.decode_jpeg(data, colorspace, min_height=min_side_px, min_width=min_side_px)
    except ValueError as error:
        if _DAMAGE.search(str(error)):
            raise ImageError(f"cannot be decoded: {error}") from error
        return _decode_with_pillow(data)  # it has the better words, and reads files that strict libjpeg refuses
    return _upright(pixels, _orientation(data, open_image(data))) if _may_be_turned(data) else pixels


def _decode_with_pillow(data: bytes) -> Pixels:
    image = open_image(data)
    try:
        image.load()
        return _upright(_rgb(image), _orientation(data, image))
    except Exception as error:
        raise ImageError(_reason(error)) from error


def _rgb(image) -> Pixels:  # type: ignore[no-untyped-def]
    PIL = _pillow()  # noqa: N806
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.nan_to_num(np.asarray(image).astype(np.float64))
        grey = np.clip(values / 257 if image.mode != "F" else values, 0, 255).round().astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", rgba.size, "white"), rgba)
    return np.array(image.convert("RGB"))


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    # EXIF: 2 is mirrored, 4 upside down, 5 transposed; the others are these combined.
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def encode_png(pixels: Pixels) -> bytes:
    """Encode uint8 pixels, (height, width) grey or (height, width, 3) RGB, as PNG bytes."""
    buffer = io.BytesIO()
    _pillow().Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pixel_sha256(pixels: Pixels) -> str:
    """Return the SHA-256 of width, height and RGB pixels, in hexadecimal."""
    digest = hashlib.sha256(f"{pixels.shape[1]}x{pixels.shape[0]}:".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _may_be_turned(data: bytes) -> bool:
    # A JPEG's metadata stands before its first scan; that of a thumbnail stands behind the mark of its EXIF block.
    end = data.find(b"\xff\xda") if data[:3] == _JPEG else len(data)
    return any(data.find(mark, 0, end) >= 0 for mark in _ORIENTATION_MARKS)


def _orientation(data: bytes, image) -> int:  # type: ignore[no-untyped-def]
    if image.format == "TIFF" or not _may_be_turned(data):  # Pillow turns TIFFs itself
        return 1
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # a broken EXIF block says nothing about the orientation
        return 1


def looks_like_image(head: bytes) -> bool:
    """Return whether a file that begins so may be an image in an allowed format."""
    return head.startswith(tuple(_SIGNATURES)) and (head[:4] != b"RIFF" or head[8:12] in (b"WEBP", b""))


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"no pixels: {width} x {height}")
    if width * height > MAX_PIXELS:
        raise ImageError(f"more than {MAX_PIXELS:,} pixels")


def _reason(error: Exception) -> str:
    kind = type(error).__name__
    if kind == "DecompressionBombError":
        return f"more than {MAX_PIXELS:,} pixels"
    return " ".join(f"cannot be decoded: {kind}: {error}".split())[:300]
