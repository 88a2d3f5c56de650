"""The JPEGs that the engine benchmark works on: crops of photographs, with known duplicates and rejects."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

PHOTOGRAPHS = Path(__file__).parents[2] / "shared" / "data" / "imagenet-sample"
MIN_SIDE_PX = 64
"""What the benchmark's size filter asks for; the rejects are smaller, everything else is three times that."""
DUPLICATE_SHARE, REJECT_SHARE = 0.05, 0.02


def cache_folder() -> Path:
    """Where inputs and peers' environments are kept between runs; REINFORCED_BENCHMARKS names another place."""
    return Path(os.environ.get("REINFORCED_BENCHMARKS", "~/.cache/reinforced-benchmarks")).expanduser()


def jpegs(count: int) -> tuple[Path, int]:
    """Return a folder of `count` JPEGs, made on first use, and how many of them the workload must keep.

    Crops of 192 to 320 px a side at quality 80 to 95 (about 25 KB); one in 20 repeats an earlier file byte for byte and
    one in 50 is smaller than MIN_SIDE_PX. The same count gives the same pictures.
    """
    folder = cache_folder() / f"jpegs-{count}"
    summary = folder.with_suffix(".json")
    if not summary.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        summary.write_text(json.dumps({"kept": _make(folder, count)}))
    return folder, int(json.loads(summary.read_text())["kept"])


def _make(folder: Path, count: int) -> int:
    photographs = list(_photographs())
    random = np.random.default_rng(0)
    unique: list[bytes] = []
    kept = 0
    for number in range(count):
        draw = random.random()
        if draw < DUPLICATE_SHARE and unique:
            data = unique[random.integers(len(unique))]
        elif draw < DUPLICATE_SHARE + REJECT_SHARE:
            data = _crop(photographs[random.integers(len(photographs))], 24, MIN_SIDE_PX - 1, random)
        else:
            data = _crop(photographs[random.integers(len(photographs))], 192, 320, random)
            unique.append(data)
            kept += 1
        (folder / f"{number:06d}.jpg").write_bytes(data)
    assert len(set(unique)) == kept, "two crops came out the same"
    return kept


def _photographs() -> Iterator[Image.Image]:
    if PHOTOGRAPHS.is_dir():
        for path in sorted(PHOTOGRAPHS.glob("*.JPEG")):
            with Image.open(path) as photograph:
                yield _at_least(photograph.convert("RGB"), 320)
        return
    from sklearn.datasets import load_sample_images

    for pixels in load_sample_images().images:
        yield Image.fromarray(pixels)


def _at_least(photograph: Image.Image, side: int) -> Image.Image:
    scale = max(1.0, side / min(photograph.size))
    return photograph.resize((round(photograph.width * scale), round(photograph.height * scale)))


def _crop(photograph: Image.Image, least: int, most: int, random: np.random.Generator) -> bytes:
    width, height = (int(side) for side in random.integers(least, most + 1, 2))
    left = int(random.integers(photograph.width - width + 1))
    top = int(random.integers(photograph.height - height + 1))
    buffer = io.BytesIO()
    crop = photograph.crop((left, top, left + width, top + height))
    crop.save(buffer, "JPEG", quality=int(random.integers(80, 96)))
    return buffer.getvalue()
