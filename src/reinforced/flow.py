"""Follow the columns from the source through the steps: each finds what it reads, each adds what nobody has."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.types as types

from reinforced import columns
from reinforced.dataset import Dataset, open_dataset
from reinforced.errors import RequestError, nearest
from reinforced.operator import Filter, Generator, Global, Sink, Transform
from reinforced.pipeline import Pipeline, Step

LAYER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
RESERVED = ("dataset", "verdicts")
"""Names that mean something else: the joined layers in a query, the fates of the rows."""

MEASURED = ("width", "height", "sha256")
"""Columns the engine adds to any rows that have an image."""


class Flow:
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
        elif isinstance(operator, Transform) or (isinstance(operator, Global) and operator.layer):
            layer, added = (operator.into if operator.into is not None else operator.layer), self._outputs(step)
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
            if not isinstance(operator, Transform) or operator.rows_per_sample is None:
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
            raise wrong(step, error) from error
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
            raise wrong(step, error) from error
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
            raise wrong(step, error) from error


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


def wrong(step: Step, error: Exception) -> RequestError:
    """Say what an operator found wrong, with the place of its step, on one line."""
    said = " ".join(str(error).split()).removeprefix(f"{step.operator.name()}: ")
    return RequestError(f"{step.at}: {step.name}: {said}")
