"""COCO: images in a folder, one JSON file of their objects, as detection datasets and renderers write them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

import pyarrow as pa
from pydantic import Field

from reinforced import columns
from reinforced.errors import RequestError
from reinforced.operator import ShardSpec, Source

from ._coco import Index, read_index, stem
from ._files import read_files
from ._listing import find_files, open_path

NAMES = ("key", "image", "path", "width", "height", "objects")


class ReadCoco(Source):
    """Reads images and their objects from COCO's form: a folder, and a JSON file of images, annotations, categories.

    `label` counts the categories in order of their ids from 0. Masks stay as they are: runs, packed where the file has
    them as numbers, or polygons. An annotation of an image or category that is not there, a box that is not four
    numbers, and a mask of another size than its image are refused before the run. Images without annotations are rows
    with no objects; a file that is gone is a failed row. `key` is the file's name without its suffix.
    """

    writes: ClassVar = NAMES
    examples: ClassVar = ()

    path: Annotated[str, Field(min_length=1, description="Folder of the images: a local path or an fsspec URL.")]
    annotations: Annotated[str, Field(min_length=1, description="The JSON file: a local path or an fsspec URL.")]
    shard_rows: Annotated[int, Field(gt=0, description="Images in a shard.")] = 1000

    def columns(self) -> pa.Schema:
        """Return the columns; RequestError for a file that is not consistent."""
        self._index()
        return columns.resolve(NAMES)

    def shards(self) -> Iterator[ShardSpec]:
        """Yield the first and the last image (exclusive) of every shard, in order of file name, and the file's hash."""
        index = self._index()
        for start in range(0, len(index.images), self.shard_rows):
            stop = min(start + self.shard_rows, len(index.images))
            yield {"start": start, "stop": stop, "annotations": index.sha256}

    def read(self, shard: ShardSpec) -> pa.Table:
        """Read the images of a shard. Raises: RequestError if the annotations have changed since they were listed."""
        index = self._index()
        if index.sha256 != shard["annotations"]:
            raise RequestError(f"{self.name()}: '{self.annotations}' has changed while it was read; run it again")
        images = index.images[shard["start"] : shard["stop"]]
        fs, folder = open_path(self.path)
        found = read_files(fs, folder, [image["file_name"] for image in images], [0] * len(images))
        rows = [
            {"key": stem(image["file_name"]), "path": image["file_name"], "objects": index.objects[image["id"]]}
            | {"width": image["width"], "height": image["height"]}
            | ({"image": content} if isinstance(content, bytes) else {"_error": content})
            for image, content in zip(images, found, strict=True)
        ]
        return pa.Table.from_pylist(rows, schema=columns.resolve(NAMES).append(pa.field("_error", pa.string())))

    def _index(self) -> Index:
        files = find_files(self.name(), self.annotations, (".json",))
        if len(files) != 1:
            raise RequestError(f"{self.name()}: annotations: '{self.annotations}' is {len(files)} files; give one")
        try:
            return read_index(self.annotations, f"{files[0].path} {files[0].size} {files[0].modified}")
        except (ValueError, KeyError, TypeError) as error:
            said = f"{error} is missing" if isinstance(error, KeyError) else error
            raise RequestError(f"{self.name()}: '{self.annotations}': {said}") from error
