"""What is done: one small JSON file a shard, written last, that says which steps its layers hold.

A run resumes by comparing each step's fingerprint with the one recorded. The fingerprint covers the step itself, the
steps whose columns it reads, and which rows were removed from this shard before it: so a changed step is made again
with what depends on it, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reinforced.operator import Generator, ShardSpec
from reinforced.plan import Plan, digest
from reinforced.storage import Storage


@dataclass
class StepCounts:
    """What a step did to the rows of a shard; `reasons` counts the dropped and failed ones by their reason's kind."""

    rows_in: int = 0
    kept: int = 0
    dropped: int = 0
    failed: int = 0
    made: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def add(self, other: StepCounts) -> None:
        """Add another shard's counts."""
        self.rows_in += other.rows_in
        self.kept += other.kept
        self.dropped += other.dropped
        self.failed += other.failed
        self.made += other.made
        for reason, count in other.reasons.items():
            self.reasons[reason] = self.reasons.get(reason, 0) + count


@dataclass
class StepRecord:
    """A finished step of a shard."""

    fingerprint: str
    counts: StepCounts
    removed: str = ""
    """Digest of the rows it removed; empty if it removed none."""
    ledger: str = ""
    """Path of the ledger piece that lists them."""
    over: str = ""
    """For a global step, a digest of all shards' sketches that it decided over."""
    said: str = ""
    """For a global step with a layer, a digest of its columns in this shard: what steps that read them depend on."""


@dataclass
class LayerRecord:
    """A layer file of a shard as it was written."""

    rows: int
    bytes: int
    sha256: str
    fingerprint: str


@dataclass
class Record:
    """All that is committed of one shard by one pipeline."""

    shard: str
    spec: ShardSpec
    content: str
    """Digest of the spec: another content of the shard at the source is another digest."""
    steps: dict[str, StepRecord] = field(default_factory=dict)
    layers: dict[str, LayerRecord] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    """Digests of removed rows that are gone from the layers themselves: by the first pass, or by compaction."""
    sinks: dict[str, list[str]] = field(default_factory=dict)
    """Per sink the fingerprint of what it wrote, its identity, then the paths it wrote."""
    rows: int = 0
    """Rows of the shard's aligned layers."""
    kept: int = 0
    """Rows of those that every step so far has kept."""
    retry: bool = False
    """Whether rows that the source could not read are to be tried again."""
    relieved: str = ""
    """Digest of the spec since rows were taken down: it stands for `content`, whose steps hold for the other rows."""

    def dump(self) -> bytes:
        """Return the record as JSON bytes."""
        return json.dumps(vars(self), default=vars, sort_keys=True).encode()

    def copy(self) -> Record:
        """Return a record that can be brought up to date while this one stays as it is."""
        return replace(self, steps=dict(self.steps), layers=dict(self.layers), sinks=dict(self.sinks))

    @classmethod
    def parse(cls, data: bytes) -> Record:
        """Read a record from its JSON bytes."""
        raw: dict[str, Any] = json.loads(data)
        raw["steps"] = {
            name: StepRecord(**(step | {"counts": StepCounts(**step["counts"])})) for name, step in raw["steps"].items()
        }
        raw["layers"] = {name: LayerRecord(**layer) for name, layer in raw["layers"].items()}
        return cls(**raw)


def record_path(pipeline: str, shard: str) -> str:
    """Return where a shard's record lies in the dataset."""
    return f"_runs/records/{pipeline}/{shard}.json"


def read_records(storage: Storage, pipeline: str) -> dict[str, Record]:
    """Read every shard's record of a pipeline, by shard name."""
    names = sorted(n for n in storage.listing(f"_runs/records/{pipeline}") if n.endswith(".json"))
    data = storage.read_many([f"_runs/records/{pipeline}/{name}" for name in names])
    records = (Record.parse(one) for one in data)
    return {record.shard: record for record in records}


@dataclass(frozen=True)
class Status:
    """Where a shard stands: the fingerprint each step must have, and the steps that must be made (again)."""

    fingerprints: dict[str, str]
    stale: frozenset[str]
    restart: bool
    """Whether the rows themselves must be read again from the source."""


def status(plan: Plan, record: Record) -> Status:
    """Compare a shard's record with the plan, optimistically: a step not made yet is taken to remove nothing."""
    source = plan.source.name
    fingerprints = {source: digest([plan.identities[source], record.content])}
    given = dict(fingerprints)  # what the steps that read a step's columns depend on
    stale: set[str] = set()
    removed: list[str] = []
    lost = {step for layer, (step, _) in plan.layers.items() if layer not in record.layers}
    done = record.steps.get(source)
    restart = record.retry or done is None or done.fingerprint != fingerprints[source] or source in lost
    if done is not None and done.removed:
        removed.append(done.removed)
    for segment in plan.segments:
        for step in segment.steps:
            fingerprint = step_fingerprint(plan, step.name, given, removed)
            fingerprints[step.name] = given[step.name] = fingerprint
            done = record.steps.get(step.name)
            if done is not None and done.fingerprint == fingerprint and step.name not in lost:
                given[step.name] += done.said
                removed.extend([done.removed] if done.removed else [])
                continue
            stale.add(step.name)
            unreachable = segment.index > 0 and any(gone not in removed for gone in record.removed)
            restart = restart or unreachable or isinstance(step.operator, Generator)
    # Rows that are gone from the layers must be gone by this plan too, else only the source still has them.
    restart = restart or any(gone not in removed for gone in record.removed)
    if restart:
        return Status(fingerprints, frozenset({source, *(step.name for step in plan.steps)}), True)
    return Status(fingerprints, frozenset(stale), False)


def step_fingerprint(plan: Plan, step: str, done: dict[str, str], removed: Sequence[str]) -> str:
    """Return a step's fingerprint in a shard, given those before it and the rows removed before it.

    That of a global step covers its sketch of this shard; `StepRecord.over` covers all the shards that it decided over.
    """
    return digest([plan.identities[step], [done[provider] for provider in plan.providers[step]], list(removed)])


def removal(step: str, keys_and_reasons: Iterable[tuple[str, str | None]]) -> str:
    """Return a digest of the rows that a step removed from a shard; empty if it removed none."""
    gone = [list(pair) for pair in keys_and_reasons]
    return digest([step, gone]) if gone else ""


def sketch_path(plan: Plan, step: str, shard: str, fingerprint: str) -> str:
    """Return where a global step's sketch of a shard lies; another fingerprint is another file."""
    return f"_runs/sketches/{plan.name}/{step}/{shard}-{fingerprint}.parquet"
