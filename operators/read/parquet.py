"""Parquet files with images in them, or with any other columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

import pyarrow as pa
from pydantic import Field

from reinforced.operator import ShardSpec, Source

from ._listing import Found, find_files, open_path
from ._samples import ERROR, as_samples
from ._tables import describe, read_rows, row_shards


class ReadParquet(Source):
    """Reads Parquet files, each cut into shards of consecutive rows, all columns with their types.

    `image_column` becomes `image`: binary, or the struct of bytes and path that Hugging Face writes, whose path becomes
    `path` unless the file has a column of that name. A row whose key is null or empty, or whose image is only a path,
    fails. All files must have the columns of the first.
    """

    examples: ClassVar = ()

    path: Annotated[
        str,
        Field(min_length=1, description="A file, a folder of .parquet files, or a pattern; local or an fsspec URL."),
    ]
    key_column: Annotated[
        str | None,
        Field(description="Column that names each sample; default: `key` if there is one, else <file>/<row number>."),
    ] = None
    image_column: Annotated[
        str | None, Field(description="Column that holds the images; null reads a table without images.")
    ] = "image"
    shard_rows: Annotated[int, Field(gt=0, description="Most rows in a shard.")] = 1000

    def columns(self) -> pa.Schema:
        """Return the columns, from the first file's footer."""
        return self._samples(self._first_schema(self._files()).empty_table(), []).drop_columns([ERROR]).schema

    def shards(self) -> Iterator[ShardSpec]:
        """Yield every run of rows with its file's size and time of modification."""
        files = self._files()
        names = {file.path: file.name.removesuffix(".parquet") for file in files}
        fs, _ = open_path(self.path)
        for shard in row_shards(self.name(), fs, files, self.shard_rows, self._first_schema(files)):
            yield shard | {"name": names[shard["file"]]}

    def read(self, shard: ShardSpec) -> pa.Table:
        """Read a run of rows; raises OSError if the file cannot be read."""
        fs, _ = open_path(self.path)
        table = read_rows(fs, shard["file"], shard["start"], shard["stop"])
        return self._samples(table, [f"{shard['name']}/{row:08d}" for row in range(shard["start"], shard["stop"])])

    def _files(self) -> list[Found]:
        return find_files(self.name(), self.path, (".parquet",))

    def _first_schema(self, files: list[Found]) -> pa.Schema:
        return describe(open_path(self.path)[0], files[0].path)[0]

    def _samples(self, table: pa.Table, names: list[str]) -> pa.Table:
        key = self.key_column or ("key" if "key" in table.column_names else None)
        return as_samples(self.name(), table, key, self.image_column, names)
