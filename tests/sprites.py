"""A folder of sprites and one of backgrounds, small enough to look at every pixel."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image


def make_sprites(folder: Path) -> Path:
    """Write a disc with a hole in the class `ring`, an arrow in `arrow` with points, a square cut out by its mask."""
    y, x = np.mgrid[:64, :64] - 31.5
    ring = (np.hypot(x, y) < 31) & (np.hypot(x, y) > 12)
    arrow = np.zeros((40, 80), bool)
    arrow[14:26, :50] = True
    for column in range(50, 80):
        reach = int((80 - column) * 20 / 30)
        arrow[20 - reach : 20 + reach, column] = True
    save(folder / "ring" / "a.png", ring, (200, 60, 40))
    save(folder / "arrow" / "b.webp", arrow, (40, 90, 220))
    (folder / "arrow" / "b.json").write_text(json.dumps({"keypoints": {"tip": [79, 20], "tail": [1, 20]}}))
    Image.new("RGB", (30, 30), (20, 160, 60)).save(folder / "square.png")
    Image.fromarray(np.uint8(np.pad(np.ones((20, 20)), 5) * 255)).save(folder / "square.mask.png")
    return folder


def save(path: Path, opaque: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Write a sprite of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb = np.broadcast_to(np.array(colour, np.uint8), (*opaque.shape, 3))
    Image.fromarray(np.dstack([rgb, np.uint8(opaque) * 255])).save(path, lossless=True)
