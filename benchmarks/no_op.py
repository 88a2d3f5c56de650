"""Shards that hold one row each, and a stage that does nothing to them: what remains is the cost of scheduling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import pyarrow as pa
from pydantic import Field

from reinforced import columns
from reinforced.operator import ShardSpec, Source
from reinforced.segment import Done


class OneRowShards(Source):
    """Makes shards of one row, without an image."""

    shard_count: Annotated[int, Field(gt=0, description="Number of shards.")] = 2000

    def columns(self) -> pa.Schema:
        """Return the key alone."""
        return columns.resolve(["key"])

    def shards(self) -> Iterator[ShardSpec]:
        """Yield a number a shard."""
        return ({"number": number} for number in range(self.shard_count))

    def read(self, shard: ShardSpec) -> pa.Table:
        """Return the one row."""
        return pa.table([[f"{shard['number']:05d}"]], schema=self.columns())


def same(done: Done) -> Done:
    """Do nothing to a shard."""
    return done
