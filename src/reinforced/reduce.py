"""Decide a global step: one reduction over every shard's sketch, in DuckDB, which spills to disk when it must."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from reinforced.layers import describe, write_layer
from reinforced.ledger import DROPPED, FAILED, LedgerPiece
from reinforced.operator import Global
from reinforced.pipeline import Step
from reinforced.plan import Plan, digest
from reinforced.record import LayerRecord, Record, StepCounts, StepRecord, record_path, removal, sketch_path, status
from reinforced.rows import read_rows
from reinforced.steps import ready
from reinforced.storage import Storage


def decide(plan: Plan, step: Step, records: Mapping[str, Record]) -> bool:
    """Bring every shard's record up to date with a global step; returns whether there was anything to decide.

    All shards' sketches must be there. The decision is made again when any shard's sketch is another than before.
    """
    fingerprints = {shard: status(plan, record).fingerprints[step.name] for shard, record in records.items()}
    over = digest([plan.identities[step.name], sorted(fingerprints.items())])
    layer = next((name for name, (writer, _) in plan.layers.items() if writer == step.name), None)
    if all(_is_decided(record, step, over, layer) for record in records.values()):
        return False
    storage = Storage(plan.out)
    with tempfile.TemporaryDirectory(prefix="reinforced-") as folder:
        files = _sketches(plan, step, fingerprints, storage, Path(folder))
        decisions = _decisions(plan, step, files, Path(folder))
    for shard, record in records.items():
        sketch = storage.read_table(files[shard], ["key", "row", "_error"]).sort_by("row")
        made = StepRecord(fingerprints[shard], StepCounts(), over=over)
        _commit(plan, step, layer, record, _join(sketch, decisions[shard]), made)
    return True


def _is_decided(record: Record, step: Step, over: str, layer: str | None) -> bool:
    done = record.steps.get(step.name)
    return done is not None and done.over == over and (layer is None or layer in record.layers)


def _commit(plan: Plan, step: Step, layer: str | None, record: Record, decided: pa.Table, made: StepRecord) -> None:
    """Bring a shard's ledger piece, layer and last its record up to date with what was decided of its rows."""
    storage = Storage(plan.out)
    piece = _judge(step, decided)
    made.counts, made.removed = piece.counts[step.name], removal(step.name, piece.removed_by(step.name))
    made.ledger = f"_runs/ledger/{plan.name}/{step.name}/{record.shard}.parquet"
    if layer is not None:
        columns = decided.select(plan.layers[layer][1].names)
        made.said = hashlib.blake2b(repr(columns.to_pydict()).encode(), digest_size=16).hexdigest()
    before = record.steps.get(step.name)
    same = before is not None and (before.said, before.fingerprint) == (made.said, made.fingerprint)
    if layer is not None and not (same and layer in record.layers):
        _write_layer(plan, layer, record, columns, made.fingerprint)
    elif before == made:
        return
    storage.write_table(made.ledger, piece.table())
    record.steps[step.name] = made
    storage.write(record_path(plan.name, record.shard), record.dump())


def _write_layer(plan: Plan, layer: str, record: Record, columns: pa.Table, fingerprint: str) -> None:
    """Write the layer for the rows that are in `samples` now: compaction may have removed some since the sketch."""
    storage, schema = Storage(plan.out), plan.layers[layer][1]
    if record.layers.pop(layer, None) is not None:
        # Were we killed below, the record must not vouch for new bytes.
        storage.write(record_path(plan.name, record.shard), record.dump())
    keys = read_rows(plan, record.shard, ["key"], storage).column("key").combine_chunks()
    found = columns.take(pc.index_in(keys, columns.column("key").combine_chunks()))
    arrays = [keys, *(found.column(f.name).combine_chunks() for f in schema if f.name != "key")]
    metadata = describe(layer, ready(plan, plan.writer(layer)))
    table = pa.table([a.cast(f.type) for a, f in zip(arrays, schema, strict=True)], schema.with_metadata(metadata))
    written = write_layer(plan, layer, f"{layer}/{record.shard}.parquet", table)
    record.layers[layer] = LayerRecord(len(keys), written.bytes, written.sha256, fingerprint)


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


def _decisions(plan: Plan, step: Step, files: Mapping[str, str], folder: Path) -> dict[str, pa.Table]:
    """Run the reduction and return, by shard, the rows it decided on."""
    import duckdb

    operator: Global = ready(plan, step)
    storage = Storage(plan.out)
    names = [storage.full(f) if storage.local else str(folder / f.rpartition("/")[2]) for f in files.values()]
    with duckdb.connect(config={"temp_directory": str(folder / "spill")}) as connection:
        every = connection.read_parquet(names, filename=True)
        sketches = every.filter("_error IS NULL").project(
            r"regexp_extract(filename, '([^/\\]+)-[0-9a-f]+\.parquet$', 1) AS shard, * EXCLUDE (filename, _error)"
        )
        found = operator.reduce(sketches).order("shard, row").to_arrow_table()
    counts = {pair["values"]: pair["counts"] for pair in pc.value_counts(found.column("shard")).to_pylist()}
    decisions, start = {}, 0
    for shard in sorted(files):
        decisions[shard] = found.slice(start, counts.get(shard, 0))
        start += counts.get(shard, 0)
    return decisions


def _join(sketch: pa.Table, decisions: pa.Table) -> pa.Table:
    """Return a shard's sketched rows, in order, with what was decided of them: nulls where nothing was."""
    names = [name for name in decisions.column_names if name not in ("shard", "row")]
    places = pc.index_in(sketch.column("row"), decisions.column("row").combine_chunks())
    found = decisions.select(names).take(places)
    return pa.table([*sketch.columns, *found.columns], [*sketch.column_names, *names])


def _judge(step: Step, decided: pa.Table) -> LedgerPiece:
    """Write the step's ledger piece for a shard."""
    piece = LedgerPiece()
    numbers = piece.enter(decided.column("key").to_pylist())
    piece.count(step.name, len(numbers))
    columns = (decided.column(name).to_pylist() for name in ("_error", "reason", "score"))
    for number, error, reason, score in zip(numbers, *columns, strict=True):
        if error is not None:
            piece.remove(number, FAILED, step.name, error)
        elif reason is not None:
            piece.remove(number, DROPPED, step.name, reason, score)
    return piece
