"""A folder of image files, with class folders as labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from reinforced import columns
from reinforced.counter import hash64
from reinforced.errors import RequestError
from reinforced.operator import ShardSpec, Source

from ._files import MAX_FILE_BYTES, cut, read_files
from ._listing import IMAGE_SUFFIXES, list_folder, open_path, require_folder, top_of_folder


class ReadImages(Source):
    """Reads every image file below a folder, in order of path or shuffled; the first folder of the path is the class.

    `key` is the relative path without its suffix; where files share one (`cat/1.jpg`, `cat/1.png`), all but the first
    keep their suffix. `label` counts the sorted class names from 0. Files are told by suffix (jpg, jpeg, png, webp,
    gif, bmp, tif, tiff); others and hidden ones (a leading dot) are no rows. A file that is gone, cannot be read, or
    is a link out of the folder is a failed row; so is a link to a folder, which is not followed.
    """

    examples: ClassVar = ()

    path: Annotated[str, Field(min_length=1, description="Folder of images: a local path or an fsspec URL.")]
    labels: Annotated[
        Literal["auto", "folders", "none"],
        Field(
            description="Take labels from the first folder of each path (folders: images outside a folder have none), "
            "never (none), or if `path` itself holds folders and no image (auto)."
        ),
    ] = "auto"
    shuffle: Annotated[
        bool,
        Field(description="Take files in the order of a hash of their path, so that a shard holds all classes alike."),
    ] = False
    shard_rows: Annotated[int, Field(gt=0, description="Most images in a shard.")] = 1000
    shard_bytes: Annotated[
        int, Field(gt=0, le=MAX_FILE_BYTES, description="Most bytes of images in a shard, unless one image has more.")
    ] = 268435456

    def columns(self) -> pa.Schema:
        """Return the columns, from a look at the top of the folder; RequestError if it is not there."""
        require_folder(self.name(), *open_path(self.path))
        names = ("key", "image", "path", "label", "label_name")
        return columns.resolve(names if self._labelled() else names[:3])

    def shards(self) -> Iterator[ShardSpec]:
        """Yield the files of every shard with their sizes and times of modification; RequestError without an image."""
        fs, folder = open_path(self.path)
        files = [
            file
            for file in list_folder(self.name(), fs, folder)
            if file.folder_link or ("." in file.name and file.suffix in IMAGE_SUFFIXES)
        ]
        if not files:
            raise RequestError(
                f"{self.name()}: '{self.path}' holds no image; put files there with the suffix "
                f"{', '.join(IMAGE_SUFFIXES)}"
            )
        names = sorted({file.name.split("/")[0] for file in files if "/" in file.name})
        if self.labels == "folders" and not names:
            raise RequestError(f"{self.name()}: no folder in '{self.path}' holds images; leave out labels: folders")
        labels = {name: label for label, name in enumerate(names)} if self._labelled() else None
        seen: set[str] = set()
        keeping = {file.name for file in files if not _claim(seen, file.name)}
        if self.shuffle:
            files.sort(key=lambda file: (hash64(file.name), file.name))
        for part in cut(files, self.shard_rows, self.shard_bytes):
            keep_suffix = [i for i, file in enumerate(part) if file.name in keeping]
            yield {
                "folder": folder,
                "paths": [file.name for file in part],
                "sizes": [file.size for file in part],
                "modified": [file.modified for file in part],
                "keep_suffix": keep_suffix,
            } | ({} if labels is None else {"labels": [labels.get(file.name.split("/")[0]) for file in part]})

    def rows_of(self, shard: ShardSpec) -> int:
        """Return the number of files."""
        return len(shard["paths"])

    def read(self, shard: ShardSpec) -> pa.Table:
        """Read the files of a shard."""
        fs, _ = open_path(self.path)
        paths, keep_suffix = shard["paths"], set(shard["keep_suffix"])
        found = read_files(fs, shard["folder"], paths, shard["sizes"])
        values = {
            "key": [path if i in keep_suffix else _stem(path) for i, path in enumerate(paths)],
            "image": [content if isinstance(content, bytes) else None for content in found],
            "path": paths,
        }
        if "labels" in shard:
            values["label"] = shard["labels"]
            values["label_name"] = [path.split("/")[0] if "/" in path else None for path in paths]
        values["_error"] = [content if isinstance(content, str) else None for content in found]
        schema = columns.resolve([name for name in values if name != "_error"]).append(pa.field("_error", pa.string()))
        return pa.table(values, schema=schema)

    def _labelled(self) -> bool:
        if self.labels != "auto":
            return self.labels == "folders"
        fs, folder = open_path(self.path)
        folders = False
        for name, is_folder in top_of_folder(fs, folder):
            if not is_folder and name.rpartition(".")[2].lower() in IMAGE_SUFFIXES:
                return False  # most often the first entry says so
            folders = folders or is_folder
        return folders


def _stem(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return folder + slash + (name.rpartition(".")[0] or name)


def _claim(seen: set[str], path: str) -> bool:
    """Claim the path without its suffix as a key; if another file has it, claim the whole path and return False."""
    first = _stem(path) not in seen
    seen.add(_stem(path) if first else path)
    return first
