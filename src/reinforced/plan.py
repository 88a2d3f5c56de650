"""A validated pipeline: columns checked end to end, steps grouped into segments, each step with its fingerprint."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from reinforced.errors import RequestError
from reinforced.flow import Flow, wrong
from reinforced.memory import within_memory
from reinforced.operator import Global, Operator, Resources, Source
from reinforced.pipeline import Pipeline, Step, load

FORMAT = 1
"""Version of what is on disk; raising it makes every layer be made again."""


@dataclass(frozen=True)
class Segment:
    """Consecutive row-wise steps with the same needs, or one global step; run fused in one worker over one shard."""

    index: int
    steps: tuple[Step, ...]
    resources: Resources

    @property
    def global_step(self) -> Step | None:
        """The global step, if this segment is one."""
        return self.steps[0] if self.steps and isinstance(self.steps[0].operator, Global) else None


@dataclass(frozen=True)
class Plan:
    """What a run does: ships to the workers as it is (operators hold parameters, never models)."""

    name: str
    out: str
    source: Step
    segments: tuple[Segment, ...]
    sinks: tuple[Step, ...]
    in_place: bool
    compact: bool
    max_failure_rate: float
    layers: dict[str, tuple[str, pa.Schema]]
    """Layer name to the step that writes it (the source for `samples`) and its columns, key first."""
    reads: dict[str, tuple[str, ...]]
    """Step name to the columns it reads."""
    providers: dict[str, tuple[str, ...]]
    """Step name to the steps whose columns it reads."""
    identities: dict[str, str]
    """Step name to a digest of operator, version, parameters and ingredients."""
    column_layers: dict[str, str]
    """Row-aligned column name to the layer that holds it."""
    pipeline: Pipeline = field(repr=False, compare=False)

    @property
    def steps(self) -> list[Step]:
        """All steps after the source, in order."""
        return [step for segment in self.segments for step in segment.steps]

    def writer(self, layer: str) -> Step:
        """Return the step that writes a layer."""
        name = self.layers[layer][0]
        return next(step for step in [self.source, *self.steps] if step.name == name)


def plan(pipeline: Pipeline | str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Plan:
    """Check a pipeline end to end and return the plan; starts no worker and writes nothing.

    Raises: RequestError for a column that nobody provides, a type that does not fit, a layer written twice.
    """
    loaded = pipeline if isinstance(pipeline, Pipeline) else load(pipeline, overrides)
    spec, source = loaded.spec, loaded.source
    assert isinstance(source.operator, Source)
    in_place = source.operator.name() == "read.dataset" and _same_place(source.operator.path, spec.out)  # type: ignore[attr-defined]
    if in_place and spec.compact:
        raise RequestError(
            f"{loaded.where}: compact: true rewrites a dataset's shards, which a pipeline that adds to it cannot do; "
            "leave it out, or write to another out="
        )
    flow = Flow(loaded, in_place)
    for step in loaded.steps:
        flow.add(step)
    for sink in loaded.sinks:
        flow.need(sink)
    made = Plan(
        name=spec.name,
        out=spec.out,
        source=source,
        segments=_segments(source.operator, loaded.steps),
        sinks=tuple(loaded.sinks),
        in_place=in_place,
        compact=spec.compact if spec.compact is not None else not in_place,
        max_failure_rate=spec.max_failure_rate,
        layers=flow.layers,
        reads=flow.reads,
        providers=flow.providers,
        identities={step.name: _identity(step) for step in [source, *loaded.steps, *loaded.sinks]},
        column_layers=flow.column_layers,
        pipeline=loaded,
    )
    return within_memory(made)


def identity(operator: Operator) -> str:
    """Return a digest of what decides an operator's result: its name, version, parameters and ingredients."""
    parameters = operator.model_dump(mode="json", exclude={"resources", *operator.tuning})
    return digest([FORMAT, operator.name(), operator.version, parameters, operator.ingredients()])


def _identity(step: Step) -> str:
    try:
        return identity(step.operator)
    except (ValueError, OSError) as error:  # weights that are not there
        raise wrong(step, error) from error


def digest(value: Any) -> str:
    """Return 32 hexadecimal digits that stand for a JSON-able value."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()


def _segments(source: Operator, steps: Sequence[Step]) -> tuple[Segment, ...]:
    """Group steps: the first segment always exists (it reads the source); global and lone steps stand by themselves.

    The source takes the resources of the steps that share its segment; one that is alone has its own.
    """
    groups: list[tuple[list[Step], Resources]] = [([], source.resources if source.alone else Resources())]
    closed = source.alone
    for step in steps:
        alone = isinstance(step.operator, Global) or step.operator.alone or step.operator.whole_shard
        members, resources = groups[-1]
        if alone or closed or (resources != step.operator.resources and members):
            groups.append(([step], step.operator.resources))
        else:
            groups[-1] = ([*members, step], step.operator.resources)
        closed = alone
    return tuple(Segment(i, tuple(members), resources) for i, (members, resources) in enumerate(groups))


@functools.cache
def _same_place(first: str, second: str) -> bool:
    def whole(url: str) -> str:
        return url.rstrip("/") if "://" in url else str(Path(url).absolute())

    return whole(first) == whole(second)
