"""Frames of video files."""

from __future__ import annotations

import contextlib
import importlib.util
import math
from collections import Counter
from collections.abc import Iterator
from typing import IO, Annotated, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from reinforced import columns
from reinforced.errors import RequestError
from reinforced.images import Pixels
from reinforced.operator import ShardSpec, Source

from ._frames import frames
from ._listing import find_files, open_path

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".flv", ".ogv", ".wmv")


class ReadVideo(Source):
    """Reads frames of videos, at a rate or one a scene, as JPEG with their time and scene (extra `video`).

    Keys are `parent/000123`: the path without its suffix, and the frame's place among all frames of the video, so that
    they are the same at every rate. A scene (`clip`) begins where a frame differs from the one before by more than
    `cut_threshold`. A video that cannot be decoded is a failed row; one that breaks off is one after the frames before.
    Files are told by suffix (mp4, m4v, mov, mkv, webm, avi, mpg, mpeg, ts, flv, ogv, wmv). What a file refers to is not
    opened. A shard is one video.
    """

    reads: ClassVar = ()
    writes: ClassVar = ("key", "image", "path", "parent", "timestamp_s", "frame_number", "clip")
    examples: ClassVar = ()

    path: Annotated[str, Field(min_length=1, description="Video, folder or pattern: a local path or an fsspec URL.")]
    frames: Annotated[
        Literal["rate", "scenes"], Field(description="Frames at a rate, or the first frame of each scene.")
    ] = "rate"
    frames_per_s: Annotated[float, Field(gt=0, description="Frames for each second of the video.")] = 1.0
    cut_threshold: Annotated[
        float, Field(gt=0, le=1, description="Mean change of red, green and blue, 0 to 1, above which a scene begins.")
    ] = 0.12
    max_frames: Annotated[int, Field(ge=1, description="Most frames of a video; the first ones are taken.")] = 1000
    quality: Annotated[int, Field(ge=1, le=100, description="Quality of the JPEGs.")] = 95

    def columns(self) -> pa.Schema:
        """Return the columns; RequestError without PyAV."""
        if importlib.util.find_spec("av") is None:
            raise RequestError("read.video needs PyAV, which is not installed: pip install 'reinforced[video]'")
        return columns.resolve(self.writes)

    def shards(self) -> Iterator[ShardSpec]:
        """Yield each video with its size and time of modification; RequestError without a video."""
        files = find_files(self.name(), self.path, VIDEO_SUFFIXES)
        stems = Counter(file.name.rpartition(".")[0] for file in files)
        for file in files:
            stem = file.name.rpartition(".")[0]
            key = stem if stems[stem] == 1 else file.name
            yield {"file": file.path, "path": file.name, "key": key, "size": file.size, "modified": file.modified}

    def read(self, shard: ShardSpec) -> pa.Table:
        """Read the frames of a video, and a failed row if it is broken."""
        rows: list[dict[str, Any]] = []
        fs, _ = open_path(self.path)
        try:
            with fs.open(shard["file"], "rb") as file:
                rows.extend(self._taken(file, shard))
        except (ValueError, FileNotFoundError, PermissionError) as error:
            rows.append({"key": shard["key"], "path": shard["path"], "_error": str(error)})
        return pa.Table.from_pylist(rows, schema=self.columns().append(pa.field("_error", pa.string())))

    def _taken(self, file: IO[bytes], shard: ShardSpec) -> Iterator[dict[str, Any]]:
        taken, due = 0, 0
        with contextlib.closing(frames(file, self.cut_threshold)) as found:
            for frame in found:
                ticks = math.floor(frame.time_s * self.frames_per_s + 1e-3)  # forgives times that are rounded
                if not (frame.begins if self.frames == "scenes" else ticks >= due):
                    continue
                taken, due = taken + 1, ticks + 1
                yield {
                    "key": f"{shard['key']}/{frame.number:06d}",
                    "image": _jpeg(frame.pixels(), self.quality),
                    "path": shard["path"],
                    "parent": shard["key"],
                    "timestamp_s": frame.time_s,
                    "frame_number": frame.number,
                    "clip": frame.clip,
                }
                if taken == self.max_frames:
                    return


def _jpeg(pixels: Pixels, quality: int) -> bytes:
    import simplejpeg

    return bytes(simplejpeg.encode_jpeg(pixels, quality=quality, colorspace="RGB"))
