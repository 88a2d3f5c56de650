"""Recount the ledger of one shard: follow its rows through the steps and compare with what the record says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa

from reinforced.ledger import DROPPED, FAILED, KEPT
from reinforced.record import Record, StepCounts, record_path, removal
from reinforced.storage import Storage


class Removal(NamedTuple):
    """Who took a row out, and why."""

    pipeline: str
    step: str
    outcome: str
    reason: str


class _Row(NamedTuple):
    key: str
    outcome: str
    step: str | None
    reason: str | None
    parent_step: str | None
    made: int | None


@dataclass
class Recount:
    """What the ledger of a shard says: the rows that came in (after generators), and which were removed by whom."""

    problems: list[str] = field(default_factory=list)
    base: list[str] = field(default_factory=list)
    removed: dict[str, Removal] = field(default_factory=dict)
    arrived: dict[str, set[str]] = field(default_factory=dict)
    """Keys that came to each step, for steps that a pass of their own has run."""
    counts: dict[str, StepCounts] = field(default_factory=dict)
    removals: dict[str, str] = field(default_factory=dict)
    """For each step the digest of the rows that it removed."""


def recount(pipeline: str, kinds: Mapping[str, str], record: Record, storage: Storage) -> Recount:
    """Recount a shard's record. kinds: the pipeline's steps in order, each with its kind."""
    return _Counter(pipeline, kinds, record, storage).count()


class _Counter:
    def __init__(self, pipeline: str, kinds: Mapping[str, str], record: Record, storage: Storage) -> None:
        self.pipeline, self.record, self.storage = pipeline, record, storage
        self.steps = list(kinds)
        self.generators = [step for step, kind in kinds.items() if kind == "generator"]
        self.where = record_path(pipeline, record.shard)
        self.result = Recount()
        self.pieces: dict[str, list[_Row]] = {}

    def count(self) -> Recount:
        """Go through the steps in order."""
        missing = [step for step in self.steps if step not in self.record.steps]
        if missing:
            self._say(self.where, f"says nothing of step {missing[0]}")
            return self.result
        for step in self.steps:
            path = self.record.steps[step].ledger
            if path not in self.pieces and not self._load(path):
                return self.result
        first = self.record.steps[self.steps[0]].ledger
        last = self.generators[-1] if self.generators else None
        self.result.base = [row.key for row in self.pieces[first] if row.parent_step == last]
        for step in self.steps:
            self._step(step, first)
        return self.result

    def _load(self, path: str) -> bool:
        try:
            table = self.storage.read_table(path, list(_Row._fields))
        except (OSError, pa.ArrowException) as error:
            self._say(path, "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}")
            return False
        self.pieces[path] = [_Row(*values) for values in zip(*(c.to_pylist() for c in table.columns), strict=True)]
        for row in self.pieces[path]:
            if (row.outcome == KEPT) != (row.step is None) or row.outcome not in (KEPT, DROPPED, FAILED):
                self._say(path, f"key '{row.key}': outcome {row.outcome} does not go with step {row.step}")
        return True

    def _step(self, step: str, first: str) -> None:
        done = self.record.steps[step]
        rows = [row for row in self.pieces[done.ledger] if done.ledger != first or self._passes(row, step)]
        arrived = [row for row in rows if row.key not in self.result.removed]
        gone = [row for row in self.pieces[done.ledger] if row.step == step]
        if done.ledger != first:
            self.result.arrived[step] = {row.key for row in arrived}
        reasons = Counter((row.reason or "").partition(":")[0] for row in gone)
        outcomes = Counter(row.outcome for row in gone)
        made = sum(row.made or 0 for row in arrived) if step in self.generators else 0
        kept = len(arrived) - len(gone)
        counted = StepCounts(len(arrived), kept, outcomes[DROPPED], outcomes[FAILED], made, dict(reasons))
        self.result.counts[step] = counted
        # What was taken down is the one thing that a source drops; the steps after it do not depend on that.
        lasting = [row for row in gone if step != self.steps[0] or row.outcome != DROPPED]
        self.result.removals[step] = removal(step, ((row.key, row.reason) for row in lasting))
        for name, value in vars(counted).items():
            said = getattr(done.counts, name)
            if said != value:
                self._say(self.where, f"step {step}: {name} is {said}, the ledger ({done.ledger}) counts {value}")
        if self.result.removals[step] != done.removed:
            self._say(done.ledger, f"step {step}: the removed rows or their reasons are not those of {self.where}")
        children = sum(row.parent_step == step for row in self.pieces[done.ledger])
        if step in self.generators and children != made:
            self._say(done.ledger, f"step {step} made {made} rows, but {children} came from it")
        for row in gone:
            self.result.removed[row.key] = Removal(self.pipeline, step, row.outcome, row.reason or "")

    def _passes(self, row: _Row, step: str) -> bool:
        """Return whether a row comes to a step: a generator ends the rows before it and starts those it makes."""
        born = self.steps.index(row.parent_step) if row.parent_step in self.steps else -1
        ends = [self.steps.index(g) for g in self.generators if self.steps.index(g) > born]
        return born < self.steps.index(step) <= min(ends, default=len(self.steps))

    def _say(self, path: str, problem: str) -> None:
        self.result.problems.append(f"{path}: {problem}")
