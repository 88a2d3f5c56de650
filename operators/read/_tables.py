"""Runs of rows of Parquet and Arrow stream files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reinforced.errors import RequestError

from ._listing import Found


def describe(fs: Any, path: str) -> tuple[pa.Schema, int]:
    """Return the schema and the number of rows of a Parquet or Arrow stream file; an Arrow file is walked through."""
    with _opened(fs, path) as file:
        if not path.endswith(".arrow"):
            parquet = pq.ParquetFile(file)
            return parquet.schema_arrow, parquet.metadata.num_rows
        with pa.ipc.open_stream(file) as stream:
            return stream.schema, sum(batch.num_rows for batch in stream)


def read_rows(fs: Any, path: str, start: int, stop: int) -> pa.Table:
    """Read the rows from `start` to `stop` (exclusive) of a Parquet or Arrow stream file."""
    with _opened(fs, path) as file:
        if path.endswith(".arrow"):
            with pa.ipc.open_stream(file) as stream:
                return pa.Table.from_batches(_between(stream, start, stop), stream.schema)
        parquet = pq.ParquetFile(file)
        groups: list[int] = []
        first = end = 0
        for group in range(parquet.num_row_groups):
            begin, end = end, end + parquet.metadata.row_group(group).num_rows
            if begin < stop and end > start:
                first = first if groups else begin
                groups.append(group)
        # Batch by batch, because a row group can be far larger than a shard.
        batches = parquet.iter_batches(batch_size=max(stop - start, 1), row_groups=groups)
        return pa.Table.from_batches(_between(batches, start - first, stop - first), parquet.schema_arrow)


def row_shards(
    operator: str, fs: Any, files: Iterable[Found], shard_rows: int, expected: pa.Schema
) -> Iterator[dict[str, Any]]:
    """Yield the runs of at most `shard_rows` rows of every file, which must all have the expected columns."""
    for file in files:
        try:
            schema, rows = describe(fs, file.path)
        except pa.ArrowInvalid as error:
            raise RequestError(f"{operator}: '{file.path}' cannot be read: {error}; replace or remove it") from error
        if [(f.name, f.type) for f in schema] != [(f.name, f.type) for f in expected]:
            differing = sorted({str(f) for f in schema} ^ {str(f) for f in expected}) or "their order"
            raise RequestError(
                f"{operator}: '{file.path}' has other columns than the first file ({differing}); read it on its own"
            )
        found = {"file": file.path, "size": file.size, "modified": file.modified}
        for start in range(0, rows, shard_rows):
            yield found | {"start": start, "stop": min(start + shard_rows, rows)}


def _between(batches: Iterable[pa.RecordBatch], start: int, stop: int) -> list[pa.RecordBatch]:
    taken, at = [], 0
    for batch in batches:
        first, last = max(start - at, 0), min(stop - at, batch.num_rows)
        if first < last:
            taken.append(batch.slice(first, last - first))
        at += batch.num_rows
        if at >= stop:
            break
    return taken


@contextmanager
def _opened(fs: Any, path: str) -> Iterator[Any]:
    from fsspec.implementations.local import LocalFileSystem

    # Mapped into memory, the rows of an Arrow file that are skipped are never read.
    with pa.memory_map(path) if isinstance(fs, LocalFileSystem) else fs.open(path, "rb") as file:
        yield file
