"""Decoding images that nobody vouches for: by content, in allowed formats only, upright, to RGB uint8."""

from __future__ import annotations

import functools
import hashlib
import io
import warnings
from types import ModuleType

import numpy as np
import numpy.typing as npt
import simplejpeg

Pixels = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 89_478_485
"""Largest picture decoded, in pixels: Pillow's own limit against decompression bombs."""


class ImageError(ValueError):
    """The bytes are no image that can be decoded; the message is the reason that goes into the ledger."""


@functools.cache
def _pillow() -> ModuleType:
    import PIL.Image
    import PIL.ImageFile
    import PIL.ImageOps

    PIL.Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    return PIL


def open_image(data: bytes):  # type: ignore[no-untyped-def]  # Pillow is imported only where an image is opened
    """Open the image header with Pillow, by content and in the allowed formats only; decodes nothing yet."""
    PIL = _pillow()  # noqa: N806
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return PIL.Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception as error:  # Pillow raises many kinds for bytes that lie
        raise ImageError(_reason(error)) from error


def measure(data: bytes) -> tuple[int, int]:
    """Return (width, height) in pixels of the upright image from its header alone."""
    image = open_image(data)
    width, height = image.size
    return (height, width) if _orientation(data, image) >= 5 else (width, height)


def decode(data: bytes) -> Pixels:
    """Decode an encoded image to upright RGB pixels.

    Returns: uint8 of shape (height, width, 3). The first frame of an animation; alpha composed over white; 16-bit grey
    scaled to 8 bits. Equal bit for bit to Pillow's decoding (libjpeg-turbo decodes baseline JPEGs, faster).
    Raises: ImageError with the reason.
    """
    if data[:2] == b"\xff\xd8" and b"Exif\x00\x00" not in data[:65536]:
        try:
            height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
            if width * height <= MAX_PIXELS and colorspace in ("YCbCr", "Gray"):
                return simplejpeg.decode_jpeg(data, "RGB")  # type: ignore[no-any-return]
        except ValueError:
            pass  # Pillow has the better words for what is wrong, and reads some that libjpeg's strict mode refuses
    return _decode_with_pillow(data)


def _decode_with_pillow(data: bytes) -> Pixels:
    PIL = _pillow()  # noqa: N806
    image = open_image(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            image.load()
            image = PIL.ImageOps.exif_transpose(image)
            if image.mode.startswith("I;16") or image.mode in ("I", "F"):
                values = np.asarray(image).astype(np.float64)
                grey = np.clip(values / 257 if image.mode != "F" else values, 0, 255).round().astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=2)
            if "A" in image.getbands() or "transparency" in image.info:
                rgba = image.convert("RGBA")
                image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", rgba.size, "white"), rgba)
            return np.array(image.convert("RGB"))
    except Exception as error:
        raise ImageError(_reason(error)) from error


def encode_png(pixels: Pixels) -> bytes:
    """Encode uint8 pixels, (height, width) grey or (height, width, 3) RGB, as PNG bytes."""
    buffer = io.BytesIO()
    _pillow().Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pixel_sha256(pixels: Pixels) -> str:
    """Return the SHA-256 of width, height and RGB pixels, in hexadecimal."""
    digest = hashlib.sha256(f"{pixels.shape[1]}x{pixels.shape[0]}:".encode())
    digest.update(np.ascontiguousarray(pixels))
    return digest.hexdigest()


def _orientation(data: bytes, image) -> int:  # type: ignore[no-untyped-def]
    if image.format == "JPEG" and b"Exif\x00\x00" not in data[:65536]:
        return 1
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # a broken EXIF block says nothing about the orientation
        return 1


def _reason(error: Exception) -> str:
    kind = type(error).__name__
    if kind == "UnidentifiedImageError":
        return f"not an image in an allowed format ({', '.join(FORMATS)})"
    if kind in ("DecompressionBombWarning", "DecompressionBombError"):
        return f"more than {MAX_PIXELS:,} pixels"
    return f"cannot be decoded: {kind}: {error}"
