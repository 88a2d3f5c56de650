"""A queue of images for people to look at."""

from __future__ import annotations

import base64
import csv
import io
from importlib import resources
from typing import Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import Field

from reinforced.batch import Batch
from reinforced.dataset import Dataset
from reinforced.images import ImageError, Pixels
from reinforced.operator import Sink
from reinforced.storage import Storage

from ..filter.where import FilterWhere


class WriteReview(Sink):
    """Writes the images for which an SQL condition is true as one HTML page to judge them on, and a CSV of their keys.

    `review.html` holds thumbnails and buttons, needs no network, and saves what was decided as `verdicts.csv`;
    `review.csv` has the columns key, verdict and note to be filled in by other means. `filter.review` reads either.
    The page shows the images: it is to be treated, and after a takedown removed, like the dataset.
    """

    writes_shards: ClassVar = False
    examples: ClassVar = ()

    path: Annotated[str, Field(min_length=1, description="Folder for the two files: a local path or an fsspec URL.")]
    where: Annotated[str, Field(min_length=1, description="Condition on the columns, as for filter.where.")]
    show: Annotated[tuple[str, ...], Field(description="Columns to show below each image.")] = ()
    thumbnail_px: Annotated[int, Field(ge=16, le=1024, description="Longer side of a thumbnail.")] = 192

    def inputs(self) -> pa.Schema:
        """Return the image, the columns of the condition, and those to be shown."""
        asked = FilterWhere(sql=self.where).inputs()
        fields = {f.name: f for f in [*asked, *(pa.field(name, pa.null()) for name in self.show)]}
        return pa.schema([pa.field("key", pa.string()), pa.field("image", pa.binary()), *fields.values()])

    def check(self, available: pa.Schema) -> None:
        """Raise RequestError where the condition does not fit the columns."""
        FilterWhere(sql=self.where).check(available)

    def write(self, shard: str, table: pa.Table) -> list[str]:  # noqa: ARG002
        """Write nothing: the page is one for all shards."""
        return []

    def finish(self, dataset: Dataset) -> None:
        """Write the page and the list."""
        import jinja2

        condition, rows = FilterWhere(sql=self.where), list[dict[str, Any]]()
        for shard in dataset.shards:
            rows += self._rows(condition(dataset.read_shard(shard.name, list(dict.fromkeys(self.inputs().names)))))
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        template = environment.from_string((resources.files("reinforced") / "review.html.j2").read_text("utf-8"))
        page = template.render(name=dataset.name, where=self.where, rows=rows)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([("key", "verdict", "note"), *((row["key"], "", "") for row in rows)])
        storage = Storage(self.path)
        storage.write("review.html", page.encode())
        storage.write("review.csv", text.getvalue().encode())

    def _rows(self, table: pa.Table) -> list[dict[str, Any]]:
        shown = [table.column(name).to_pylist() for name in self.show]
        facts = [list(zip(self.show, values, strict=True)) for values in zip(*shown, strict=True)]
        pictures = [None if isinstance(p, ImageError) else self._thumbnail(p) for p in Batch(table).decoded()]
        keys = table.column("key").to_pylist()
        return [
            {"key": key, "picture": picture, "facts": facts[i] if facts else []}
            for i, (key, picture) in enumerate(zip(keys, pictures, strict=True))
        ]

    def _thumbnail(self, pixels: Pixels) -> str:
        from PIL import Image

        image, buffer = Image.fromarray(pixels), io.BytesIO()
        image.thumbnail((self.thumbnail_px, self.thumbnail_px))
        image.save(buffer, "JPEG", quality=80)
        return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
