"""What an operator is: typed parameters, declared columns, and one function on a batch of rows.

An operator is one file in `operators/` with one class in it; its path is its name in YAML. It is a pydantic model (its
fields are its parameters), it pickles without its models, and it is callable on an Arrow table without the engine.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from reinforced import columns
from reinforced.batch import Batch
from reinforced.before import Before
from reinforced.resources import Resources as Resources

if TYPE_CHECKING:
    import duckdb

    from reinforced.dataset import Dataset

Columns = Mapping[str, pa.Array | Sequence[Any]]
ShardSpec = dict[str, Any]


class Operator(BaseModel):
    """A step of a pipeline; subclass one of the kinds below."""

    model_config = ConfigDict(extra="forbid", validate_default=True)

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    """Raise it when the same parameters give another result: layers made by older versions are then made again."""
    layer: ClassVar[str] = ""
    """The layer that holds the columns this adds."""
    reads: ClassVar[tuple[str | pa.Field, ...]] = ()
    """Columns it needs, by name from `schemas/` or described; `pixels` asks for decoded images."""
    writes: ClassVar[tuple[str | pa.Field, ...]] = ()
    """Columns it adds."""
    parquet: ClassVar[dict[str, Any]] = {}
    """Options of `pyarrow.parquet.write_table` that suit its layer."""
    tuning: ClassVar[frozenset[str]] = frozenset()
    """Parameters that decide how fast and how patiently, not what: to change them makes no layer again."""
    alone: ClassVar[bool] = False
    """Whether it runs in a segment of its own: a model's last bits may depend on which rows share its batch."""
    waits: ClassVar[bool] = False
    """Whether it mostly waits for others, as for a network: it gets all rows of a shard at once, images not decoded,
    so that it need not wait for the slowest of a few; it must be `alone`."""
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)
    """Parameters it runs with offline, on any images: for the docs and the contract test; () if there are none."""

    resources: Annotated[Resources, Field(description="What one worker needs.", repr=False)] = Resources()

    @property
    def whole_shard(self) -> bool:
        """Whether it takes all rows of a shard as one batch, because what it makes of a row depends on the others.

        It runs in a segment of its own; images are not decoded beforehand, see `Batch.decoder`.
        """
        return False

    @classmethod
    def name(cls) -> str:
        """The operator's name in YAML: its path below `operators/`, or its dotted path elsewhere."""
        prefix = "reinforced.operators."
        return (
            cls.__module__.removeprefix(prefix)
            if cls.__module__.startswith(prefix)
            else (f"{cls.__module__}.{cls.__name__}")
        )

    def inputs(self) -> pa.Schema:
        """Return the columns it reads, with their types; override where they depend on the parameters."""
        return columns.resolve(name if name != "pixels" else "image" for name in self.reads)

    def outputs(self) -> pa.Schema:
        """Return the columns it adds, with their types; override where they depend on the parameters."""
        return columns.resolve(self.writes)

    def check(self, available: pa.Schema) -> None:
        """Raise ValueError if the step cannot work on these columns; called on the driver before a worker starts."""

    def ingredients(self) -> dict[str, str]:
        """Return content hashes of what besides the parameters decides the result (weights, lists), by name."""
        return {}

    def metadata(self) -> dict[str, str]:
        """Return what a reader of the layer must know, by name; stored in its Parquet metadata."""
        return {}

    def setup(self) -> None:
        """Load models and tables on the worker, once, before the first batch; keep them in private attributes."""

    def __call__(self, table: pa.Table) -> pa.Table:
        """Apply the operator to a table with no engine around: returns the rows it keeps with the columns it adds."""
        self.setup()
        return self.apply(Batch(table)).table

    def apply(self, batch: Batch) -> Batch:
        """Apply the operator to a batch and return the resulting batch."""
        raise TypeError(f"{self.name()} is a {self.kind}: it is not applied to {len(batch)} rows")


@dataclass(frozen=True)
class Verdicts:
    """A filter's judgement, one entry a row: the reason it is dropped (None keeps it) and the measured value."""

    reasons: Sequence[str | None]
    scores: Sequence[float | None] | None = None
    pictures: Sequence[bytes | None] | None = None
    """Small JPEGs that show why, kept in the ledger and shown in the report."""


class Source(Operator):
    """Where samples come from: lists shards on the driver, reads one on a worker."""

    kind: ClassVar[str] = "source"
    layer: ClassVar[str] = "samples"
    transient: ClassVar[frozenset[str]] = frozenset()
    """Kinds of reasons (what is before the colon) for which another try may succeed. A source that has some is read
    with `resume`, and `--retry-failed` has it try those rows again."""

    @abstractmethod
    def columns(self) -> pa.Schema:
        """Return the columns every shard will have, from a look at the source."""

    @abstractmethod
    def shards(self) -> Iterator[ShardSpec]:
        """Yield one small JSON-able description a shard, in a fixed order; enough for `read`, and changed content
        changes it."""

    @abstractmethod
    def read(self, shard: ShardSpec) -> pa.Table:
        """Read a shard's rows; a string column `_error` holds the reason for rows that could not be read."""

    def resume(self, shard: ShardSpec, before: Before) -> pa.Table:  # noqa: ARG002
        """Read a shard as `read` does, taking from what is there already."""
        return self.read(shard)

    def rows_of(self, shard: ShardSpec) -> int | None:
        """Return how many rows a shard has, by its description's `rows` or `start` and `stop`; None where unsaid."""
        return shard["stop"] - shard["start"] if "stop" in shard else shard.get("rows")

    def most_rows(self) -> int | None:
        """Return the most rows a shard can have, where `shard_rows` says so; nothing is listed for that."""
        return getattr(self, "shard_rows", None)

    def outputs(self) -> pa.Schema:
        """Return the columns of the source."""
        return self.columns()


class Transform(Operator):
    """Adds columns to every row."""

    kind: ClassVar[str] = "transform"

    into: Annotated[str | None, Field(description="Layer to write instead of the operator's own.")] = None

    @abstractmethod
    def transform(self, batch: Batch) -> Columns:
        """Return the added columns, one value a row (`draws` values a row, row by row, where `draws` is set)."""

    @property
    def rows_per_sample(self) -> int | None:
        """Rows the layer has for each sample where that is not one: the draws of a reinforcement."""
        return None

    @property
    def first_draw_number(self) -> int:
        """Number of the first of these rows."""
        return 0

    def apply(self, batch: Batch) -> Batch:
        """Return the batch with the columns added."""
        added = self.transform(batch)
        if self.rows_per_sample is None:
            return batch.with_columns(added, self.outputs())
        schema = self.outputs()
        return Batch(pa.table([pa.array(added[f.name], f.type) for f in schema], schema=schema))


class Filter(Operator):
    """Keeps or drops every row, with a reason and a score."""

    kind: ClassVar[str] = "filter"

    @abstractmethod
    def judge(self, batch: Batch) -> Verdicts:
        """Return the verdict on every row."""

    def apply(self, batch: Batch) -> Batch:
        """Return the rows that are kept."""
        reasons = self.judge(batch).reasons
        return batch.take([i for i, reason in enumerate(reasons) if reason is None])


class Generator(Operator):
    """Makes new rows out of each row; the new rows take its place and start a new `samples`."""

    kind: ClassVar[str] = "generator"

    @abstractmethod
    def generate(self, batch: Batch) -> pa.Table:
        """Return the new rows with an int64 column `_parent`: the row of the batch each was made from, rising."""

    def apply(self, batch: Batch) -> Batch:
        """Return the new rows."""
        return Batch(self.generate(batch).drop_columns(["_parent"]))


class Global(Operator):
    """Decides over all rows of the dataset at once: a narrow sketch per row, then one reduction over all of them.

    With a `layer` it also adds the columns it `writes` to every row, those that it drops included.
    """

    kind: ClassVar[str] = "global"

    into: Annotated[str | None, Field(description="Layer to write instead of the operator's own.")] = None

    @abstractmethod
    def sketch(self, batch: Batch) -> Columns:
        """Return the few values per row that the decision needs; `sketch_schema` names and types them."""

    @abstractmethod
    def sketch_schema(self) -> pa.Schema:
        """Return the columns of the sketch."""

    @abstractmethod
    def reduce(self, sketches: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        """Return (shard, row, reason, score) of the rows to drop, from all sketches, and the columns of its layer.

        `sketches` has shard (string), row (int64, within the shard's samples), key and the sketch's own columns; its
        order means nothing. Rows that are not returned are kept, with nulls in the layer; so are those without a
        reason, with what the columns say. What SQL cannot say may be worked out from arrays: see `duplicates.py`.
        """

    def apply(self, batch: Batch) -> Batch:
        """Decide over this batch alone and return the rows that are kept, with the columns of its layer."""
        import duckdb

        table = pa.table({"shard": ["0"] * len(batch), "row": range(len(batch)), "key": batch.keys})
        for name, values in self.sketch(batch).items():
            table = table.append_column(name, pa.array(values, self.sketch_schema().field(name).type))
        with duckdb.connect() as connection:
            found = self.reduce(connection.from_arrow(table)).to_arrow_table()
        place = {row: i for i, row in enumerate(found.column("row").to_pylist())}
        decided = found.take(pa.array([place.get(row) for row in range(len(batch))], pa.int64()))
        if self.layer:
            schema = self.outputs()
            batch = batch.with_columns({f.name: decided.column(f.name) for f in schema}, schema)
        reasons = decided.column("reason").to_pylist()
        return batch.take([row for row, reason in enumerate(reasons) if reason is None])


class Sink(Operator):
    """Writes the finished dataset out in another form, shard by shard."""

    kind: ClassVar[str] = "sink"
    writes_shards: ClassVar[bool] = True
    """Whether it writes each shard; a sink that only looks at the finished dataset is spared the reading."""

    @abstractmethod
    def write(self, shard: str, table: pa.Table) -> list[str]:
        """Write one shard's kept rows (all row-aligned layers joined); returns the paths written."""

    def finish(self, dataset: Dataset) -> None:
        """Do what needs the whole dataset, once, on the driver after all shards are written."""


KINDS: dict[str, type[Operator]] = {kind.kind: kind for kind in (Source, Transform, Filter, Generator, Global, Sink)}
