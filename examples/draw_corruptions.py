"""Draws docs/images/corruptions.webp: a made-up landscape under every corruption, at severities 1, 3 and 5.

Run it from the repository: python examples/draw_corruptions.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from reinforced.corruption import CORRUPTIONS, corrupt
from reinforced.images import Pixels

TARGET = Path(__file__).parents[1] / "docs" / "images" / "corruptions.webp"
SIDE, GAP, LINE, COLUMNS = 96, 12, 16, 4
SHOWN = (1, 3, 5)


def landscape(side: int) -> Pixels:
    """Draw sky, sun, hills and a house with windows, smoothly: four times too large and then shrunk."""
    large = 4 * side
    rows = np.linspace(0, 1, large)[:, None, None]
    sky = (1 - rows) * np.array([60, 120, 200]) + rows * np.array([235, 225, 205])
    picture = Image.fromarray(np.broadcast_to(sky, (large, large, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(picture)

    def box(x: float, y: float, width: float, height: float) -> tuple[float, ...]:
        return tuple(large * value for value in (x, y, x + width, y + height))

    draw.ellipse(box(0.66, 0.08, 0.2, 0.2), (250, 205, 80))
    draw.ellipse(box(-0.4, 0.52, 1.1, 0.9), (70, 125, 75))
    draw.ellipse(box(0.3, 0.62, 1.1, 0.9), (105, 155, 70))
    draw.rectangle(box(0.3, 0.48, 0.34, 0.3), (200, 90, 70))
    draw.polygon([(large * x, large * y) for x, y in ((0.26, 0.48), (0.47, 0.3), (0.68, 0.48))], (95, 55, 50))
    for column in range(3):
        draw.rectangle(box(0.34 + 0.1 * column, 0.54, 0.06, 0.08), (245, 235, 190))
    draw.rectangle(box(0.44, 0.66, 0.07, 0.12), (80, 45, 40))
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX))


def main() -> None:
    """Write the picture: a cell for each corruption, three severities side by side over its name."""
    original = landscape(SIDE)
    cells = {name: [corrupt(original, name, severity, key="landscape") for severity in SHOWN] for name in CORRUPTIONS}
    cells = {"original": [original] * len(SHOWN), **cells}
    width, height = len(SHOWN) * SIDE + GAP, SIDE + LINE + GAP
    sheet = Image.new("RGB", (COLUMNS * width - GAP, -(-len(cells) // COLUMNS) * height - GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (name, images) in enumerate(cells.items()):
        left, top = place % COLUMNS * width, place // COLUMNS * height
        sheet.paste(Image.fromarray(np.concatenate(images, axis=1)), (left, top))
        draw.text((left, top + SIDE + 1), name, "black", font_size=12)
    sheet.save(TARGET, "WEBP", quality=75, method=6)


if __name__ == "__main__":
    main()
