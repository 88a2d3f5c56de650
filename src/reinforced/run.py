"""Run a plan: shards through segments on an engine, global steps in between, then compaction, `dataset.json`, sinks."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import platform
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from reinforced import again, compact, dataset, description, finish, shards, takedown
from reinforced.engine import Engine, Stage, make_engine
from reinforced.errors import RunError
from reinforced.lease import Lease
from reinforced.operator import Resources, Source
from reinforced.plan import Plan, Segment
from reinforced.plan import plan as make_plan
from reinforced.record import Record, StepCounts, sketch_path, status
from reinforced.reduce import decide
from reinforced.segment import Done, run_segment
from reinforced.storage import Storage


class Listener(Protocol):
    """Hears how a run goes on; the command line's progress display is one."""

    def phase(self, title: str, shards: int, to_do: int) -> None:
        """A phase over so many shards begins, of which some are done already."""

    def shard(self, record: Record, seconds: Mapping[str, float]) -> None:
        """A shard has come through the phase."""


class _Silent:
    def phase(self, title: str, shards: int, to_do: int) -> None:
        pass

    def shard(self, record: Record, seconds: Mapping[str, float]) -> None:
        pass


@dataclass
class RunResult:
    """What a run did: the dataset, per step its counts over all shards and its seconds in this run."""

    plan: Plan
    dataset: dataset.Dataset
    run_id: str
    counts: dict[str, StepCounts]
    seconds: dict[str, float] = field(default_factory=dict)
    wall_s: float = 0.0
    shards_made: int = 0

    @property
    def path(self) -> str:
        """Where the dataset is."""
        return self.dataset.path


def run(
    pipeline: str | Path | Mapping[str, Any] | Plan,
    overrides: Sequence[str] = (),
    *,
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
    retry_failed: bool = False,
    listener: Listener | None = None,
) -> RunResult:
    """Run a pipeline (a file, a recipe's name or a mapping) and return what it made; resumes what was begun before.

    engine: `local` (a pool of this machine's cores) or `ray` (this machine, or the cluster at `address`).
    retry_failed: try rows again that the source could not read for a passing reason, such as a URL that timed out.
    Raises: RequestError before anything starts if the request is wrong; RunError if the run had to stop: what was
    committed stays, and the same call resumes it.
    """
    plan = pipeline if isinstance(pipeline, Plan) else make_plan(pipeline, overrides)
    return _Run(plan, make_engine(engine, plan, workers, address), listener or _Silent(), retry_failed).run()


class _Run:
    def __init__(self, plan: Plan, engine: Engine, listener: Listener, retry_failed: bool) -> None:
        self.plan, self.engine, self.listener, self.retry_failed = plan, engine, listener, retry_failed
        self.storage = Storage(plan.out)
        self.records: dict[str, Record] = {}
        self.gone: list[Record] = []
        self.seconds: dict[str, float] = {}
        self.run_id = time.strftime("%Y%m%d-%H%M%S-") + uuid.uuid4().hex[:6]
        self.made: set[str] = set()
        self.rows = self.failed = 0

    def run(self) -> RunResult:
        start = time.perf_counter()
        description.refuse_other(self.plan, self.storage)
        with self.engine, Lease(self.storage):
            takedown.settle(self.storage)
            if not self.plan.in_place:
                compact.recover(self.plan.name, self.storage)
            self.records, self.gone = shards.open_records(self.plan, self.storage)
            if not self.records:
                raise RunError(f"{self.plan.source.name} found nothing to read; check its parameters")
            if self.retry_failed:
                again.mark_retries(self.plan, self.records.values(), self.storage)
            self._count_all()
            self._save_plan()
            description.claim(self.plan, self.storage)
            self._make()
            self.storage.remove(again.SPOOL)
            self._finish()
            opened = dataset.open_dataset(self.plan.out)
            self._sinks(opened)
            shards.forget(self.plan, self.records, self.gone, self.storage)
            result = RunResult(self.plan, opened, self.run_id, self.counts(), self.seconds)
            result.wall_s, result.shards_made = time.perf_counter() - start, len(self.made)
            self._save_metrics(result)
        return result

    def _make(self) -> None:
        """Run the phases. A step that decides otherwise than before may need rows that compaction has removed: those
        shards are read from the source again, and the phases begin anew."""
        for _ in range(2 * len(self.plan.segments) + 2):
            if all(self._phase(segments, global_step) for segments, global_step in _phases(self.plan)):
                return
        raise AssertionError(f"the run of {self.plan.name} does not settle")

    def counts(self) -> dict[str, StepCounts]:
        """Add up every step's counts over the shards."""
        totals = {step.name: StepCounts() for step in [self.plan.source, *self.plan.steps]}
        for record in self.records.values():
            for name, step in record.steps.items():
                if name in totals:
                    totals[name].add(step.counts)
        return totals

    def _phase(self, segments: list[Segment], global_step: Segment | None) -> bool:
        """Bring every shard through some segments and a global step; returns whether all shards can go on from here."""
        names = [step.name for segment in segments for step in segment.steps]
        title = " → ".join([self.plan.source.name, *names] if segments and segments[0].index == 0 else names)
        stages = [self._stage(segment) for segment in segments]
        self._through(title, stages, lambda r: self._pending(r, segments))
        if segments and segments[0].index == 0 and self.made and not self.plan.in_place:
            finish.refuse_shared_keys(self.records, self.storage)
        if global_step is not None and self._whole():
            assert global_step.global_step is not None
            name = global_step.global_step.name
            sketch = self._stage(global_step)
            there = self.storage.listing(f"_runs/sketches/{self.plan.name}/{name}")
            self._through(name, [sketch], lambda r: self._sketch(name, r) not in there)
            start = time.perf_counter()
            decide(self.plan, global_step.global_step, self.records)
            self._count_all()
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
            self._check_failures(final=True)
        return self._whole()

    def _whole(self) -> bool:
        return not any(status(self.plan, record).restart for record in self.records.values())

    def _stage(self, segment: Segment) -> Stage:
        title = ", ".join(step.name for step in segment.steps) or self.plan.source.name
        stateful = any(step.operator.alone or step.operator.resources.workers for step in segment.steps)
        return Stage(functools.partial(_segment_stage, self.plan, segment.index), segment.resources, title, stateful)

    def _sketch(self, step: str, record: Record) -> str:
        fingerprint = status(self.plan, record).fingerprints[step]
        return sketch_path(self.plan, step, record.shard, fingerprint).rpartition("/")[2]

    def _pending(self, record: Record, segments: Sequence[Segment]) -> bool:
        now = status(self.plan, record)
        names = {step.name for segment in segments for step in segment.steps}
        return bool(now.stale & names) or (now.restart and any(s.index == 0 for s in segments))

    def _through(self, title: str, stages: Sequence[Stage], pending: Callable[[Record], bool]) -> None:
        """Put the shards that need it through some stages; what comes back is their records, brought up to date."""
        todo = [Done(record) for record in self.records.values() if pending(record)]
        self.listener.phase(title, len(self.records), len(todo))
        for done in self.engine.map(stages, todo) if todo and stages else ():
            self._take(done)
            self.listener.shard(done.record, done.seconds)
            self._check_failures(final=False)
        self._check_failures(final=True)

    def _count_all(self) -> None:
        self.rows = sum(_rows(record, self.plan) for record in self.records.values())
        self.failed = sum(_failed(record, self.plan) for record in self.records.values())

    def _take(self, done: Done) -> None:
        """Take a shard's new record in place of the old one, keeping count of rows and failures."""
        self.rows -= _rows(self.records[done.record.shard], self.plan)
        self.failed -= _failed(self.records[done.record.shard], self.plan)
        self.rows += _rows(done.record, self.plan)
        self.failed += _failed(done.record, self.plan)
        self.records[done.record.shard] = done.record
        if done.worked:
            self.made.add(done.record.shard)
        for name, seconds in done.seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def _check_failures(self, final: bool) -> None:
        """Stop when more rows failed than may: at the end of a phase, or as soon as 1,000 rows or more say so."""
        if self.failed <= self.plan.max_failure_rate * (self.rows if final else max(self.rows, 1000)):
            return
        found = ((n, name, reason) for name, c in self.counts().items() for reason, n in c.reasons.items() if c.failed)
        said = "; ".join(f"{n} at {name}: {reason}" for n, name, reason in sorted(found, reverse=True)[:3])
        enough = min(1.0, round(self.failed / self.rows + 0.05, 2))
        raise RunError(
            f"{self.failed} of {self.rows} rows failed, more than max_failure_rate {self.plan.max_failure_rate:g} "
            f"({said}). What was done is kept: mend the cause, or go on with max_failure_rate={enough:g}"
            f"{self._retries()}"
        )

    def _retries(self) -> str:
        """Say how many rows may do better on another try."""
        source = self.plan.source
        assert isinstance(source.operator, Source)
        reasons = self.counts()[source.name].reasons
        passing = sum(count for kind, count in reasons.items() if kind in source.operator.transient)
        return f"; {passing} of them may do better on another try: --retry-failed" if passing else ""

    def _finish(self) -> None:
        description.drop_unfit(self.plan, self.records, self.storage)
        stage = Stage(functools.partial(_finish_stage, self.plan), Resources(), "finish")
        self._through("finish", [stage], functools.partial(compact.unfinished, self.plan))
        description.write_description(self.plan, self.records, self.run_id, self.storage)

    def _sinks(self, opened: dataset.Dataset) -> None:
        for sink in self.plan.sinks:
            stage = Stage(
                functools.partial(finish.sink_shard, self.plan, sink.name, self.run_id),
                sink.operator.resources,
                sink.name,
            )
            before = finish.written_by(self.plan, sink.name, [*self.records.values(), *self.gone])
            self._through(sink.name, [stage], lambda _: True)
            finish.take_back(before - finish.written_by(self.plan, sink.name, self.records.values()))
            start = time.perf_counter()
            finish.end_sink(self.plan, sink, opened)
            self.seconds[sink.name] = self.seconds.get(sink.name, 0.0) + time.perf_counter() - start

    def _save_plan(self) -> None:
        """Keep the pipeline as written and the versions of what takes part, before anything is made."""
        overrides = "".join(f"# override: {item}\n" for item in self.plan.pipeline.overrides)
        self.storage.write(f"_runs/{self.run_id}/pipeline.yaml", (overrides + self.plan.pipeline.text).encode())
        names = ("reinforced", "pyarrow", "pillow", "simplejpeg", "numpy", "torch", "duckdb", "ray", "scikit-learn")
        versions = {"python": platform.python_version(), "platform": platform.platform()}
        for name in names:
            try:
                versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                versions[name] = "not installed"
        self.storage.write(f"_runs/{self.run_id}/versions.json", json.dumps(versions, indent=1).encode())

    def _save_metrics(self, result: RunResult) -> None:
        metrics = {
            "wall_s": round(result.wall_s, 3),
            "shards_made": result.shards_made,
            "steps": {n: asdict(c) | {"seconds": round(self.seconds.get(n, 0.0), 3)} for n, c in result.counts.items()},
        }
        self.storage.write(f"_runs/{self.run_id}/metrics.json", json.dumps(metrics, indent=1).encode())


def _phases(plan: Plan) -> Iterator[tuple[list[Segment], Segment | None]]:
    """Yield runs of segments that need no barrier between them, each with the global step that ends it, if any."""
    segments: list[Segment] = []
    for segment in plan.segments:
        if segment.global_step:
            yield segments, segment
            segments = []
        else:
            segments.append(segment)
    if segments:
        yield segments, None


def _rows(record: Record, plan: Plan) -> int:
    source = record.steps.get(plan.source.name)
    return source.counts.rows_in if source else 0


def _failed(record: Record, plan: Plan) -> int:
    if record.retry:
        return 0  # it is not known yet
    names = {plan.source.name, *(step.name for step in plan.steps)}
    return sum(step.counts.failed for name, step in record.steps.items() if name in names)


def _segment_stage(plan: Plan, index: int, done: Done) -> Done:
    after = run_segment(plan, index, done.record)
    seconds = {n: done.seconds.get(n, 0.0) + after.seconds.get(n, 0.0) for n in {**done.seconds, **after.seconds}}
    return Done(after.record, seconds, done.worked or after.worked)


def _finish_stage(plan: Plan, done: Done) -> Done:
    return Done(compact.finish_shard(plan, done.record), done.seconds, done.worked)
