"""Images from a list of URLs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import Field, PrivateAttr

from reinforced.before import Before
from reinforced.operator import ShardSpec, Source
from reinforced.web.reasons import TRANSIENT
from reinforced.web.resize import Resize

from ._download import as_listed, fetch_rows, joined
from .read._listing import find_files, open_path
from .read._lists import ERROR, SUFFIXES, list_schema, list_shards, read_list


class Download(Source):
    """Downloads the images of a list of URLs: Parquet, CSV, TSV, JSON lines, or text with a URL a line.

    The list's other columns stay; one called like a column that is made here gets a dot before its name. Every URL that
    gives no image is a failed row with the reason, such as `HTTP 404: Not Found`. What failed in passing is tried again
    in passes of their own, and later by `reinforced run … --retry-failed`. Only public addresses are connected to,
    whatever names and redirects say. Bytes are kept as they came unless `resize` is set.
    """

    examples: ClassVar = ()
    transient: ClassVar = TRANSIENT
    tuning: ClassVar = frozenset(
        ("concurrency", "host_connections", "host_requests_per_s", "timeout_s", "shard_deadline_s", "retries")
    )

    path: Annotated[str, Field(min_length=1, description="A list, a folder of lists, or a pattern; local or fsspec.")]
    url_column: Annotated[str, Field(description="Column that holds the URLs.")] = "url"
    key_column: Annotated[
        str | None,
        Field(description="Column that names each sample; default: `key` if there is one, else <file>/<row number>."),
    ] = None
    sha256_column: Annotated[
        str | None, Field(description="Column with the SHA-256 that each file must have; others fail.")
    ] = None
    shard_rows: Annotated[int, Field(gt=0, description="Most URLs in a shard.")] = 1000
    resize: Annotated[Resize | None, Field(description="Resize and encode before keeping; null keeps the bytes.")] = (
        None
    )
    max_bytes: Annotated[int, Field(gt=0, description="Most bytes of a file, also when unpacked.")] = 33_554_432
    max_redirects: Annotated[int, Field(ge=0, le=20, description="Most redirects of a URL.")] = 5
    user_agent: Annotated[
        str,
        Field(pattern=r"^[\x21-\x7e][\x20-\x7e]*$", description="Who asks; add how to reach you. Its first word is the "
        "robot's name in robots.txt and X-Robots-Tag."),
    ] = "reinforced"  # fmt: skip
    robots_txt: Annotated[bool, Field(description="Leave out what a site's robots.txt disallows.")] = True
    x_robots_tag: Annotated[
        tuple[str, ...], Field(description="Directives of X-Robots-Tag that keep an image out; `noindex` may be added.")
    ] = ("noai", "noimageai")
    tdm_reservation: Annotated[bool, Field(description="Leave out what is sent with tdm-reservation: 1.")] = True
    allow_private_addresses: Annotated[bool, Field(description="Connect to addresses that are not public.")] = False
    concurrency: Annotated[int, Field(gt=0, description="Most requests at once, of one worker.")] = 64
    host_connections: Annotated[int, Field(gt=0, description="Most requests at once to one host, of one worker.")] = 8
    host_requests_per_s: Annotated[
        float | None, Field(gt=0, description="Most requests a second to one host, of all of a machine's workers.")
    ] = 10.0
    timeout_s: Annotated[float, Field(gt=0, description="Most seconds from a request to its answer's end.")] = 20.0
    shard_deadline_s: Annotated[float, Field(gt=0, description="Seconds after which a shard waits for nothing.")] = (
        600.0
    )
    retries: Annotated[int, Field(ge=0, le=10, description="Further passes over URLs that failed in passing.")] = 2

    _robots: Any = PrivateAttr(None)

    def columns(self) -> pa.Schema:
        """Return the columns, from a look at the first list."""
        fs, _ = open_path(self.path)
        schema = list_schema(self.name(), fs, find_files(self.name(), self.path, SUFFIXES)[0].path, self.url_column)
        return joined(as_listed(self, schema.empty_table(), []), []).drop_columns([ERROR]).schema

    def shards(self) -> Iterator[ShardSpec]:
        """Yield every run of rows: of text with a digest, of Parquet with its file's size and time of modification."""
        fs, _ = open_path(self.path)
        files = find_files(self.name(), self.path, SUFFIXES)
        schema = list_schema(self.name(), fs, files[0].path, self.url_column)
        for shard in list_shards(self.name(), fs, files, self.shard_rows, schema, self.url_column):
            yield shard | {"first": files[0].path}

    def setup(self) -> None:
        """Keep what sites say in their robots.txt for all shards of this worker."""
        from reinforced.web.opt_out import Robots

        self._robots = Robots(self.user_agent)

    def read(self, shard: ShardSpec) -> pa.Table:
        """Download a shard."""
        return self.resume(shard, Before())

    def resume(self, shard: ShardSpec, before: Before) -> pa.Table:
        """Download what is not there of a shard."""
        fs, _ = open_path(self.path)
        listed = read_list(fs, shard, list_schema(self.name(), fs, shard["first"], self.url_column))
        names = [f"{shard['name']}/{row:08d}" for row in range(shard["start"], shard["stop"])]
        table = as_listed(self, listed.drop_columns([ERROR]), names)
        pairs = zip(listed.column(ERROR).to_pylist(), table.column(ERROR).to_pylist(), strict=True)
        answers = fetch_rows(self, self._robots, table, [first or second for first, second in pairs], before)
        return joined(table, answers)
