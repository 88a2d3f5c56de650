"""Tiles of images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

import pyarrow as pa
from pydantic import Field

from reinforced.batch import Batch
from reinforced.images import Pixels, encode_png
from reinforced.operator import Generator


class GenerateTiles(Generator):
    """Cuts each image into a grid of tiles, row by row from the top left, encoded as PNG.

    Tiles of an image differ by at most one pixel in width and height. Keys are `parent/0001` and on; the other columns
    of the parent are passed on, but not its size and hashes. An image with fewer pixels than tiles on a side fails.
    """

    reads: ClassVar = ("key", "pixels")
    writes: ClassVar = ("key", "image", "parent")
    examples: ClassVar = ({"rows": 2, "columns": 3},)

    rows: Annotated[int, Field(ge=1, description="Tiles from top to bottom.")] = 2
    columns: Annotated[int, Field(ge=1, description="Tiles from left to right.")] = 2

    def generate(self, batch: Batch) -> pa.Table:
        """Return rows x columns tiles for each image."""
        count = self.rows * self.columns
        tiles = [encode_png(tile) for image in batch.pixels for tile in self._cut(image)]
        parents = [i for i in range(len(batch)) for _ in range(count)]
        made = {
            "key": [f"{key}/{n:04d}" for key in batch.keys for n in range(1, count + 1)],
            "image": tiles,
            "parent": [key for key in batch.keys for _ in range(count)],
        }
        return batch.descendants(parents, made, self.outputs())

    def _cut(self, image: Pixels) -> Iterator[Pixels]:
        height, width = image.shape[:2]
        if height < self.rows or width < self.columns:
            raise ValueError(f"an image of {width} x {height} px cannot be cut into {self.columns} x {self.rows} tiles")
        for row in range(self.rows):
            top, bottom = (height * r // self.rows for r in (row, row + 1))
            for column in range(self.columns):
                left, right = (width * c // self.columns for c in (column, column + 1))
                yield image[top:bottom, left:right]
