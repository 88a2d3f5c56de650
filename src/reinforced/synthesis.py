"""Sources without an input: every picture is made from the seed, its class and its number, and from nothing else."""

from __future__ import annotations

import importlib.util
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
import simplejpeg
from pydantic import Field

from reinforced import columns
from reinforced.errors import RequestError
from reinforced.images import Pixels, encode_png
from reinforced.operator import ShardSpec, Source
from reinforced.stream import Stream, streams

JPEG_QUALITY = 95
Encoding = Literal["jpeg", "png"]


@dataclass(frozen=True)
class Picture:
    """Pixels, uint8 (height, width) grey or (height, width, 3) RGB, and the parameters that made them, by column."""

    pixels: Pixels
    parameters: Mapping[str, Any] = field(default_factory=dict)


class Synthesis(Source):
    """A source that makes its pictures: `classes` x `instances`, with keys such as `00012/000345`.

    A picture depends on seed, class and instance alone: more classes or instances leave the others as they are.
    """

    made: ClassVar[tuple[str, ...]] = ()
    """Columns with the parameters that made each picture."""

    classes: Annotated[int, Field(ge=1, le=100_000, description="Number of classes.")] = 100
    instances: Annotated[int, Field(ge=1, le=1_000_000, description="Pictures of each class.")] = 10
    size_px: Annotated[int, Field(ge=16, le=2048, description="Width and height of a picture.")] = 256
    encoding: Annotated[
        Encoding,
        Field(description="How pictures are stored: JPEG of quality 95 with halved chroma, or PNG, exact but "
              "100 times slower."),
    ] = "jpeg"  # fmt: skip
    shard_rows: Annotated[int, Field(gt=0, description="Pictures in a shard.")] = 1000
    seed: Annotated[int, Field(ge=0, description="Decides every picture.")] = 0

    @abstractmethod
    def picture(self, label: int, instance: int, stream: Stream) -> Picture:
        """Make one picture; raise ValueError where there is none. `stream` is its own source of random numbers."""

    def columns(self) -> pa.Schema:
        """Return the columns of every shard. Raises: RequestError where the renderer is not installed."""
        if importlib.util.find_spec("numba") is None:
            raise RequestError(f"{self.name()} needs numba to render; install reinforced[synthesis]")
        return columns.resolve(("key", "image", "label", *self.made))

    def shards(self) -> Iterator[ShardSpec]:
        """Yield the first picture of every shard, as class and instance, and the number of pictures."""
        total = self.classes * self.instances
        for start in range(0, total, self.shard_rows):
            yield {"first": divmod(start, self.instances), "rows": min(self.shard_rows, total - start)}

    def read(self, shard: ShardSpec) -> pa.Table:
        """Make the pictures of a shard."""
        label, instance = shard["first"]
        start = label * self.instances + instance
        places = [divmod(i, self.instances) for i in range(start, start + shard["rows"])]
        keys = [self.key(*place) for place in places]
        schema = self.columns().append(pa.field("_error", pa.string()))
        rows = list(map(self._row, places, keys, streams(self.seed, self.name(), keys)))
        return pa.table([pa.array([row.get(f.name) for row in rows], f.type) for f in schema], schema=schema)

    def _row(self, place: tuple[int, int], key: str, stream: Stream) -> dict[str, Any]:
        row: dict[str, Any] = {"key": key, "label": place[0]}
        try:
            picture = self.picture(*place, stream)
        except ValueError as error:
            return row | {"_error": str(error)}
        return row | {"image": self.encode(picture.pixels), **picture.parameters}

    def key(self, label: int, instance: int) -> str:
        """Return the key of a picture."""
        return f"{label:05d}/{instance:06d}"

    def make(self, label: int, instance: int) -> Picture:
        """Make one picture by itself, the same as in a shard."""
        return self.picture(label, instance, Stream(self.seed, self.name(), self.key(label, instance)))

    def encode(self, pixels: Pixels) -> bytes:
        """Return a picture as it is stored."""
        return encode(pixels, self.encoding)


def encode(pixels: Pixels, encoding: Encoding) -> bytes:
    """Encode uint8 pixels, (height, width) grey or (height, width, 3) RGB."""
    if encoding == "png":
        return encode_png(pixels)
    if pixels.ndim == 2:
        return bytes(simplejpeg.encode_jpeg(pixels[..., None], JPEG_QUALITY, "GRAY"))
    return bytes(simplejpeg.encode_jpeg(pixels, JPEG_QUALITY, "RGB", "420"))
