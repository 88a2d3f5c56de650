"""Decide a global step: one reduction over every shard's sketch, in DuckDB, which spills to disk when it must."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from reinforced.ledger import DROPPED, FAILED, LedgerPiece
from reinforced.operator import Global
from reinforced.pipeline import Step
from reinforced.plan import Plan, digest
from reinforced.record import Record, StepRecord, record_path, removal, sketch_path, status
from reinforced.steps import ready
from reinforced.storage import Storage


def decide(plan: Plan, step: Step, records: Mapping[str, Record]) -> bool:
    """Bring every shard's record up to date with a global step; returns whether there was anything to decide.

    All shards' sketches must be there. The decision is made again when any shard's sketch is another than before.
    """
    fingerprints = {shard: status(plan, record).fingerprints[step.name] for shard, record in records.items()}
    over = digest([plan.identities[step.name], sorted(fingerprints.items())])
    if all(r.steps.get(step.name) is not None and r.steps[step.name].over == over for r in records.values()):
        return False
    storage = Storage(plan.out)
    with tempfile.TemporaryDirectory(prefix="reinforced-") as folder:
        files = _sketches(plan, step, fingerprints, storage, Path(folder))
        dropped = _dropped(plan, step, files, Path(folder)) if files else {}
        for shard, record in records.items():
            ledger = f"_runs/ledger/{plan.name}/{step.name}/{shard}.parquet"
            piece = _judge(step, storage.read_table(files[shard], ["key", "row", "_error"]), dropped.get(shard, {}))
            gone = removal(step.name, piece.removed_by(step.name))
            before = record.steps.get(step.name)
            made = StepRecord(fingerprints[shard], piece.counts[step.name], gone, ledger, over)
            if before != made:
                storage.write_table(ledger, piece.table())
                record.steps[step.name] = made
                storage.write(record_path(plan.name, shard), record.dump())
    return True


def _sketches(
    plan: Plan, step: Step, fingerprints: Mapping[str, str], storage: Storage, folder: Path
) -> dict[str, str]:
    """Return the path of each shard's sketch, and remove those of other fingerprints."""
    paths = {shard: sketch_path(plan, step.name, shard, f) for shard, f in fingerprints.items()}
    wanted = {path.rpartition("/")[2] for path in paths.values()}
    base = f"_runs/sketches/{plan.name}/{step.name}"
    for name in storage.listing(base):
        if name not in wanted:
            storage.remove(f"{base}/{name}")
    if storage.local is None:  # DuckDB reads files: bring the narrow sketches here
        for path, data in zip(paths.values(), storage.read_many(list(paths.values())), strict=True):
            (folder / path.rpartition("/")[2]).write_bytes(data)
    return paths


def _dropped(plan: Plan, step: Step, files: Mapping[str, str], folder: Path) -> dict[str, dict[int, tuple[str, float]]]:
    """Run the reduction and return, by shard and row, the reason and score of the rows to drop."""
    import duckdb

    operator: Global = ready(plan, step)
    storage = Storage(plan.out)
    names = [storage.full(f) if storage.local else str(folder / f.rpartition("/")[2]) for f in files.values()]
    spill = folder / "spill"
    with duckdb.connect(config={"temp_directory": str(spill)}) as connection:
        every = connection.read_parquet(names, filename=True)
        sketches = every.filter("_error IS NULL").project(
            r"regexp_extract(filename, '([^/\\]+)-[0-9a-f]+\.parquet$', 1) AS shard, * EXCLUDE (filename, _error)"
        )
        found = operator.reduce(sketches).order("shard, row").to_arrow_table()
    columns = (found.column(name).to_pylist() for name in ("shard", "row", "reason", "score"))
    dropped: dict[str, dict[int, tuple[str, float]]] = {}
    for shard, row, reason, score in zip(*columns, strict=True):
        dropped.setdefault(shard, {})[row] = (reason, score)
    return dropped


def _judge(step: Step, sketch: pa.Table, dropped: Mapping[int, tuple[str, float]]) -> LedgerPiece:
    """Write the step's ledger piece for a shard."""
    piece = LedgerPiece()
    order = np.argsort(sketch.column("row").to_numpy(), kind="stable")
    sketch = sketch.take(pa.array(order))
    numbers = piece.enter(sketch.column("key").to_pylist())
    piece.count(step.name, len(numbers))
    rows, errors = sketch.column("row").to_pylist(), sketch.column("_error").to_pylist()
    for number, row, error in zip(numbers, rows, errors, strict=True):
        if error is not None:
            piece.remove(number, FAILED, step.name, error)
        elif row in dropped:
            piece.remove(number, DROPPED, step.name, *dropped[row])
    return piece
