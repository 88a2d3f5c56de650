"""The columns of every layer, read from `schemas/*.yaml`: the engine, the docs and the Parquet metadata share them."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources

import pyarrow as pa
import yaml

from reinforced.errors import nearest

_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "binary": pa.binary(),
    "bool": pa.bool_(),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float16": pa.float16(),
    "float32": pa.float32(),
    "float64": pa.float64(),
}


def parse_type(text: str) -> pa.DataType:
    """Turn `int32`, `list<string>`, `uint16[10]` (fixed-size list) or `struct<x: int32, y: string>` into the type."""
    if match := re.fullmatch(r"struct<(.+)>", text):
        members = (part.partition(":") for part in _split(match[1]))
        return pa.struct([(name.strip(), parse_type(type.strip())) for name, _, type in members])
    if match := re.fullmatch(r"list<(.+)>", text):
        return pa.list_(parse_type(match[1]))
    if match := re.fullmatch(r"(.+)\[(\d+)\]", text):
        return pa.list_(parse_type(match[1]), int(match[2]))
    if text not in _TYPES:
        raise ValueError(f"column type '{text}' is unknown{nearest(text, _TYPES)}")
    return _TYPES[text]


def _split(text: str) -> list[str]:
    """Split at the commas that stand in no angle brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += {"<": 1, ">": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def column(name: str, type: str | pa.DataType, description: str, unit: str | None = None) -> pa.Field:
    """Describe a column: an Arrow field whose metadata carries the description and the unit into the Parquet file."""
    metadata = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, parse_type(type) if isinstance(type, str) else type, metadata=metadata)


@dataclass(frozen=True)
class LayerSchema:
    """One `schemas/NAME.yaml`: what the layer is, its version and its columns in order."""

    name: str
    version: int
    description: str
    fields: dict[str, pa.Field]

    def select(self, names: Iterable[str]) -> pa.Schema:
        """Return the Arrow schema of the named columns."""
        missing = [name for name in names if name not in self.fields]
        assert not missing, f"schemas/{self.name}.yaml has no column {missing}"
        return pa.schema([self.fields[name] for name in names])


@functools.cache
def layer_schemas() -> dict[str, LayerSchema]:
    """Return every layer schema that ships with the package, by name."""
    found = {}
    for file in sorted(resources.files("reinforced.schemas").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".yaml"):
            raw = yaml.safe_load(file.read_text(encoding="utf-8"))
            fields = {
                name: column(name, spec["type"], spec["description"], spec.get("unit"))
                for name, spec in raw["columns"].items()
            }
            found[raw["layer"]] = LayerSchema(raw["layer"], raw["version"], raw["description"], fields)
    return found


@functools.cache
def known_column(name: str) -> pa.Field:
    """Return the described column of that name from whichever layer declares it."""
    for schema in layer_schemas().values():
        if name in schema.fields:
            return schema.fields[name]
    raise ValueError(
        f"column '{name}' is in no schemas/*.yaml: describe it there, or in the operator with "
        "reinforced.columns.column(name, type, description, unit)"
    )


def resolve(columns: Iterable[str | pa.Field]) -> pa.Schema:
    """Turn names (looked up in `schemas/`) and described fields into an Arrow schema."""
    return pa.schema([known_column(c) if isinstance(c, str) else c for c in columns])
