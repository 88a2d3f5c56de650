"""Draw docs/images/dedup.png: three crops of photographs, two copies of each, and what dedup.perceptual says."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_images

import reinforced

SIDE_PX, GAP_PX, TEXT_PX = 150, 10, 18
BOXES = ((0, (40, 90)), (1, (230, 60)), (0, (330, 60)))


def encoded(picture: Image.Image, side_px: int, quality: int) -> bytes:
    """Return a JPEG of a picture in another size."""
    buffer = io.BytesIO()
    picture.resize((side_px, side_px)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def main() -> None:
    """Run a pipeline over three pictures with two copies each and draw what became of them."""
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    crops = [photos[photo].crop((x, y, x + 300, y + 300)) for photo, (x, y) in BOXES]
    with tempfile.TemporaryDirectory() as folder:
        images = {
            f"{row}-{name}": encoded(crop, side, quality)
            for row, crop in enumerate(crops)
            for name, side, quality in (("large", 300, 90), ("small", 90, 85), ("worse", 300, 8))
        }
        (source := Path(folder, "photos")).mkdir()
        for name, data in images.items():
            (source / f"{name}.jpg").write_bytes(data)
        reinforced.run(
            {
                "name": "copies",
                "out": f"{folder}/out",
                "compact": False,
                "source": {"op": "read.images", "path": str(source)},
                "steps": [{"op": "dedup.perceptual"}],
            }
        )
        dataset = reinforced.open(f"{folder}/out")
        verdicts = dataset.sql(
            "SELECT key, outcome, perceptual_distance AS bits FROM verdicts JOIN perceptual_duplicates USING (key)"
        )
    page = Image.new("RGB", (3 * (SIDE_PX + GAP_PX) + GAP_PX, 3 * (SIDE_PX + TEXT_PX + GAP_PX) + GAP_PX), "white")
    draw = ImageDraw.Draw(page)
    names = list(images)
    for verdict in verdicts.to_pylist():
        row, column = divmod(names.index(verdict["key"]), 3)
        left, top = GAP_PX + column * (SIDE_PX + GAP_PX), GAP_PX + row * (SIDE_PX + TEXT_PX + GAP_PX)
        page.paste(Image.open(io.BytesIO(images[verdict["key"]])).resize((SIDE_PX, SIDE_PX)), (left, top))
        said = "kept" if verdict["outcome"] == "kept" else f"dropped, {verdict['bits']:.0f} bits away"
        draw.text((left, top + SIDE_PX + 3), said, fill="black" if said == "kept" else "firebrick")
    page.quantize(96).save(Path(__file__).parent / "images" / "dedup.png", optimize=True)


if __name__ == "__main__":
    main()
