"""The ledger: one row for each row that entered a pass over a shard, saying where it went."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from reinforced import columns
from reinforced.record import StepCounts

KEPT, DROPPED, FAILED = "kept", "dropped", "failed"

SCHEMA = columns.resolve(("key", "outcome", "step", "reason", "score", "parent_step", "made", "picture"))


class LedgerPiece:
    """The rows of one pass while it runs: enter them, remove some, count, and write what is left as a table."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.removed: dict[int, tuple[str, str, str, float | None]] = {}
        self.counts: dict[str, StepCounts] = {}
        self._refused: set[int] = set()
        self._pictures: dict[int, bytes] = {}
        self._parent_step: dict[int, str] = {}
        self._made: dict[int, int] = {}

    def enter(self, keys: Sequence[str], parent_step: str | None = None) -> list[int]:
        """Add rows and return their numbers in this piece."""
        first = len(self.keys)
        self.keys.extend(keys)
        numbers = list(range(first, len(self.keys)))
        if parent_step:
            self._parent_step.update(dict.fromkeys(numbers, parent_step))
        return numbers

    def count(self, step: str, rows_in: int) -> None:
        """Say that rows came to a step; until one is removed it counts as kept."""
        counts = self.counts.setdefault(step, StepCounts())
        counts.rows_in += rows_in
        counts.kept += rows_in

    def show(self, row: int, picture: bytes) -> None:
        """Keep a small JPEG that shows why a row was removed."""
        self._pictures[row] = picture

    def remove(self, row: int, outcome: str, step: str, reason: str, score: float | None = None) -> None:
        """Take a row out at a step that it had come to."""
        self.removed[row] = (outcome, step, reason, score)
        counts = self.counts[step]
        counts.kept -= 1
        if outcome == DROPPED:
            counts.dropped += 1
        else:
            counts.failed += 1
        kind = reason.partition(":")[0]
        counts.reasons[kind] = counts.reasons.get(kind, 0) + 1

    def refuse(self, row: int, step: str, reason: str) -> None:
        """Take a row out at the source because it was taken down: what is made of the others does not depend on it."""
        self.remove(row, DROPPED, step, reason)
        self._refused.add(row)

    def made(self, row: int, step: str, rows: int) -> None:
        """Say that a generator made so many rows out of this one."""
        self._made[row] = rows
        self.counts[step].made += rows

    def removed_by(self, step: str) -> list[tuple[str, str]]:
        """Return key and reason of the rows that a step removed, in row order, but for those that were taken down."""
        removed = sorted((row, fate) for row, fate in self.removed.items() if row not in self._refused)
        return [(self.keys[row], reason) for row, (_, by, reason, _) in removed if by == step]

    def table(self) -> pa.Table:
        """Return the piece as a table with the columns of `schemas/ledger.yaml`."""
        fates = [self.removed.get(row, (KEPT, None, None, None)) for row in range(len(self.keys))]
        data = {
            "key": self.keys,
            "outcome": [fate[0] for fate in fates],
            "step": [fate[1] for fate in fates],
            "reason": [fate[2] for fate in fates],
            "score": [fate[3] for fate in fates],
            "parent_step": [self._parent_step.get(row) for row in range(len(self.keys))],
            "made": [self._made.get(row) for row in range(len(self.keys))],
            "picture": [self._pictures.get(row) for row in range(len(self.keys))],
        }
        return pa.table(data, schema=SCHEMA)
