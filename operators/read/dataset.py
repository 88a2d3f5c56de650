"""Read an existing dataset, to add layers to it or to make another one out of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import pyarrow as pa
from pydantic import Field

from reinforced.dataset import open_dataset
from reinforced.operator import ShardSpec, Source


class ReadDataset(Source):
    """Read the kept rows of a dataset, all its aligned layers side by side.

    A pipeline whose `out` is the same path adds its layers to that dataset and leaves the images untouched; with
    another `out` it makes a new dataset, whose `samples` hold the joined columns.
    """

    path: Annotated[str, Field(description="Folder or fsspec URL of the dataset.")]

    def columns(self) -> pa.Schema:
        """Return the joined columns of the dataset's aligned layers."""
        return open_dataset(self.path).schema

    def shards(self) -> Iterator[ShardSpec]:
        """Yield the dataset's shards, with the content hash of each of their layers."""
        for shard in open_dataset(self.path).shards:
            hashes = {layer: sha256 for layer, (_, sha256) in shard.files.items()}
            yield {"shard": shard.name, "rows": shard.rows, "layers": hashes}

    def most_rows(self) -> int:
        """Return the rows of the longest shard."""
        return max((shard.rows for shard in open_dataset(self.path).shards), default=0)

    def read(self, shard: ShardSpec) -> pa.Table:
        """Read a shard's kept rows."""
        return open_dataset(self.path).read_shard(shard["shard"])
