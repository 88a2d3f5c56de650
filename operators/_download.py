"""The rows of a list of URLs: how their columns are called, which ones to fetch, the answer of each."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa

from reinforced import columns
from reinforced.before import Before

from .read._samples import ERROR, as_samples, need_column

if TYPE_CHECKING:
    from reinforced.web.fetch import Answer
    from reinforced.web.opt_out import Robots

    from .download import Download

FETCHED = ("image", "final_url", "status", "bytes", "content_type", "etag", "last_modified")
MADE = {"key", "url", "width", "height", "sha256", *FETCHED}


def kept_name(operator: Download, name: str) -> str:
    """Return what a column of the list is called among the samples."""
    if name == operator.url_column:
        return "url"
    is_key = name == "key" and operator.key_column in (None, "key")
    return f".{name}" if name.lower() in MADE and not is_key else name


def as_listed(operator: Download, table: pa.Table, names: list[str]) -> pa.Table:
    """Return the list's rows as samples without images, `_error` set where one has no key. Raises: RequestError."""
    need_column(operator.name(), table.schema, operator.url_column, "url_column")
    if operator.sha256_column is not None:
        need_column(operator.name(), table.schema, operator.sha256_column, "sha256_column")
    key = operator.key_column or ("key" if "key" in table.column_names else None)
    table = table.rename_columns([kept_name(operator, name) for name in table.column_names])
    urls = table.column("url").cast(pa.string())
    table = table.set_column(table.column_names.index("url"), columns.known_column("url"), urls)
    return as_samples(operator.name(), table, kept_name(operator, key) if key else None, None, names)


def joined(table: pa.Table, answers: Sequence[Answer]) -> pa.Table:
    """Put what was downloaded beside the list's columns, and the reasons of what was not."""
    for at, name in enumerate(FETCHED, start=1):
        field = columns.known_column(name)
        table = table.add_column(at, field, pa.array([getattr(answer, name) for answer in answers], field.type))
    errors = pa.array([answer.error for answer in answers], pa.string())
    return (table.drop_columns([ERROR]) if ERROR in table.column_names else table).append_column(ERROR, errors)


def fetch_rows(
    operator: Download, robots: Robots, table: pa.Table, errors: Sequence[str | None], before: Before
) -> list[Answer]:
    """Return an answer for each row: of those with an error the error, of those that are there what is there.

    table: columns `key`, `url` and, where one is named, `sha256_column`.
    """
    from reinforced.web.fetch import Answer

    keys, urls = (table.column(name).to_pylist() for name in ("key", "url"))
    there = _answers(before.rows)
    found: dict[int, Answer] = {}
    for row, (key, url, error) in enumerate(zip(keys, urls, errors, strict=True)):
        if error is None and not (url or "").strip():
            error = "no URL: the row has none"
        if error is not None or key in before.removed:
            found[row] = Answer(error=error)
        elif key in there:
            found[row] = there[key]
        elif key in before.failed:
            found[row] = Answer(error=before.failed[key])
    todo = {row: url.strip() for row, url in enumerate(urls) if row not in found}
    if todo:
        found |= _fetch(operator, robots, todo, _expected(operator, table, todo), before)
    return [found[row] for row in range(len(keys))]


def _fetch(
    operator: Download, robots: Robots, todo: dict[int, str], expected: dict[int, str], before: Before
) -> dict[int, Answer]:
    import asyncio

    from reinforced.web.crawl import Crawl, finish
    from reinforced.web.fetch import Fetcher, Limits
    from reinforced.web.hosts import Hosts
    from reinforced.web.spool import Spool

    limits = Limits(
        operator.timeout_s,
        operator.max_bytes,
        operator.max_redirects,
        operator.user_agent,
        operator.robots_txt,
        tuple(directive.lower() for directive in operator.x_robots_tag),
        operator.tdm_reservation,
        operator.allow_private_addresses,
    )
    shared = before.scratch.parent.parent / "hosts" if before.scratch else None
    hosts = Hosts(operator.host_requests_per_s, operator.host_connections, shared)
    spool = Spool(before.scratch)
    deadline = time.time() + operator.shard_deadline_s
    fetcher = Fetcher(limits, hosts, robots, asyncio.Semaphore(operator.concurrency), deadline)
    encode = operator.resize.apply if operator.resize is not None else None
    try:
        with ThreadPoolExecutor(max(1, int(os.environ.get("OMP_NUM_THREADS", "1")))) as pixels:
            crawl = Crawl(fetcher, spool, operator.retries, encode, pixels, expected)
            return finish(crawl.run(todo, first=before.rows is None), operator.concurrency)
    finally:
        spool.close()


def _answers(rows: pa.Table | None) -> dict[str, Answer]:
    """Return what the rows of a samples layer say of their download, by key."""
    from reinforced.web.fetch import Answer

    if rows is None:
        return {}
    names = [name for name in Answer.__dataclass_fields__ if name != "error"]
    values = zip(*(rows.column(name).to_pylist() for name in names), strict=True)
    return {
        key: Answer(**dict(zip(names, said, strict=True)))
        for key, said in zip(rows.column("key").to_pylist(), values, strict=True)
    }


def _expected(operator: Download, table: pa.Table, todo: dict[int, str]) -> dict[int, str]:
    if operator.sha256_column is None:
        return {}
    name = kept_name(operator, operator.sha256_column)
    return {row: value for row, value in enumerate(table.column(name).to_pylist()) if value and row in todo}
