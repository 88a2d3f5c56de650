"""What `download` does to the rows of a shard: which ones to fetch, with what, and the answer of each."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa

from reinforced.operator import Before
from reinforced.web.crawl import Crawl, finish
from reinforced.web.fetch import Answer, Fetcher, Limits
from reinforced.web.hosts import Hosts
from reinforced.web.opt_out import Robots
from reinforced.web.spool import Spool

if TYPE_CHECKING:
    from .download import Download


def fetch_rows(
    operator: Download, robots: Robots, table: pa.Table, errors: Sequence[str | None], before: Before
) -> list[Answer]:
    """Return an answer for each row: of those with an error the error, of those that are there what is there.

    table: columns `key`, `url` and, where one is named, `sha256_column`.
    """
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
            return finish(crawl.run(todo), operator.concurrency)
    finally:
        spool.close()


def _answers(rows: pa.Table | None) -> dict[str, Answer]:
    """Return what the rows of a samples layer say of their download, by key."""
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
    name = operator.kept_name(operator.sha256_column)
    return {row: value for row, value in enumerate(table.column(name).to_pylist()) if value and row in todo}
