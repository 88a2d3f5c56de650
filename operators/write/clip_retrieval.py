"""Embeddings as clip-retrieval keeps them on disk."""

from __future__ import annotations

import io
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as types
from pydantic import Field

from reinforced.operator import Sink
from reinforced.storage import Storage

_LEAST_NORM = 1e-12


class WriteClipRetrieval(Sink):
    """Writes embeddings as clip-retrieval does, a file a shard: `img_emb/img_emb_<shard>.npy`, float16 (rows, width).

    Row i of `metadata/metadata_<shard>.parquet` is row i of the embeddings, all columns but the images and lists, with
    `path` under the name `image_path`. Vectors get length 1, as its indices expect; a file a shard, its name padded
    with zeros, keeps the order that its readers sort by. `clip-retrieval index` and `embedding_reader` take the folder.
    """

    reads: ClassVar = ("key",)
    examples: ClassVar = ()

    path: Annotated[str, Field(min_length=1, description="Folder for the files: a local path or an fsspec URL.")]
    column: Annotated[str, Field(description="Column of the images' embeddings, such as `embed.image` adds.")] = (
        "embedding"
    )
    text_column: Annotated[
        str | None, Field(description="Column of the captions' embeddings, for `text_emb/`; default: there is none.")
    ] = None

    def check(self, available: pa.Schema) -> None:
        """Raise ValueError if a named column is not there or does not hold one vector of fixed length a row."""
        for name in self._folders().values():
            if name not in available.names:
                raise ValueError(f"column '{name}' is not there: add it with embed.image, or name the one that is")
            kind = available.field(name).type
            if not types.is_fixed_size_list(kind) or not types.is_floating(kind.value_type):
                raise ValueError(f"column '{name}' is {kind}: one vector of fixed length a row is needed")

    def write(self, shard: str, table: pa.Table) -> list[str]:
        """Write one shard's embeddings and metadata."""
        storage, paths = Storage(self.path), []
        for folder, name in self._folders().items():
            file = io.BytesIO()
            np.save(file, _vectors(table.column(name), name), allow_pickle=False)
            paths.append(f"{folder}/{folder}_{shard}.npy")
            storage.write(paths[-1], file.getvalue())
        plain = [f.name for f in table.schema if f.name != "image" and not types.is_nested(f.type)]
        named = ["image_path" if name == "path" else name for name in plain]
        paths.append(f"metadata/metadata_{shard}.parquet")
        storage.write_table(paths[-1], table.select(plain).rename_columns(named))
        return [storage.full(path) for path in paths]

    def _folders(self) -> dict[str, str]:
        return {"img_emb": self.column} | ({"text_emb": self.text_column} if self.text_column else {})


def _vectors(column: pa.ChunkedArray, name: str) -> npt.NDArray[np.float16]:
    """Return a column of vectors as float16 (rows, width) of length 1. Raises: ValueError where one is missing."""
    if column.null_count:
        raise ValueError(f"{column.null_count} rows have no '{name}', but every row needs one: drop them before")
    lists = column.combine_chunks()
    flat = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    vectors = flat.reshape(-1, column.type.list_size)
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), _LEAST_NORM)
    found: npt.NDArray[np.float16] = (vectors / lengths).astype(np.float16)
    return found
