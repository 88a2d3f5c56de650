"""Run one segment over one shard: read, decode once, apply the fused steps batch by batch, commit.

This is what a worker does, the same in process and on Ray. What it commits, in this order: layer files, the ledger
piece, and last the shard's record; a process that dies in between leaves the shard as not done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from reinforced import columns
from reinforced.again import Again, begin_again
from reinforced.batch import Batch
from reinforced.layers import describe, draws_of, with_partners, write_layer
from reinforced.ledger import FAILED, LedgerPiece
from reinforced.mixing import PARTNER
from reinforced.operator import Source
from reinforced.pipeline import Step
from reinforced.plan import Plan
from reinforced.record import LayerRecord, Record, Status, StepRecord, record_path, removal, sketch_path, status
from reinforced.rows import BATCH_PIXELS, MODEL_BATCH_PIXELS, batches, read_fates, read_rows
from reinforced.steps import StepRunner, measured, ready
from reinforced.storage import Storage, Written
from reinforced.tombstones import tombstones_of


@dataclass
class Done:
    """What a worker hands back to the driver for a shard: small, whatever the shard holds."""

    record: Record
    seconds: dict[str, float] = field(default_factory=dict)
    worked: bool = False


def run_segment(plan: Plan, index: int, record: Record) -> Done:
    """Bring a shard's record up to date with a segment; does nothing where all its steps are done.

    A pass may remove rows and so make later steps of the segment stale that had been done; those then get their own.
    """
    done = Done(record.copy())
    for _ in range(len(plan.segments[index].steps) + 2):
        now = status(plan, done.record)
        steps = _due(plan, index, record.shard, now)
        if steps is None:
            return done
        _Pass(plan, index, steps, done, now).run()
        done.worked = True
    raise AssertionError(f"segment {index} of shard {record.shard} does not settle")


def _due(plan: Plan, index: int, shard: str, now: Status) -> list[Step] | None:
    """Return the steps that a pass must run, with the sketch of a global step that follows; None if there are none."""
    segment = plan.segments[index]
    restart = now.restart and index == 0
    if now.restart and index > 0:
        return None  # found out on the way; the driver sends the shard through the first segment again
    if segment.global_step:
        path = sketch_path(plan, segment.global_step.name, shard, now.fingerprints[segment.global_step.name])
        return None if Storage(plan.out).exists(path) else [segment.global_step]
    steps = [step for step in segment.steps if step.name in now.stale]
    if not steps and not restart:
        return None
    following = plan.segments[index + 1] if index + 1 < len(plan.segments) else None
    if following and following.global_step and following.resources == segment.resources:
        steps.append(following.global_step)  # so that images are decoded once
    return steps


class _Pass:
    """One walk over the rows of a shard through some steps of a segment."""

    def __init__(self, plan: Plan, index: int, steps: list[Step], done: Done, now: Status) -> None:
        self.plan, self.steps, self.done, self.record = plan, steps, done, done.record
        self.storage = Storage(plan.out)
        self.restart = now.restart and index == 0
        self.fresh = self.restart and not plan.in_place
        """Whether this pass reads the source and writes `samples`."""
        self.piece = LedgerPiece()
        self.runner = StepRunner(plan, self.piece)
        self.tombstones = tombstones_of(plan)
        self.again = begin_again(plan, self.record, self.storage, self.tombstones) if self.fresh else Again()
        self.found = self.record.copy()
        if self.restart:
            self.record.steps, self.record.removed, self.record.retry = {}, [], False
        self.fates = None if self.fresh else read_fates(plan, self.record, now.stale, self.storage)
        self.keys: list[str] = []
        """Keys of the rows of the shard's aligned layers."""
        self.positions: list[int] = []
        """Row of the aligned layers for each row of the ledger piece, where they are there already."""
        self.tables: list[pa.Table] = []
        self.kept: list[int] = []

    def run(self) -> None:
        """Do the pass and commit it."""
        batch, rows = self._read() if self.fresh else self._reread()
        most = MODEL_BATCH_PIXELS if any(step.operator.alone for step in self.steps) else BATCH_PIXELS
        whole = any(step.operator.whole_shard or step.operator.waits for step in self.steps)
        for part, numbers in [(batch, rows)] if whole else batches(batch, rows, most):
            part, numbers = self._walk(part, numbers)
            if numbers:
                self.tables.append(part.table)
                self.kept.extend(numbers)
        self._commit()

    def _read(self) -> tuple[Batch, list[int]]:
        """Read the shard from the source; rows that it could not read, or that are no image, fail here."""
        step = self.plan.source
        with self.runner.timed(step):
            source: Source = ready(self.plan, step)
            table = source.resume(self.record.spec, self.again.before)
            errors = table.column("_error").to_pylist() if "_error" in table.column_names else [None] * len(table)
            batch = Batch(table.drop_columns(["_error"]) if "_error" in table.column_names else table)
            seen: set[str] = set()
            for i, key in enumerate(batch.keys):
                errors[i] = errors[i] or (f"the key is taken: {key} is in this shard before" if key in seen else None)
                seen.add(key)
            rows = self.piece.enter(batch.keys)
            self.piece.count(step.name, len(rows))
            fine = zip(batch.keys, rows, errors, strict=True)
            carried = {key: row for key, row, error in fine if error is None and key in self.again.removed}
            added, unreadable = measured(batch)
            batch = batch.with_columns(added, columns.resolve(added))
            unread = zip(batch.keys, errors, unreadable, strict=True)
            errors = [first or (None if key in carried else second) for key, first, second in unread]
        refused = self.tombstones.refused(batch.table)
        for row, error, taken_down in zip(rows, errors, refused, strict=True):
            if taken_down is not None:
                self.piece.refuse(row, step.name, taken_down)
            elif error is not None:
                self.piece.remove(row, FAILED, step.name, error)
        self.again.carry(self.piece, {k: r for k, r in carried.items() if r not in self.piece.removed}, self.steps)
        good = [i for i, row in enumerate(rows) if row not in self.piece.removed]
        return batch.take(good), [rows[i] for i in good]

    def _reread(self) -> tuple[Batch, list[int]]:
        """Read the rows that came this far, and the columns that the steps need, from the dataset's layers."""
        assert self.fates is not None
        needed = {"key", *(name for step in self.steps for name in self.plan.reads[step.name])}
        sizes = {name for name in ("width", "height") if name in self.plan.column_layers}
        here = {name for step in self.steps for name in step.operator.outputs().names}
        table = read_rows(self.plan, self.record.shard, sorted((needed | sizes) - here), self.storage)
        self.keys = table.column("key").to_pylist()
        alive = self.fates.alive(range(len(self.keys)), self.steps[0].name if self.steps else None)
        self.positions = [i for i, reaches in enumerate(alive) if reaches]
        rows = self.piece.enter([self.keys[i] for i in self.positions])
        if self.restart:
            self.piece.count(self.plan.source.name, len(rows))
        return Batch(table).take(self.positions), rows

    def _walk(self, batch: Batch, rows: list[int]) -> tuple[Batch, list[int]]:
        for step in self.steps:
            if self.fates is not None and rows:
                reaches = self.fates.alive([self.positions[row] for row in rows], step.name)
                alive = [i for i, there in enumerate(reaches) if there]
                batch, rows = batch.take(alive), [rows[i] for i in alive]
            batch, rows = self.runner.apply(step, batch, rows)
        return batch, rows

    def _commit(self) -> None:
        names = [self.plan.source.name] if self.restart else []
        names += [step.name for step in self.steps if step.operator.kind != "global"]
        ledger = f"_runs/ledger/{self.plan.name}/{names[0]}/{self.record.shard}.parquet" if names else ""
        writers = {layer: step for layer, (step, _) in self.plan.layers.items() if step in names}
        if any(layer in self.record.layers for layer in writers):
            # What is recorded of these files ends here: were we killed below, the record must not vouch for new bytes.
            self.record.layers = {n: layer for n, layer in self.record.layers.items() if n not in writers}
            self._save(replace(self.found, layers=self.record.layers) if self.again.same else self.record)
        if self.fresh:
            self.keys = [self.piece.keys[row] for row in self.kept]
            self.positions = [-1] * len(self.piece.keys)
            for position, row in enumerate(self.kept):
                self.positions[row] = position
        self.record.rows = len(self.keys)
        for name in names:
            self.piece.count(name, 0)  # no row may have come this far
            gone = removal(name, self.piece.removed_by(name))
            self.record.steps[name] = StepRecord("", self.piece.counts[name], gone, ledger)
            self.record.steps[name].fingerprint = status(self.plan, self.record).fingerprints[name]
        if self.fresh:
            self.record.removed = [s.removed for s in self.record.steps.values() if s.removed]
        for layer, step in writers.items():
            written = self._write_layer(layer)
            fingerprint = self.record.steps[step].fingerprint
            self.record.layers[layer] = LayerRecord(len(self.keys), written.bytes, written.sha256, fingerprint)
        self._write_sketches()
        if names:
            self.storage.write_table(ledger, self.piece.table())
            self._save(self.record)
        if self.again.before.scratch is not None:
            self.again.before.scratch.unlink(missing_ok=True)
        for name, seconds in self.runner.seconds.items():
            self.done.seconds[name] = self.done.seconds.get(name, 0.0) + seconds

    def _save(self, record: Record) -> None:
        self.storage.write(record_path(self.plan.name, record.shard), record.dump())

    def _write_layer(self, layer: str) -> Written:
        step, schema = self.plan.layers[layer]
        draws = draws_of(self.plan, layer)
        if draws is not None:
            table = self._draws(step, schema, draws)
        else:
            table = self._gathered(schema) if self.fresh else self._aligned(schema)
        metadata = describe(layer, ready(self.plan, self.plan.writer(layer)))
        path = f"{layer}/{self.record.shard}.parquet"
        return write_layer(self.plan, layer, path, table.replace_schema_metadata(metadata))

    def _gathered(self, schema: pa.Schema) -> pa.Table:
        """Return the rows that were kept, in order."""
        tables = [table.select(schema.names).cast(schema) for table in self.tables]
        return pa.concat_tables(tables) if tables else schema.empty_table()

    def _aligned(self, schema: pa.Schema) -> pa.Table:
        """Return one row for every row that is in `samples`: nulls where the step did not keep it."""
        values = self._gathered(schema).take(_places(self.positions, self.kept, len(self.keys)))
        return values.set_column(0, schema.field(0), pa.array(self.keys, pa.string()))

    def _draws(self, step: str, schema: pa.Schema, draws: int) -> pa.Table:
        """Return the draws of all rows, draw by draw: draw k holds every row of the shard in order."""
        made = self.runner.wide.get(step, [])
        columns_made = pa.schema([f for f in schema if f.name not in ("draw", "row")])
        values = pa.concat_tables([t for _, t in made]) if made else columns_made.empty_table()
        count = len(self.keys)
        homes = np.array([self.positions[row] for rows, _ in made for row in rows], np.int64)
        if PARTNER in values.column_names:
            values = with_partners(values, homes)
        places = np.full(count, -1, np.int64)
        there = np.flatnonzero(homes >= 0)
        places[homes[there]] = there
        order = places[None, :] * draws + np.arange(draws)[:, None]
        index = pa.array(order.ravel(), mask=np.broadcast_to(places < 0, order.shape).ravel())
        first = next(s.operator for s in self.steps if s.name == step).first_draw_number  # type: ignore[attr-defined]
        draw, rows = np.repeat(np.arange(first, first + draws), count), np.tile(np.arange(count), draws)
        taken = values.take(index)
        made_here = {"draw": pa.array(draw, pa.uint16()), "row": pa.array(rows, pa.uint32())}
        return pa.table(
            [made_here[f.name] if f.name in made_here else taken.column(f.name) for f in schema], schema=schema
        )

    def _write_sketches(self) -> None:
        """Write the sketch of a global step: one row for each row of the shard that reaches it."""
        for step in self.steps:
            if step.operator.kind == "global":
                made = self.runner.wide.get(step.name, [])
                schema = pa.schema([*step.operator.sketch_schema(), pa.field("_error", pa.string())])  # type: ignore[attr-defined]
                table = pa.concat_tables([t for _, t in made]) if made else schema.empty_table()
                rows = [row for numbers, _ in made for row in numbers]
                table = table.add_column(0, "row", pa.array([self.positions[row] for row in rows], pa.int64()))
                table = table.add_column(1, "key", pa.array([self.piece.keys[row] for row in rows], pa.string()))
                fingerprint = status(self.plan, self.record).fingerprints[step.name]
                self.storage.write_table(sketch_path(self.plan, step.name, self.record.shard, fingerprint), table)


def _places(positions: Sequence[int], kept: Sequence[int], count: int) -> pa.Array:
    """Return for each row of the aligned layers its place among the kept ones, null if it is not among them."""
    places = np.full(count, -1, np.int64)
    for place, row in enumerate(kept):
        places[positions[row]] = place
    return pa.array(places, mask=places < 0)
