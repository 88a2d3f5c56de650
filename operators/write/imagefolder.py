"""Plain image files in class folders."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, ClassVar

import pyarrow as pa
from pydantic import Field

from reinforced.columns import column
from reinforced.operator import Sink
from reinforced.storage import Storage

from ._names import file_name, image_extension

WRITES_AT_ONCE = 16


class WriteImageFolder(Sink):
    """Writes images as `<path>/<label_name>/<key>.<suffix>`, bytes untouched, and all other columns as Parquet.

    Rows with no label_name go directly into `path`. Slashes and other characters that do not belong in a file name are
    percent-encoded (`%2F`), names over 180 bytes cut and ended by a hash. `metadata-<shard>.parquet` has every column
    but the image after `file_name`, the file's path in the folder (null for a row without an image).
    """

    reads: ClassVar = ("key", "image")
    examples: ClassVar = ()

    path: Annotated[str, Field(min_length=1, description="Folder for the images: a local path or an fsspec URL.")]

    def check(self, available: pa.Schema) -> None:
        """Raise ValueError if the metadata would have two columns `file_name`."""
        if "file_name" in available.names:
            raise ValueError("column 'file_name' is what this sink calls the path of each file; rename it")

    def write(self, shard: str, table: pa.Table) -> list[str]:
        """Write the images of one shard and its metadata file."""
        storage = Storage(self.path)
        images = table.column("image").to_pylist()
        nothing = [None] * table.num_rows
        keys, paths, labels = (
            table.column(name).to_pylist() if name in table.column_names else nothing
            for name in ("key", "path", "label_name")
        )
        names = [
            None if image is None else _name(key, label, image_extension(image, path))
            for key, label, image, path in zip(keys, labels, images, paths, strict=True)
        ]
        files = {name: image for name, image in zip(names, images, strict=True) if name is not None}
        with ThreadPoolExecutor(WRITES_AT_ONCE) as pool:  # waiting for an object store takes longer than sending
            list(pool.map(storage.write, files, files.values()))
        field = column("file_name", "string", "Path of the image file, relative to the folder.")
        metadata = table.drop_columns(["image"]).add_column(0, field, pa.array(names, pa.string()))
        storage.write_table(f"metadata-{shard}.parquet", metadata)
        return [storage.full(name) for name in (*files, f"metadata-{shard}.parquet")]


def _name(key: str, label: str | None, extension: str) -> str:
    name = f"{file_name(key)}.{extension}"
    return name if label is None else f"{file_name(label)}/{name}"
