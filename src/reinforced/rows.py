"""Rows that are on disk already: reading their columns, and which of them earlier steps have removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from reinforced.batch import Batch
from reinforced.ledger import KEPT
from reinforced.plan import Plan
from reinforced.record import Record
from reinforced.storage import Storage

BATCH_ROWS = 256
BATCH_PIXELS = 1 << 22
"""Most pixels decoded at once for plain steps, 12 MB as RGB: memory that is used again need not be paged in again."""
MODEL_BATCH_PIXELS = 1 << 26
"""Most pixels decoded at once for a model, 200 MB as RGB: few huge images or many small ones."""

ALIVE = 1 << 30


@dataclass(frozen=True)
class Fates:
    """For each row of a shard's aligned layers, the place in the plan of the step that removed it."""

    removed_at: np.ndarray[tuple[int], np.dtype[np.int64]]
    places: dict[str, int]

    def alive(self, rows: Sequence[int], step: str | None = None) -> list[bool]:
        """Return for each row whether it reaches a step; without one, whether it reaches the end."""
        place = self.places[step] if step is not None else ALIVE
        return [bool(there) for there in self.removed_at[list(rows)] >= place]


def read_fates(plan: Plan, record: Record, stale: frozenset[str], storage: Storage) -> Fates:
    """Find out from the ledger which rows the steps that are done have removed; stale steps' removals do not count."""
    places = {step.name: i for i, step in enumerate([plan.source, *plan.steps])}
    keys = read_rows(plan, record.shard, ["key"], storage).column("key").to_pylist()
    removed_at = np.full(len(keys), ALIVE, np.int64)
    row_of = {key: i for i, key in enumerate(keys)}
    if plan.in_place:
        for i in removed_by_others(plan.name, record.shard, storage):
            removed_at[i] = -1
    current = {
        name: step.ledger
        for name, step in record.steps.items()
        if name in places and name not in stale and step.removed and step.removed not in record.removed
    }
    for piece in sorted(set(current.values())):
        table = storage.read_table(piece, ["key", "outcome", "step"])
        for key, outcome, step in zip(*(column.to_pylist() for column in table.columns), strict=True):
            if outcome != KEPT and current.get(step) == piece and key in row_of:
                removed_at[row_of[key]] = min(removed_at[row_of[key]], places[step])
    return Fates(removed_at, places)


def removed_by_others(pipeline: str, shard: str, storage: Storage) -> list[int]:
    """Return the rows of an existing dataset's shard that other pipelines than this one have removed."""
    path = f"verdicts/{shard}.parquet"
    if not storage.exists(path):
        return []
    table = storage.read_table(path, ["pipeline", "outcome"])
    fates = zip(table.column("pipeline").to_pylist(), table.column("outcome").to_pylist(), strict=True)
    return [i for i, (remover, outcome) in enumerate(fates) if outcome != KEPT and remover != pipeline]


def read_rows(plan: Plan, shard: str, columns: Sequence[str], storage: Storage) -> pa.Table:
    """Read columns of a shard from whichever aligned layers hold them, side by side."""
    by_layer: dict[str, list[str]] = {}
    for name in columns:
        by_layer.setdefault(plan.column_layers[name], []).append(name)
    fields, arrays = [], []
    for layer, names in by_layer.items():
        table = storage.read_table(f"{layer}/{shard}.parquet", names)
        for name in names:
            fields.append(table.schema.field(name))
            arrays.append(table.column(name))
    return pa.table(arrays, schema=pa.schema(fields))


def batches(batch: Batch, rows: list[int], most_pixels: int) -> Iterator[tuple[Batch, list[int]]]:
    """Cut a shard's rows into batches by number and by pixels; the cuts depend on the rows alone."""
    table = batch.table
    pixels = np.zeros(len(rows), np.int64)
    if "width" in table.column_names and "height" in table.column_names:
        width, height = (table.column(n).fill_null(0).to_numpy().astype(np.int64) for n in ("width", "height"))
        pixels = width * height
    start = 0
    while start < len(rows):
        fitting = int(np.searchsorted(np.cumsum(pixels[start : start + BATCH_ROWS]), most_pixels, side="right"))
        stop = start + max(1, min(fitting, BATCH_ROWS))
        yield Batch(table.slice(start, stop - start)), rows[start:stop]
        start = stop
