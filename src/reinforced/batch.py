"""A batch: some rows of a shard as an Arrow table, whose images are decoded at most once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from reinforced.columns import layer_schemas
from reinforced.images import ImageError, Pixels, decode, measure


class Batch:
    """Rows handed to an operator: `table` holds the columns, `decoded()` and `pixels` the pictures."""

    def __init__(self, table: pa.Table, decoded: Sequence[Pixels | ImageError | None] | None = None) -> None:
        self.table = table
        self._decoded: list[Pixels | ImageError | None] = (
            list(decoded) if decoded is not None else [None] * table.num_rows
        )

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def keys(self) -> list[str]:
        """The sample keys, in row order."""
        return self.values("key")

    def values(self, name: str) -> list:  # type: ignore[type-arg]  # whatever Python values the column holds
        """Return a column as a list of Python values, None for null."""
        return self.table.column(name).to_pylist()  # type: ignore[no-any-return]

    def decoded(self, rows: Sequence[int] | None = None) -> list[Pixels | ImageError]:
        """Decode the images, all or of some rows: uint8 (height, width, 3) each, or the error of those that fail."""
        wanted = range(len(self)) if rows is None else rows
        for i in wanted:
            if self._decoded[i] is None:
                self._decoded[i] = _try_decode(self.table.column("image")[i].as_buffer())
        return [self._decoded[i] for i in wanted]  # type: ignore[misc]

    def sizes(self) -> tuple[list[int], list[int]]:
        """Return the upright images' widths and heights in px; reads the headers of those that are not decoded yet.

        Raises: ImageError for an image that cannot be read.
        """
        found = []
        for value, image in zip(self.table.column("image"), self._decoded, strict=True):
            if isinstance(image, ImageError):
                raise image
            found.append(measure(value.as_py() or b"") if image is None else (image.shape[1], image.shape[0]))
        return [width for width, _ in found], [height for _, height in found]

    def undecodable(self) -> dict[int, ImageError]:
        """Decode every image once, keep none, and return the rows that fail with their errors."""
        found = (_try_decode(value.as_buffer()) for value in self.table.column("image"))
        return {i: error for i, error in enumerate(found) if isinstance(error, ImageError)}

    def decoder(self, most_pixels: int) -> Callable[[int], Pixels]:
        """Return a function that decodes the image of a row and remembers the last ones, about `most_pixels` px."""
        largest = max((w * h for w, h in zip(*self.sizes(), strict=True)), default=1)
        image = self.table.column("image")

        @functools.lru_cache(maxsize=max(1, most_pixels // largest))
        def decoded(row: int) -> Pixels:
            return decode(image[row].as_py() or b"")

        return decoded

    @property
    def pixels(self) -> list[Pixels]:
        """The decoded images, uint8 (height, width, 3) each; raises the first ImageError if one cannot be decoded."""
        found = self.decoded()
        for image in found:
            if isinstance(image, ImageError):
                raise image
        return found  # type: ignore[return-value]

    def take(self, rows: Sequence[int]) -> Batch:
        """Return the batch of these rows, decoded images carried along."""
        if len(rows) == len(self):
            return self
        return Batch(self.table.take(pa.array(rows, pa.int64())), [self._decoded[i] for i in rows])

    def with_columns(self, columns: Mapping[str, pa.Array], schema: pa.Schema) -> Batch:
        """Return the batch with columns added (or replaced), typed and described by `schema`."""
        table = self.table
        for name, values in columns.items():
            field = schema.field(name)
            array = values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values, field.type)
            table = table.drop_columns([name]) if name in table.column_names else table
            table = table.append_column(field, array.cast(field.type))
        return Batch(table, self._decoded)

    def descendants(self, parents: Sequence[int], columns: Mapping[str, pa.Array], schema: pa.Schema) -> pa.Table:
        """Return what a generator makes: the new columns, `_parent`, and what else the parents' rows hold.

        Sizes and hashes are not passed on: they are of the parent's file.
        """
        about_the_file = {"width", "height", "sha256", *layer_schemas()["hashes"].fields}
        rows = pa.array(parents, pa.int64())
        table = pa.table(columns, schema=schema)
        for name in self.table.column_names:
            if name not in columns and name not in about_the_file:
                table = table.append_column(self.table.field(name), self.table.column(name).take(rows))
        return table.append_column("_parent", rows)


def _try_decode(data: pa.Buffer | None) -> Pixels | ImageError:
    if data is None:
        return ImageError("the row has no image")
    try:
        return decode(data.to_pybytes())
    except ImageError as error:
        return error
