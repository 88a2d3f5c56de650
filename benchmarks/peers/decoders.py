"""What peers decode with: Pillow, as in their documentation, or the faster library that this project uses."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image


def with_pillow(data: bytes) -> Any:
    """Decode to uint8 RGB pixels with Pillow."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def with_simplejpeg(data: bytes) -> Any:
    """Decode to uint8 RGB pixels with libjpeg-turbo and nothing around it."""
    import simplejpeg

    return simplejpeg.decode_jpeg(data, "RGB")


DECODERS: dict[str, Callable[[bytes], Any]] = {"pillow": with_pillow, "simplejpeg": with_simplejpeg}


def pixel_sha256(pixels: Any) -> str:
    """Return the SHA-256 of width, height and RGB pixels: the hash column of every contestant."""
    digest = hashlib.sha256(f"{pixels.shape[1]}x{pixels.shape[0]}:".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()
