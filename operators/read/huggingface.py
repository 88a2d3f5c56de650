"""Hugging Face image datasets on disk: saved by `datasets`, or in the Hub's Parquet layout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import Field

from reinforced import columns
from reinforced.errors import RequestError, nearest
from reinforced.operator import ShardSpec, Source

from ._hub import find_splits
from ._listing import Found, open_path
from ._samples import ERROR, as_samples
from ._tables import describe, read_rows, row_shards


class ReadHuggingFace(Source):
    """Reads a Hugging Face dataset from its folder, without the `datasets` package.

    The folder is one that `save_to_disk` wrote (a Dataset or a DatasetDict), or it has the Hub's Parquet files, such as
    `data/train-00000-of-00003.parquet`. The Image feature becomes `image` and `path`, the ClassLabel feature `label`
    and `label_name` (-1, no label, is null in both), and `split` says where a row is from unless the dataset has that
    column; all others keep their types. Keys are `<split>/<running number>`, counted from 0 with 8 digits.
    """

    examples: ClassVar = ()

    path: Annotated[str, Field(min_length=1, description="Folder of the dataset: a local path or an fsspec URL.")]
    split: Annotated[str | None, Field(description="Split to read, such as train; default: all of them.")] = None
    key_column: Annotated[str | None, Field(description="Column that names each sample, instead of numbers.")] = None
    image_column: Annotated[
        str | None, Field(description="Column of the images; default: the first Image feature, else `image`.")
    ] = None
    label_column: Annotated[
        str | None, Field(description="ClassLabel column for `label`; default: `label`, or the only ClassLabel.")
    ] = None
    shard_rows: Annotated[int, Field(gt=0, description="Most rows in a shard.")] = 1000

    def columns(self) -> pa.Schema:
        """Return the columns, from the first file's schema."""
        empty = self._first_schema(self._splits()).empty_table()
        return self._samples(empty, [], "").drop_columns([ERROR]).schema

    def shards(self) -> Iterator[ShardSpec]:
        """Yield every run of rows with its split, its first row's number, and its file's size and modification time."""
        splits = self._splits()
        schema, (fs, _) = self._first_schema(splits), open_path(self.path)
        for split, files in splits.items():
            first = 0
            for shard in row_shards(self.name(), fs, files, self.shard_rows, schema):
                yield shard | {"split": split, "first": first}
                first += shard["stop"] - shard["start"]

    def read(self, shard: ShardSpec) -> pa.Table:
        """Read a run of rows; raises OSError if the file cannot be read."""
        fs, _ = open_path(self.path)
        table = read_rows(fs, shard["file"], shard["start"], shard["stop"])
        keys = [f"{shard['split']}/{shard['first'] + row:08d}" for row in range(table.num_rows)]
        return self._samples(table, keys, shard["split"])

    def _splits(self) -> dict[str, list[Found]]:
        return find_splits(self.name(), self.path, self.split)

    def _first_schema(self, splits: dict[str, list[Found]]) -> pa.Schema:
        first = next(file for files in splits.values() for file in files)
        return describe(open_path(self.path)[0], first.path)[0]

    def _samples(self, table: pa.Table, names: list[str], split: str) -> pa.Table:
        features = _features(table.schema)
        image = self.image_column or next((n for n, f in features.items() if f.get("_type") == "Image"), "image")
        classes = {n: f["names"] for n, f in features.items() if f.get("_type") == "ClassLabel"}
        label = self.label_column or ("label" if "label" in classes or len(classes) != 1 else next(iter(classes)))
        if self.label_column and label not in classes:
            raise RequestError(f"{self.name()}: label_column '{label}' is no ClassLabel{nearest(label, classes)}")
        table = _with_label(table, label, classes[label]) if label in classes else table
        if "split" not in table.column_names:
            table = table.append_column(columns.known_column("split"), pa.array([split] * len(table), pa.string()))
        return as_samples(self.name(), table, self.key_column, image, names)


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """Return the Hugging Face features that the schema's metadata describes; those of one value are mappings."""
    described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    found = described.get("info", {}).get("features", {})
    return {name: feature for name, feature in found.items() if isinstance(feature, dict)}


def _with_label(table: pa.Table, column: str, names: list[str]) -> pa.Table:
    """Put `label` and `label_name` in the place of a ClassLabel column; -1 and null are no label."""
    values = [None if value == -1 else value for value in table.column(column).to_pylist()]
    label = pa.array(values, pa.int32())
    label_name = pa.array(
        [names[value] if value is not None and 0 <= value < len(names) else None for value in values], pa.string()
    )
    at = table.column_names.index(column)
    table = table.remove_column(at).add_column(at, columns.known_column("label"), label)
    return table.add_column(at + 1, columns.known_column("label_name"), label_name)
