"""Operators of a user's own, named by their dotted path in pipelines, for tests of the engine."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from reinforced.batch import Batch
from reinforced.columns import column
from reinforced.operator import Columns, Filter, Global, Transform, Verdicts

if TYPE_CHECKING:
    import duckdb


class Slow(Transform):
    """Adds the size of each file, slowly enough to be killed in between; notes every batch it sees in a file."""

    layer: ClassVar[str] = "sizes"
    reads: ClassVar[tuple[str | pa.Field, ...]] = ("image",)
    writes: ClassVar[tuple[str | pa.Field, ...]] = (column("file_bytes", "int64", "Size of the file.", "bytes"),)

    seconds: Annotated[float, Field(description="Time a batch takes.")] = 0.0
    notes: Annotated[str | None, Field(description="File to note the batches in.")] = None
    factor: Annotated[int, Field(description="A parameter to change.")] = 1

    def transform(self, batch: Batch) -> Columns:
        time.sleep(self.seconds)
        if self.notes:
            with Path(self.notes).open("a") as notes:
                notes.write(f"{batch.keys[0]} {len(batch)}\n")
        return {"file_bytes": [self.factor * len(data) for data in batch.values("image")]}


class Draws(Transform):
    """Adds draws of a hash, in a segment of its own, as a reinforcement does."""

    layer: ClassVar[str] = "hashed"
    reads: ClassVar[tuple[str | pa.Field, ...]] = ("pixels",)
    writes: ClassVar[tuple[str | pa.Field, ...]] = (column("hashed", "uint64", "A number from key and draw."),)
    alone: ClassVar[bool] = True

    draws: Annotated[int, Field(description="Rows for each sample.")] = 3

    @property
    def rows_per_sample(self) -> int:
        return self.draws

    def transform(self, batch: Batch) -> Columns:
        texts = [f"{key}/{draw}" for key in batch.keys for draw in range(self.draws)]
        return {"hashed": [int.from_bytes(hashlib.sha256(t.encode()).digest()[:8], "little") for t in texts]}


class Raises(Transform):
    """Raises for some keys, alone or in company."""

    layer: ClassVar[str] = "raised"
    reads: ClassVar[tuple[str | pa.Field, ...]] = ("key",)
    writes: ClassVar[tuple[str | pa.Field, ...]] = (column("fine", "bool", "True."),)

    keys: Annotated[list[str], Field(description="Keys to raise for.")]

    def transform(self, batch: Batch) -> Columns:
        bad = sorted(set(self.keys) & set(batch.keys))
        if bad:
            raise RuntimeError(f"cannot take {bad[0]}")
        return {"fine": [True] * len(batch)}


class Kills(Filter):
    """Keeps all rows, and kills its own worker once per marker file, or always."""

    reads: ClassVar[tuple[str | pa.Field, ...]] = ("key",)

    marker: Annotated[str | None, Field(description="Folder of the marker files; none kills every time.")] = None
    keys: Annotated[list[str], Field(description="Keys that are deadly.")]

    def judge(self, batch: Batch) -> Verdicts:
        for key in set(self.keys) & set(batch.keys):
            marker = Path(self.marker, key.replace("/", "_")) if self.marker else None
            if marker is None or not marker.exists():
                if marker:
                    marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return Verdicts([None] * len(batch))


class DropHashed(Filter):
    """Drops about one row in `one_in` by its key."""

    reads: ClassVar[tuple[str | pa.Field, ...]] = ("key",)

    one_in: Annotated[int, Field(description="Share to drop, as one in so many.")] = 7

    def judge(self, batch: Batch) -> Verdicts:
        numbers = [int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "little") for key in batch.keys]
        unlucky = np.array(numbers) % self.one_in == 0
        return Verdicts(["unlucky" if u else None for u in unlucky], [float(n) for n in numbers])


class NoWeights(Transform):
    """Cannot load its model."""

    layer: ClassVar[str] = "none"
    reads: ClassVar[tuple[str | pa.Field, ...]] = ("key",)
    writes: ClassVar[tuple[str | pa.Field, ...]] = (column("none", "bool", "Nothing."),)

    def setup(self) -> None:
        raise FileNotFoundError("weights.safetensors is not there")

    def transform(self, batch: Batch) -> Columns:
        return {"none": [True] * len(batch)}


GROUP = (column("group", "string", "Smallest key of the group."), column("group_rows", "int64", "Rows in the group."))


class Groups(Global):
    """Groups the files by their size and drops all but the first of each group; says group and place in a layer."""

    layer: ClassVar[str] = "groups"
    reads: ClassVar[tuple[str | pa.Field, ...]] = ("image",)
    writes: ClassVar[tuple[str | pa.Field, ...]] = GROUP

    groups: Annotated[int, Field(description="Number of groups.")] = 50

    def sketch_schema(self) -> pa.Schema:
        return pa.schema([column("number", "int64", "The group.")])

    def sketch(self, batch: Batch) -> Columns:
        return {"number": [len(data) % self.groups for data in batch.values("image")]}

    def reduce(self, sketches: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        return sketches.query(
            "sketches",
            """
            SELECT shard, row, CASE WHEN key <> "group" THEN 'in group: ' || "group" END AS reason,
                NULL::DOUBLE AS score, "group", group_rows
            FROM (SELECT *, min(key) OVER (PARTITION BY number) AS "group",
                count(*) OVER (PARTITION BY number) AS group_rows FROM sketches)
            """,
        )


class ReadsGroups(Transform):
    """Adds a number from what a global step said of a row."""

    layer: ClassVar[str] = "grouped"
    reads: ClassVar[tuple[str | pa.Field, ...]] = GROUP
    writes: ClassVar[tuple[str | pa.Field, ...]] = (column("grouped", "int64", "Length of the group's key and rows."),)

    def transform(self, batch: Batch) -> Columns:
        pairs = zip(batch.values("group"), batch.values("group_rows"), strict=True)
        return {"grouped": [1000 * len(key) + rows for key, rows in pairs]}
