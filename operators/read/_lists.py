"""Lists of rows: Parquet, CSV, TSV, JSON lines and plain text, cut into shards."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from reinforced.errors import RequestError

from ._listing import Found
from ._tables import describe, read_rows, row_shards

SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl", ".txt")
ERROR = "_error"
LOOK_AHEAD_BYTES = 1 << 20
_MARK = b"\xef\xbb\xbf"
"""What some programs put before the text of a UTF-8 file."""


def list_schema(operator: str, fs: Any, path: str, text_column: str) -> pa.Schema:
    """Return the columns of a list, from its footer, its heading or its first megabyte; plain text has one column."""
    kind = _kind(path)
    if kind == "parquet":
        return describe(fs, path)[0]
    if kind == "txt":
        return pa.schema([(text_column, pa.string())])
    head = fs.cat_file(path, 0, LOOK_AHEAD_BYTES)
    if kind in ("csv", "tsv"):
        return pa.schema([(name, pa.string()) for name in _heading(head, kind)])
    lines = head.removeprefix(_MARK).splitlines()
    whole = lines if len(head) < LOOK_AHEAD_BYTES else lines[:-1]
    rows = [row for row in map(_parsed, whole) if isinstance(row, dict)]
    if not rows:
        raise RequestError(f"{operator}: '{path}' begins with no JSON object; write one object a line")
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.schema([(name, _common_type([row.get(name) for row in rows])) for name in names])


def list_shards(
    operator: str, fs: Any, files: list[Found], shard_rows: int, expected: pa.Schema, text_column: str
) -> Iterator[dict[str, Any]]:
    """Yield the runs of at most `shard_rows` rows of every list; all must have the expected columns."""
    for file in files:
        name = file.name.rpartition(".")[0]
        if _kind(file.path) == "parquet":
            for shard in row_shards(operator, fs, [file], shard_rows, expected):
                yield shard | {"name": name}
            continue
        found = list_schema(operator, fs, file.path, text_column).names
        if _kind(file.path) != "jsonl" and found != expected.names:
            raise RequestError(f"{operator}: '{file.path}' has columns {found}, the first list has {expected.names}")
        yield from ({"file": file.path, "name": name} | part for part in _cut(fs, file.path, shard_rows))


def read_list(fs: Any, shard: dict[str, Any], schema: pa.Schema) -> pa.Table:
    """Read a shard's rows with a column `_error`: what is wrong with a row that cannot be read."""
    kind = _kind(shard["file"])
    if kind == "parquet":
        table = read_rows(fs, shard["file"], shard["start"], shard["stop"])
        return table.append_column(ERROR, pa.nulls(len(table), pa.string()))
    data = fs.cat_file(shard["file"], shard["begin"], shard["end"]).removeprefix(_MARK)
    if kind == "jsonl":
        rows = [_parsed(line) for line in data.splitlines() if line.strip()]
    else:
        text = data.decode("utf-8", "replace")
        lines = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if kind == "tsv" else ",")
        values = [[line.strip()] for line in text.splitlines()] if kind == "txt" else list(lines)
        rows = [_named(value, schema.names) for value in values if any(value)]
    assert len(rows) == shard["stop"] - shard["start"], f"{shard['file']} has changed while it was read"
    return _table(rows, schema)


def _kind(path: str) -> str:
    return path.rpartition(".")[2].lower()


def _heading(data: bytes, kind: str) -> list[str]:
    text = io.StringIO(data.removeprefix(_MARK).decode("utf-8", "replace"), newline="")
    return next(csv.reader(text, delimiter="\t" if kind == "tsv" else ","), [])


def _cut(fs: Any, path: str, shard_rows: int) -> Iterator[dict[str, Any]]:
    """Yield runs of records as bytes of the file with the digest of their text; quoted records may span lines."""
    quoted = _kind(path) in ("csv", "tsv")
    begin = at = row = rows = 0
    heading, inside = quoted, False
    content = hashlib.blake2b(digest_size=16)

    def part() -> dict[str, Any]:
        return {"begin": begin, "end": at, "start": row, "stop": row + rows, "digest": content.hexdigest()}

    with fs.open(path, "rb") as file:
        for line in file:
            at += len(line)
            inside ^= quoted and line.count(b'"') % 2 == 1
            if inside:
                content.update(line)
            elif heading:
                heading, begin, content = False, at, hashlib.blake2b(digest_size=16)
            else:
                content.update(line)
                rows += bool(line.removeprefix(_MARK).strip())
                if rows == shard_rows:
                    yield part()
                    begin, row, rows, content = at, row + rows, 0, hashlib.blake2b(digest_size=16)
    if rows:
        yield part()


def _parsed(line: bytes) -> dict[str, Any] | str:
    """Return the object on a line, or what is wrong with it."""
    try:
        value = json.loads(line)
    except ValueError as error:
        return f"bad row: no JSON: {error}"
    return value if isinstance(value, dict) else f"bad row: a JSON {type(value).__name__}, no object"


def _named(values: list[str], names: list[str]) -> dict[str, Any] | str:
    if len(values) != len(names):
        return f"bad row: {len(values)} values in {len(names)} columns"
    return dict(zip(names, values, strict=True))


def _common_type(values: list[Any]) -> pa.DataType:
    """Return the type of a column's values, of the first one where they have none in common."""
    try:
        found = pa.infer_type(values)
    except (pa.ArrowException, OverflowError):
        found = pa.infer_type([value for value in values if value is not None][:1])
    return pa.string() if pa.types.is_null(found) else found


def _table(rows: list[dict[str, Any] | str], schema: pa.Schema) -> pa.Table:
    errors = [row if isinstance(row, str) else None for row in rows]
    columns = []
    for field in schema:
        values = [row.get(field.name) if isinstance(row, dict) else None for row in rows]
        try:
            columns.append(pa.array(values, field.type))
        except (pa.ArrowException, TypeError, OverflowError):  # some row holds another type: find it
            columns.append(pa.array([_fitting(v, field, errors, i) for i, v in enumerate(values)], field.type))
    return pa.table([*columns, pa.array(errors, pa.string())], schema=schema.append(pa.field(ERROR, pa.string())))


def _fitting(value: Any, field: pa.Field, errors: list[str | None], row: int) -> Any:
    try:
        pa.scalar(value, field.type)
    except (pa.ArrowException, TypeError, OverflowError):
        errors[row] = errors[row] or f"bad row: column '{field.name}' holds {type(value).__name__}, not {field.type}"
        return None
    return value
