"""Draw the pictures of docs/synthesis.md: python docs/contact_sheets.py writes docs/images/synthesis_*.jpg."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from reinforced import run_length
from reinforced.images import Pixels, decode
from reinforced.operator import Operator, Source
from reinforced.pipeline import load
from reinforced.registry import find_operator
from reinforced.synthesis import Synthesis

FOLDER = Path(__file__).parent / "images"
ROWS, COLUMNS, SIDE = 3, 8, 96
QUALITY = 80
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167))


def sheet(source: Synthesis) -> bytes:
    """Return a JPEG with a class a row and an instance a column."""
    tiles = [[source.make(label, instance).pixels for instance in range(COLUMNS)] for label in range(ROWS)]
    coloured = [[t if t.ndim == 3 else np.repeat(t[..., None], 3, axis=2) for t in row] for row in tiles]
    return bytes(simplejpeg.encode_jpeg(np.vstack([np.hstack(row) for row in coloured]), QUALITY, "RGB", "420"))


def scenes(count: int = 4) -> bytes:
    """Return a JPEG of scenes, and below each its objects: visible pixels in a colour each, and the box."""
    chosen = load("scenes").source.operator.model_dump() | {"width_px": 192, "height_px": 192}
    source = find_operator("synthesize.scene").model_validate(chosen)
    assert isinstance(source, Source)
    made = source.read({"start": 0, "stop": count}).to_pylist()
    pictures = np.hstack([decode(row["image"]) for row in made])
    shown = np.hstack([_objects(row["objects"], 192) for row in made])
    return bytes(simplejpeg.encode_jpeg(np.vstack([pictures, shown]), QUALITY, "RGB", "420"))


def _objects(objects: list[dict[str, Any]], side: int) -> Pixels:
    canvas = np.full((side, side, 3), 30, np.uint8)
    for i, one in enumerate(objects):
        canvas[run_length.decode(**one["mask"])] = COLOURS[i % len(COLOURS)]
        left, top, width, height = (int(value) for value in one["box"])
        right, bottom = left + width - 1, top + height - 1
        canvas[[top, bottom], left : right + 1] = 255
        canvas[top : bottom + 1, [left, right]] = 255
    return canvas


def main() -> None:
    """Write one sheet for each recipe and each of the other sources."""
    sources: dict[str, Operator] = {}
    for recipe in ("fractal_1k", "fractal_multi", "one_fractal"):
        operator = load(recipe).source.operator
        sources[recipe] = type(operator).model_validate({**operator.model_dump(), "size_px": SIDE})
    sources["visual_atom"] = find_operator("synthesize.visual_atom").model_validate({"size_px": SIDE})
    for kind in ("dead_leaves", "spectrum"):
        sources[kind] = find_operator("synthesize.noise").model_validate({"size_px": SIDE, "kind_of_noise": kind})
    for name, source in sources.items():
        assert isinstance(source, Synthesis)
        write(name, sheet(source))
    write("scenes", scenes())


def write(name: str, data: bytes) -> None:
    """Write one picture."""
    path = FOLDER / f"synthesis_{name}.jpg"
    path.write_bytes(data)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
