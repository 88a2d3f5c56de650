"""What is kept when a shard is read from its source again, where reading costs more than this machine's time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from reinforced.before import Before
from reinforced.ledger import FAILED, KEPT, LedgerPiece
from reinforced.operator import Generator, Source
from reinforced.pipeline import Step
from reinforced.plan import Plan
from reinforced.record import Record, record_path, status
from reinforced.storage import Storage
from reinforced.tombstones import Tombstones

SPOOL = "_runs/spool"

Removal = tuple[str, str, str, float | None]
"""Outcome, step, reason and score."""


@dataclass(frozen=True)
class Again:
    """What a source need not get again of a shard, and the rows that its later steps have judged already."""

    before: Before = field(default_factory=Before)
    same: bool = False
    """Whether the shard was read before by the same source with the same parameters."""
    removed: dict[str, Removal] = field(default_factory=dict)
    """Rows that unchanged steps of the first pass have removed, by key; their bytes are gone, their fate holds."""

    def carry(self, piece: LedgerPiece, rows: dict[str, int], steps: Iterable[Step]) -> None:
        """Enter the fate of rows that were removed before, by key, into a new piece of the ledger."""
        names = [step.name for step in steps]
        for key, (outcome, at, reason, score) in self.removed.items():
            if key in rows:
                for name in names[: names.index(at) + 1]:
                    piece.count(name, 1)
                piece.remove(rows[key], outcome, at, reason, score)


def begin_again(plan: Plan, record: Record, storage: Storage, tombstones: Tombstones) -> Again:
    """Find what is there of a shard that is about to be read from its source, if the source has a use for it."""
    source = plan.source.operator
    assert isinstance(source, Source)
    if not source.transient:
        return Again()
    now, done = status(plan, record), record.steps.get(plan.source.name)
    fingerprint = now.fingerprints[plan.source.name]
    scratch = storage.local / f"{SPOOL}/{plan.name}/{record.shard}-{fingerprint}" if storage.local else None
    first = plan.segments[0].steps
    if done is None or done.fingerprint != fingerprint or any(isinstance(s.operator, Generator) for s in first):
        return Again(Before(scratch=scratch))
    samples = f"samples/{record.shard}.parquet"
    rows = storage.read_table(samples) if storage.exists(samples) else None
    unchanged = all(
        s.name in record.steps and record.steps[s.name].fingerprint == now.fingerprints[s.name] for s in first
    )
    failed: dict[str, str] = {}
    removed: dict[str, Removal] = {}
    for row in storage.read_table(done.ledger).to_pylist() if storage.exists(done.ledger) else ():
        if row["outcome"] == FAILED and row["step"] == plan.source.name:
            if not (record.retry and row["reason"].partition(":")[0] in source.transient):
                failed[row["key"]] = row["reason"]
        elif row["outcome"] != KEPT and row["step"] != plan.source.name and unchanged:
            removed[row["key"]] = (row["outcome"], row["step"], row["reason"], row["score"])
    return Again(Before(rows, failed, removed.keys() | tombstones.keys, scratch), True, removed)


def mark_retries(plan: Plan, records: Iterable[Record], storage: Storage) -> None:
    """Mark the shards with rows that the source may read on another try, on disk too."""
    source = plan.source.operator
    assert isinstance(source, Source)
    for record in records:
        done = record.steps.get(plan.source.name)
        if done is not None and not plan.in_place and source.transient & done.counts.reasons.keys():
            record.retry = True
            storage.write(record_path(plan.name, record.shard), record.dump())
