"""Parquet files that the Hugging Face `datasets` package shows as images."""

from __future__ import annotations

import json
from typing import Annotated, ClassVar

import pyarrow as pa
from pydantic import Field

from reinforced.operator import Sink
from reinforced.storage import Storage

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
ROW_GROUP_ROWS = 100
"""Few, because a reader takes whole row groups into memory, images and all."""


class WriteParquet(Sink):
    """Writes each shard as `<path>/<shard>.parquet`, all layers' columns in one file.

    `image` and `path` become one column `image`, a struct of bytes and path with the `huggingface` metadata of an Image
    feature: `datasets.load_dataset("parquet", data_files=...)` and the Hub's viewer show pictures. All other columns
    are untouched. `read.parquet` gives the same rows and columns back.
    """

    reads: ClassVar = ("key",)
    examples: ClassVar = ()

    path: Annotated[str, Field(min_length=1, description="Folder for the files: a local path or an fsspec URL.")]

    def write(self, shard: str, table: pa.Table) -> list[str]:
        """Write one file."""
        storage = Storage(self.path)
        if "image" in table.column_names:
            table = _fold_image(table)
        storage.write_table(f"{shard}.parquet", table, row_group_size=ROW_GROUP_ROWS)
        return [storage.full(f"{shard}.parquet")]


def _fold_image(table: pa.Table) -> pa.Table:
    has_path = "path" in table.column_names
    chunks = []
    for batch in table.select(["image", "path"] if has_path else ["image"]).to_batches():
        image = batch.column("image").cast(pa.binary())
        path = batch.column("path").cast(pa.string()) if has_path else pa.nulls(len(batch), pa.string())
        chunks.append(pa.StructArray.from_arrays([image, path], fields=list(IMAGE)))
    metadata = table.schema.metadata or {}
    field = pa.field("image", IMAGE, metadata=table.field("image").metadata)
    table = table.set_column(table.column_names.index("image"), field, pa.chunked_array(chunks, IMAGE))
    table = table.drop_columns(["path"]) if has_path else table
    features = {"info": {"features": {"image": {"_type": "Image"}}}}
    return table.replace_schema_metadata(metadata | {b"huggingface": json.dumps(features).encode()})
