"""Writes a small reinforced dataset file by file, as docs/format.md describes it."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from reinforced.registry import find_operator

AUGMENT = {"size_px": [12, 10], "random_resized_crop": {}, "horizontal_flip": {}, "rand_augment": {}}


def png(seed: int, width: int, height: int) -> bytes:
    """Return a picture with smooth colours and some noise, so that every operation changes it."""
    random = np.random.default_rng(seed)
    base = Image.fromarray(random.integers(0, 256, (3, 4, 3), np.uint8)).resize((width, height))
    pixels = np.clip(np.asarray(base) + random.integers(-9, 10, (height, width, 3)), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def samples(shard: int, rows: int) -> pa.Table:
    """Return the samples of a shard; keys are shard and row, labels count through the dataset."""
    return pa.table(
        {
            "key": [f"{shard}/{row}" for row in range(rows)],
            "image": [png(100 * shard + row, 20 + row, 31 - shard) for row in range(rows)],
            "label": pa.array([100 * shard + row for row in range(rows)], pa.int32()),
        }
    )


def write_dataset(
    path: Path, rows: Sequence[int] = (5, 3, 7), dropped: Sequence[tuple[int, int]] = (), **settings: Any
) -> Path:
    """Write shards of so many rows, reinforced by the real operator; `dropped` are (shard, row) with a verdict."""
    teacher = {"factory": "small_teachers.cnn", "arguments": {"width": 4}}
    operator = find_operator("reinforce")(
        **{"draws": 4, "top_k": 3, "augment": AUGMENT, "teachers": [teacher], "batch_size": 8} | settings
    )
    metadata = {f"reinforced.{name}": value for name, value in operator.metadata().items()}
    layers = ["samples", "reinforced", *(["verdicts"] if dropped else [])]
    for layer in layers:
        (path / layer).mkdir(parents=True)
    for shard, count in enumerate(rows):
        table = samples(shard, count)
        gone = [row for number, row in dropped if number == shard]
        pq.write_table(table, path / f"samples/{shard:05d}.parquet")
        made = _draw_major(operator(table), count, operator.rows_per_sample, gone)
        pq.write_table(
            made.replace_schema_metadata(metadata), path / f"reinforced/{shard:05d}.parquet", **operator.parquet
        )
        if dropped:
            outcomes = ["dropped" if row in gone else "kept" for row in range(count)]
            pq.write_table(pa.table({"outcome": outcomes}), path / f"verdicts/{shard:05d}.parquet")
    description = {
        "format": 1,
        "name": "small",
        "kept": sum(rows) - len(dropped),
        "layers": {layer: {"draws": operator.rows_per_sample if layer == "reinforced" else None} for layer in layers},
        "shards": [{"name": f"{i:05d}", "rows": count, "files": {}} for i, count in enumerate(rows)],
    }
    (path / "dataset.json").write_text(json.dumps(description))
    return path


def _draw_major(made: pa.Table, rows: int, draws: int, gone: Sequence[int]) -> pa.Table:
    order = [None if row in gone else row * draws + draw for draw in range(draws) for row in range(rows)]
    table = made.take(pa.array(order, pa.int64()))
    table = table.add_column(0, "draw", pa.array(np.repeat(np.arange(draws), rows), pa.uint16()))
    return table.add_column(1, "row", pa.array(np.tile(np.arange(rows), draws), pa.uint32()))
