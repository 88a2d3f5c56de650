"""Who made the images, and under which licences."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Annotated, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from reinforced.dataset import Dataset
from reinforced.licenses import parse_license
from reinforced.operator import Sink
from reinforced.storage import Storage

_NAMES = {"csv": "attribution.csv", "markdown": "ATTRIBUTION.md", "json": "attribution.json"}
_COLUMNS = ("key", "author", "title", "url", "license", "license_url")


class WriteAttribution(Sink):
    """Writes key, author, title, URL, licence and the licence's URL of every kept image, in one file beside its uses.

    `attribution.csv`, `attribution.json` (a list of objects) or `ATTRIBUTION.md` (a list to be shown), one row an image
    in the order of the dataset. A licence that `filter.license` would not understand is written as it stands.
    """

    writes_shards: ClassVar = False
    examples: ClassVar = ()

    path: Annotated[str, Field(min_length=1, description="Folder for the file: a local path or an fsspec URL.")]
    format: Annotated[Literal["csv", "markdown", "json"], Field(description="Kind of file.")] = "csv"
    author: Annotated[str, Field(description="Column with the author's name.")] = "author"
    title: Annotated[str | None, Field(description="Column with the title; null if there is none.")] = "title"
    url: Annotated[str | None, Field(description="Column with the page of the image; null if there is none.")] = "url"
    license: Annotated[str, Field(description="Column with the licence's URL or name.")] = "license"

    def inputs(self) -> pa.Schema:
        """Return the columns that are there to be named."""
        named = (self.author, self.title, self.url, self.license)
        return pa.schema([pa.field(name, pa.string()) for name in dict.fromkeys(["key", *filter(None, named)])])

    def write(self, shard: str, table: pa.Table) -> list[str]:  # noqa: ARG002
        """Write nothing: the file is one for all shards."""
        return []

    def finish(self, dataset: Dataset) -> None:
        """Write the file."""
        found = dataset.to_arrow(columns=self.inputs().names)
        nothing = [None] * found.num_rows
        named = ("key", self.author, self.title, self.url, self.license)
        values = [found.column(name).to_pylist() if name else nothing for name in named]
        rows = [dict(zip(_COLUMNS, (*row, None), strict=True)) for row in zip(*values, strict=True)]
        for row in rows:
            if known := parse_license(row["license"]):
                row |= {"license": known.name, "license_url": known.url}
        text = {"csv": _csv, "json": _json, "markdown": _markdown}[self.format](rows)
        Storage(self.path).write(_NAMES[self.format], text.encode())


def _csv(rows: list[dict[str, str | None]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _json(rows: list[dict[str, str | None]]) -> str:
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def _markdown(rows: list[dict[str, str | None]]) -> str:
    lines = (
        f"- {_link(row['title'] or row['key'], row['url'])} by {_plain(row['author'] or 'unknown')}, "
        f"{_link(row['license'] or 'no licence', row['license_url'])}"
        for row in rows
    )
    return "# Images and their authors\n\n" + "".join(f"{line}\n" for line in lines)


def _link(text: str | None, url: str | None) -> str:
    usable = re.fullmatch(r"https?://[^\s<>()]+", url or "")
    return f"[{_plain(text)}]({url})" if usable else _plain(text)


def _plain(text: str | None) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|&~-])", r"\\\1", " ".join((text or "").split()))
