"""Image URLs with their texts, out of Common Crawl's files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import Field

from reinforced import columns
from reinforced.operator import ShardSpec, Source

from ._listing import find_files, open_path
from ._pages import Page, page_of_response, page_of_wat
from ._warc import Record, read_records

SUFFIXES = (".warc.gz", ".wat.gz", ".warc", ".wat")
COLUMNS = ("key", "url", "alt_text", "page_url", "position", "language")


class ReadCommonCrawl(Source):
    """Reads the image URLs of web pages with their alternative texts, from WAT or WARC files; fetches no image.

    A row an `img` of a page, `key` being <file>/<record's offset>/<position>. URLs are absolute; pictures inside the
    page (`data:`) are no rows. `language` is what the page's `lang`, a meta tag or the Content-Language header
    declares: it is not detected. A record that cannot be read is one failed row. The table is a list for `download`.
    """

    examples: ClassVar = ()

    path: Annotated[
        str, Field(min_length=1, description="A WAT or WARC file, a folder of them, or a pattern; local or fsspec.")
    ]
    alt_text_only: Annotated[bool, Field(description="Leave out images without an alternative text.")] = True
    shard_bytes: Annotated[int, Field(ge=1024, description="Bytes of a file in a shard, as they are stored.")] = 4194304

    def columns(self) -> pa.Schema:
        """Return the columns, which are always the same."""
        return columns.resolve(COLUMNS)

    def shards(self) -> Iterator[ShardSpec]:
        """Yield ranges of bytes of every file, with its size and time of modification."""
        for file in find_files(self.name(), self.path, SUFFIXES):
            found = {"file": file.path, "name": file.name, "size": file.size, "modified": file.modified}
            for start in range(0, file.size, self.shard_bytes):
                yield found | {"begin": start, "end": min(start + self.shard_bytes, file.size)}

    def read(self, shard: ShardSpec) -> pa.Table:
        """Read the records that begin in a range of bytes."""
        fs, _ = open_path(self.path)
        rows = [
            row
            for record in read_records(fs, shard["file"], shard["begin"], shard["end"], shard["size"])
            for row in self._rows(record, f"{shard['name']}/{record.offset:012d}")
        ]
        schema = self.columns().append(pa.field("_error", pa.string()))
        return pa.Table.from_pylist(rows, schema=schema)

    def _rows(self, record: Record, key: str) -> Iterator[dict[str, Any]]:
        try:
            page = None if record.error else _page(record)
        except (ValueError, AssertionError, RecursionError) as error:  # what Python's JSON and HTML parsers raise
            yield {"key": key, "_error": f"bad record: {' '.join(str(error).split())[:200]}"}
            return
        if record.error:
            yield {"key": key, "_error": record.error}
        for position, (url, alt) in enumerate(page.images if page else ()):
            if (alt is not None or not self.alt_text_only) and not url[:5].lower().startswith("data:"):
                values = (f"{key}/{position:04d}", url, alt, page.url if page else None, position)
                yield dict(zip(COLUMNS, (*values, page.language if page else None), strict=True))


def _page(record: Record) -> Page | None:
    kind = record.headers.get("warc-type")
    if kind == "metadata" and "json" in record.headers.get("content-type", ""):
        return page_of_wat(record.content)
    if kind == "response":
        return page_of_response(record.headers.get("warc-target-uri", "").strip("<>"), record.content)
    return None
