"""Draw the pictures of docs/synthesis.md: python docs/contact_sheets.py writes docs/images/synthesis_*.jpg."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import simplejpeg

from reinforced.operator import Operator
from reinforced.pipeline import load
from reinforced.registry import find_operator
from reinforced.synthesis import Synthesis

FOLDER = Path(__file__).parent / "images"
ROWS, COLUMNS, SIDE = 3, 8, 96
QUALITY = 80


def sheet(source: Synthesis) -> bytes:
    """Return a JPEG with a class a row and an instance a column."""
    tiles = [[source.make(label, instance).pixels for instance in range(COLUMNS)] for label in range(ROWS)]
    coloured = [[t if t.ndim == 3 else np.repeat(t[..., None], 3, axis=2) for t in row] for row in tiles]
    return bytes(simplejpeg.encode_jpeg(np.vstack([np.hstack(row) for row in coloured]), QUALITY, "RGB", "420"))


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
        path = FOLDER / f"synthesis_{name}.jpg"
        path.write_bytes(sheet(source))
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
