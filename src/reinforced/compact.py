"""Finish a shard: rewrite its layers without the rows that were removed, or say in `verdicts` which ones those are.

Compaction changes several files of a shard at once. The new files and the new record are written aside first; the
record, written last, is the commit. What is aside and committed is then moved in place, again after a crash if need be.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa

from reinforced import columns
from reinforced.layers import draws_of, kept_rows, write_layer
from reinforced.ledger import KEPT
from reinforced.plan import Plan
from reinforced.record import LayerRecord, Record, record_path
from reinforced.rows import read_fates, read_rows
from reinforced.storage import Storage

ASIDE = "_runs/compact"

VERDICTS = columns.resolve(("key", "outcome", "pipeline", "step", "reason", "score"))


def unfinished(plan: Plan, record: Record) -> bool:
    """Return whether a shard has removed rows still in its layers, or verdicts to be written."""
    gone = all(step.removed in record.removed for step in record.steps.values() if step.removed)
    return not plan.compact or not gone


def finish_shard(plan: Plan, record: Record) -> Record:
    """Compact a shard, or write its verdicts where the pipeline asks to keep the dropped rows."""
    storage = Storage(plan.out)
    if not plan.compact:
        return _write_verdicts(plan, record, storage)
    alive = np.array(read_fates(plan, record, frozenset(), storage).alive(range(record.rows)), bool)
    return _compact(plan, record, alive, storage)


def _compact(plan: Plan, record: Record, alive: np.ndarray[tuple[int], np.dtype[np.bool_]], storage: Storage) -> Record:
    aside = f"{ASIDE}/{record.shard}"
    kept = int(alive.sum())
    layers = {}
    for layer in plan.layers:
        before = record.layers[layer]
        table = storage.read_table(f"{layer}/{record.shard}.parquet")
        draws = draws_of(plan, layer)
        table = kept_rows(table, alive, draws)
        written = write_layer(plan, layer, f"{aside}/{layer}.parquet", table)
        layers[layer] = LayerRecord(kept, written.bytes, written.sha256, before.fingerprint)
    removed = [step.removed for step in record.steps.values() if step.removed]
    after = dataclasses.replace(record, layers=layers, rows=kept, removed=removed)
    storage.write(f"{aside}/record.json", after.dump())
    _move_in_place(plan.name, after, storage)
    return after


def _move_in_place(pipeline: str, record: Record, storage: Storage) -> None:
    aside = f"{ASIDE}/{record.shard}"
    for name in sorted(storage.listing(aside)):
        if name.endswith(".parquet"):
            storage.move(f"{aside}/{name}", f"{name.removesuffix('.parquet')}/{record.shard}.parquet")
    storage.write(record_path(pipeline, record.shard), record.dump())
    storage.remove(aside)


def recover(pipeline: str, storage: Storage) -> None:
    """Finish the compactions that were committed, and forget those that were not, after a crash."""
    for shard in storage.folders(ASIDE):
        try:
            record = Record.parse(storage.read(f"{ASIDE}/{shard}/record.json"))
        except FileNotFoundError:
            storage.remove(f"{ASIDE}/{shard}")
        else:
            _move_in_place(pipeline, record, storage)


def _write_verdicts(plan: Plan, record: Record, storage: Storage) -> Record:
    """Write the fate of every row: the earliest removal by this pipeline, or what another pipeline has removed."""
    keys = read_rows(plan, record.shard, ["key"], storage).column("key").to_pylist()
    fates: dict[str, tuple[str, str, str, str, float | None]] = {}
    path = f"verdicts/{record.shard}.parquet"
    if storage.exists(path):
        for row in storage.read_table(path).to_pylist():
            if row["outcome"] != KEPT and row["pipeline"] != plan.name:
                fates[row["key"]] = (row["outcome"], row["pipeline"], row["step"], row["reason"], row["score"])
    for name in (step.name for step in [plan.source, *plan.steps]):
        done = record.steps[name]
        if done.removed:
            for row in storage.read_table(done.ledger).to_pylist():
                if row["step"] == name:
                    fates.setdefault(row["key"], (row["outcome"], plan.name, name, row["reason"], row["score"]))
    values = [fates.get(key, (KEPT, None, None, None, None)) for key in keys]
    arrays = [keys, *(list(column) for column in zip(*values, strict=True))] if keys else [[] for _ in VERDICTS]
    table = pa.table([pa.array(a, f.type) for a, f in zip(arrays, VERDICTS, strict=True)], schema=VERDICTS)
    written = storage.write_table(path, table)
    verdicts = LayerRecord(len(keys), written.bytes, written.sha256, "")
    if record.layers.get("verdicts") != verdicts:
        record = dataclasses.replace(record, layers=record.layers | {"verdicts": verdicts})
        storage.write(record_path(plan.name, record.shard), record.dump())
    return record
