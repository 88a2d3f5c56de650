"""A validated pipeline: columns checked end to end, steps grouped into segments, each step with its fingerprint."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.types as types

from reinforced import columns
from reinforced.dataset import Dataset, open_dataset
from reinforced.errors import RequestError, nearest
from reinforced.memory import within_memory
from reinforced.operator import Filter, Generator, Global, Operator, Resources, Sink, Source, Transform
from reinforced.pipeline import Pipeline, Step, load

FORMAT = 1
"""Version of what is on disk; raising it makes every layer be made again."""

LAYER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
RESERVED = ("dataset", "verdicts")
"""Names that mean something else: the joined layers in a query, the fates of the rows."""

MEASURED = ("width", "height", "sha256")
"""Columns the engine adds to any rows that have an image."""


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
    flow = _Flow(loaded, in_place)
    for step in loaded.steps:
        flow.add(step)
    for sink in loaded.sinks:
        flow.need(sink)
    made = Plan(
        name=spec.name,
        out=spec.out,
        source=source,
        segments=_segments(loaded.steps),
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
    parameters = operator.model_dump(mode="json", exclude=set(operator.knobs))
    return digest([FORMAT, operator.name(), operator.version, parameters, operator.ingredients()])


def _identity(step: Step) -> str:
    try:
        return identity(step.operator)
    except (ValueError, OSError) as error:  # weights that are not there
        raise _wrong(step, error) from error


def _wrong(step: Step, error: Exception) -> RequestError:
    """Say what an operator found wrong, with the place of its step, on one line."""
    said = " ".join(str(error).split()).removeprefix(f"{step.operator.name()}: ")
    return RequestError(f"{step.at}: {step.name}: {said}")


def digest(value: Any) -> str:
    """Return 32 hexadecimal digits that stand for a JSON-able value."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()


class _Flow:
    """Follows the columns from the source through the steps."""

    def __init__(self, pipeline: Pipeline, in_place: bool) -> None:
        self.where = pipeline.where
        self.reads: dict[str, tuple[str, ...]] = {}
        self.providers: dict[str, tuple[str, ...]] = {}
        self.fields: dict[str, pa.Field] = {}
        self.provider: dict[str, str] = {}
        self.column_layers: dict[str, str] = {}
        self.layers: dict[str, tuple[str, pa.Schema]] = {}
        self.whole = ""
        """The first step whose results for a row depend on the other rows of its shard."""
        self.taken: dict[str, str] = {}
        """Layers that an existing dataset has from other pipelines, and whose they are."""
        source = pipeline.source
        schema = self._outputs(source)
        if "key" not in schema.names:
            raise RequestError(f"{source.at}: {source.name} gives no column 'key', which names each sample")
        if in_place:
            self._adopt(pipeline, open_dataset(pipeline.spec.out))
            return
        for name in MEASURED if "image" in schema.names else ():
            if name not in schema.names:
                schema = schema.append(columns.known_column(name))
        for found in schema:
            self._provide(found, source.name, "samples")
        self.layers["samples"] = (source.name, schema)

    def _adopt(self, pipeline: Pipeline, dataset: Dataset) -> None:
        """Take the columns of an existing dataset, without the layers that this pipeline itself once added."""
        owners = {layer: info["pipeline"] for layer, info in dataset.description["layers"].items()}
        self.taken = {layer: owner for layer, owner in owners.items() if owner != pipeline.spec.name}
        if "samples" not in self.taken:
            raise RequestError(
                f"{self.where}: '{pipeline.spec.name}' is the name of the pipeline that built {dataset.path}; "
                "a pipeline that adds to it needs a name of its own"
            )
        for name, layer in dataset.column_layers().items():
            if layer in self.taken:
                self._provide(dataset.schema.field(name), pipeline.source.name, layer)

    def add(self, step: Step) -> None:
        """Check that a step finds its columns, and note the ones it adds."""
        self.need(step)
        operator = step.operator
        if operator.whole_shard:
            self.whole = step.name
        elif self.whole and isinstance(operator, (Filter, Global)):
            raise RequestError(
                f"{step.at}: {step.name} may drop images that {self.whole} has mixed into others; put it before "
                f"{self.whole}"
            )
        if isinstance(operator, Generator):
            self._generate(step)
        elif isinstance(operator, Transform):
            layer, added = operator.into if operator.into is not None else operator.layer, self._outputs(step)
            if not LAYER_NAME.fullmatch(layer) or layer in RESERVED:
                raise RequestError(
                    f"{step.at}: {step.name}: into: '{layer}' cannot be the name of a layer; use letters, digits, "
                    f"- and _, a letter first, and none of {', '.join(RESERVED)}"
                )
            if layer in self.layers or layer in self.taken:
                owner = self.layers[layer][0] if layer in self.layers else f"pipeline {self.taken[layer]}"
                raise RequestError(
                    f"{step.at}: {step.name} writes layer '{layer}', which {owner} writes already; "
                    f"give one of them a layer of its own, such as into: {layer}_2"
                )
            if operator.rows_per_sample is None:
                for found in added:
                    if found.name in self.fields:
                        raise RequestError(
                            f"{step.at}: {step.name} adds column '{found.name}', which "
                            f"{self.provider[found.name]} provides already; leave one of them out"
                        )
                    self._provide(found, step.name, layer)
                self.layers[layer] = (step.name, pa.schema([self.fields["key"], *added]))
            else:
                self.layers[layer] = (step.name, pa.schema([*columns.resolve(("draw", "row")), *added]))

    def need(self, step: Step) -> None:
        """Check that the columns a step reads are there, of a type that fits."""
        try:
            inputs = step.operator.inputs()
        except ValueError as error:
            raise _wrong(step, error) from error
        for wanted in inputs:
            if wanted.name not in self.fields:
                raise RequestError(
                    f"{step.at}: {step.name} reads column '{wanted.name}', which nobody before it provides"
                    f"{nearest(wanted.name, self.fields)}"
                )
            got = self.fields[wanted.name].type
            if not fits(got, wanted.type):
                raise RequestError(
                    f"{step.at}: {step.name} reads column '{wanted.name}' as {wanted.type}, but "
                    f"{self.provider[wanted.name]} provides it as {got}"
                )
        try:
            step.operator.check(pa.schema(list(self.fields.values())))
        except ValueError as error:
            raise _wrong(step, error) from error
        everything = isinstance(step.operator, (Generator, Sink))
        self.reads[step.name] = tuple(self.fields) if everything else tuple(inputs.names)
        self.providers[step.name] = tuple(sorted({self.provider[name] for name in self.reads[step.name]}))

    def _generate(self, step: Step) -> None:
        """The new rows start a new `samples`, with the columns that the old rows had and those of the generator."""
        if "samples" not in self.layers or len(self.layers) > 1:
            raise RequestError(
                f"{step.at}: {step.name} starts a new samples layer: put it before the steps that add other layers, "
                "in a pipeline that builds a dataset"
            )
        for found in self._outputs(step):
            self._provide(found, step.name, "samples")
        self.layers["samples"] = (self.layers["samples"][0], pa.schema(list(self.fields.values())))

    def _provide(self, found: pa.Field, step: str, layer: str) -> None:
        self.fields[found.name] = found
        self.provider[found.name] = step
        self.column_layers[found.name] = layer

    def _outputs(self, step: Step) -> pa.Schema:
        try:
            return step.operator.outputs()
        except (ValueError, OSError) as error:
            raise _wrong(step, error) from error


def fits(got: pa.DataType, wanted: pa.DataType) -> bool:
    """Return whether values of one type can be read as another without loss of meaning."""
    if types.is_null(wanted):
        return True  # any type will do
    numbers = (types.is_integer, types.is_floating)
    if types.is_integer(got) and any(check(wanted) for check in numbers):
        return True
    families = (
        lambda t: types.is_string(t) or types.is_large_string(t),
        lambda t: types.is_binary(t) or types.is_large_binary(t),
        types.is_floating,
    )
    return bool(got == wanted or any(check(got) and check(wanted) for check in families))


def _segments(steps: Sequence[Step]) -> tuple[Segment, ...]:
    """Group steps: the first segment always exists (it reads the source); global and lone steps stand by themselves."""
    groups: list[tuple[list[Step], Resources]] = [([], Resources())]
    closed = False
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
