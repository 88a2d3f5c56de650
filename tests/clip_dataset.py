"""A small dataset of digits with captions, reinforced by two small CLIP models of different sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from small_teachers import small_clip

from reinforced.operators.read.digits import ReadDigits
from reinforced.run import RunResult, run

AUGMENT = {"size_px": 16, "random_resized_crop": {}, "rand_augment": {}}
DRAWS, SYNTHETIC = 3, 4


def teachers(folder: Path) -> list[dict[str, Any]]:
    """Write two CLIP models, of inputs of 16 and 32 px, and return them as a step names them."""
    found = []
    for side in (16, 32):
        if not (place := folder / f"clip{side}").exists():
            small_clip(place, side)
        found.append({"open_clip": str(place)})
    return found


def pairs(rows: int) -> pa.Table:
    """Return digits with their label as the caption and from 1 to 4 synthetic ones, as the label gives."""
    source = ReadDigits()
    table = source.read(next(source.shards())).slice(0, rows).select(["key", "image", "label"])
    made = [
        (f"the digit {n}", [f"text {j} of {n}" for j in range(1 + n % SYNTHETIC)])
        for n in table.column("label").to_pylist()
    ]
    names, texts = zip(*made, strict=True)
    return table.append_column("caption", [names]).append_column("captions", [list(texts)])


def reinforced(folder: Path, rows: int = 20, **settings: Any) -> RunResult:
    """Build and reinforce the dataset in shards of 8 rows."""
    pq.write_table(pairs(rows), folder / "pairs.parquet")
    asked: dict[str, Any] = {"teachers": teachers(folder), "batch_size": 8}
    return run(
        {
            "name": "clip",
            "out": str(folder / "clip"),
            "source": {"op": "read.parquet", "path": str(folder / "pairs.parquet"), "shard_rows": 8},
            "steps": [
                {"op": "reinforce_clip", "draws": DRAWS, "augment": AUGMENT, **asked},
                {"op": "embed.captions", "draws": 1 + SYNTHETIC, **asked},
            ],
        }
        | settings
    )
