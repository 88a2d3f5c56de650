"""Small pipelines over real images, and what a dataset holds, for tests of the engine."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from reinforced.storage import Storage


def make_photos(folder: Path, count: int, side_px: int = 48) -> None:
    """Write crops of scikit-learn's two photographs as JPEGs in class folders; every tenth repeats the one before."""
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    generator = np.random.default_rng(0)
    data = b""
    for i in range(count):
        photo = photos[i % 2]
        x, y = (int(generator.integers(0, limit - side_px)) for limit in photo.size)
        if i % 10 != 9:
            buffer = io.BytesIO()
            photo.crop((x, y, x + side_px, y + side_px)).save(buffer, "JPEG", quality=85)
            data = buffer.getvalue()
        target = folder / ("temple", "flower")[i % 2] / f"{i:05d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def pipeline(photos: Path, out: str | Path, **changes: Any) -> dict[str, Any]:
    """Return a pipeline with every kind of step: filters, transforms, a global step, draws."""
    steps = [
        {"op": "filter.image", "min_side_px": 8},
        {"op": "engine_operators.Slow"},
        {"op": "hash.pixels"},
        {"op": "dedup.exact", "by": "pixels"},
        {"op": "engine_operators.DropHashed"},
        {"op": "engine_operators.Draws"},
    ]
    source = {"op": "read.images", "path": str(photos), "shard_rows": 25}
    return {"name": "photos", "out": str(out), "source": source, "steps": steps} | changes


def layer_bytes(out: str | Path) -> dict[str, bytes]:
    """Return the bytes of every layer file, by path: all that must be equal however a run went."""
    storage = Storage(str(out))
    layers = [name for name in storage.folders() if not name.startswith("_")]
    paths = [f"{layer}/{name}" for layer in layers for name in storage.listing(layer)]
    return {path: storage.read(path) for path in sorted(paths)}
