"""Any table's columns as those of samples: which one names the row, which one is the image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as types

from reinforced import columns
from reinforced.errors import RequestError

ERROR = "_error"


def as_samples(
    operator: str, table: pa.Table, key_column: str | None, image_column: str | None, names: Sequence[str]
) -> pa.Table:
    """Put `key`, `image` and `path` first and keep the other columns; `_error` is set where a row has no key or image.

    Keys come from `key_column`, or are `names`. Images are binary, or Hugging Face's struct of bytes and path.
    Raises: RequestError if a column is missing, of another type, or its name is taken.
    """
    errors: list[str | None] = [None] * table.num_rows
    made = {"key": _keys(operator, table, key_column, names, errors)}
    rest = [f for f in table.schema if f.name not in ("key" if key_column == "key" else None, image_column)]
    if image_column is not None:
        made |= _image(operator, table, image_column, errors)
        if any(f.name == "path" for f in rest):
            made.pop("path", None)
    fields = [columns.known_column(name) for name in made] + [f.with_metadata(_described(f.metadata)) for f in rest]
    if twice := [name for name, count in Counter(f.name for f in fields).items() if count > 1]:
        raise RequestError(f"{operator}: two columns would be called '{twice[0]}'; rename that column in the files")
    arrays = [*made.values(), *(table.column(f.name) for f in rest), pa.array(errors, pa.string())]
    return pa.table(arrays, schema=pa.schema([*fields, pa.field(ERROR, pa.string())]))


def need_column(operator: str, schema: pa.Schema, name: str, parameter: str) -> pa.Field:
    """Return a column's field; raises RequestError naming the parameter and the columns there are."""
    if name not in schema.names:
        raise RequestError(
            f"{operator}: there is no column '{name}'; set {parameter} to one of {', '.join(schema.names)}, or to null"
        )
    return schema.field(name)


def _keys(
    operator: str, table: pa.Table, column: str | None, names: Sequence[str], errors: list[str | None]
) -> pa.Array:
    if column is None:
        return pa.array(names, pa.string())
    found = need_column(operator, table.schema, column, "key_column").type
    if not (types.is_string(found) or types.is_large_string(found) or types.is_integer(found)):
        raise RequestError(f"{operator}: key_column '{column}' holds {found}; a key is text or a whole number")
    keys = table.column(column).cast(pa.string()).to_pylist()
    for row, key in enumerate(keys):
        if not key:
            errors[row] = f"the key in column '{column}' is {'null' if key is None else 'empty'}"
            keys[row] = names[row]
    return pa.array(keys, pa.string())


def _image(operator: str, table: pa.Table, column: str, errors: list[str | None]) -> dict[str, Any]:
    found = need_column(operator, table.schema, column, "image_column").type
    values = table.column(column)
    if types.is_binary(found) or types.is_large_binary(found):
        return {"image": values.cast(pa.binary())}
    if not (types.is_struct(found) and {found.field(i).name for i in range(found.num_fields)} == {"bytes", "path"}):
        raise RequestError(
            f"{operator}: image_column '{column}' holds {found}; it must be binary or struct<bytes, path>"
        )
    image, path = pc.struct_field(values, "bytes").cast(pa.binary()), pc.struct_field(values, "path").cast(pa.string())
    for row in pc.indices_nonzero(pc.and_(pc.is_null(image), pc.is_valid(path))).to_pylist():
        errors[row] = f"the image's bytes are not in the file, only the path '{path[row]}', which is not followed"
    return {"image": image, "path": path}


def _described(metadata: dict[bytes, bytes] | None) -> dict[bytes, bytes]:
    return {key: value for key, value in (metadata or {}).items() if not key.startswith(b"PARQUET:")}
