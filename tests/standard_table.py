"""A small table of real images as the engine hands it to operators: digits and crops of scikit-learn's two photos."""

from __future__ import annotations

import functools
import hashlib
import io

import numpy as np
import pyarrow as pa
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from reinforced.columns import resolve
from reinforced.images import measure


@functools.cache
def standard_table() -> pa.Table:
    """Return twelve rows with the columns of `samples`; rows 3 and 7 have equal bytes, 4 and 8 equal pixels."""
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    digits = [Image.fromarray(np.uint8(digit * 255 / 16)) for digit in load_digits().images[:3]]
    temple, flower = photos[0].crop((100, 50, 260, 170)), photos[1].crop((200, 80, 299, 231))
    clear = flower.copy()
    clear.putalpha(flower.convert("L"))
    encoded = [
        *(("png", digit, {}) for digit in digits),
        ("jpeg", temple, {"quality": 90}),
        ("png", flower, {}),
        ("webp", temple.crop((0, 0, 64, 80)), {}),
        ("png", clear, {}),
        ("jpeg", temple, {"quality": 90}),
        ("bmp", flower, {}),
        ("jpeg", photos[0].resize((224, 150)).convert("L"), {}),
        ("jpeg", flower, {"quality": 30}),
        ("png", temple.quantize(16), {}),
    ]
    images = [_encode(image, format, options) for format, image, options in encoded]
    labels = [*range(3), 4, 5, 4, 5, 4, 5, 4, 5, 4]
    names = ["zero", "one", "two", "", "temple", "flower"]
    sizes = [measure(image) for image in images]
    values = {
        "key": [f"image/{i:02d}" for i in range(len(images))],
        "image": images,
        "path": [f"folder/{i:02d}.{format}" for i, (format, _, _) in enumerate(encoded)],
        "label": labels,
        "label_name": [names[label] for label in labels],
        "split": [("train", "calibration", "test")[i % 3] for i in range(len(images))],
        "width": [width for width, _ in sizes],
        "height": [height for _, height in sizes],
        "sha256": [hashlib.sha256(image).hexdigest() for image in images],
    }
    return pa.table(values, schema=resolve(values))


def _encode(image: Image.Image, format: str, options: dict[str, int]) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()
