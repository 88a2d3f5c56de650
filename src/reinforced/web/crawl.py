"""Fetch the URLs of a shard: all at once, failed ones again in passes of their own, none after the deadline."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from reinforced.errors import RunError
from reinforced.images import ImageError
from reinforced.web.fetch import Answer, Fetcher
from reinforced.web.reasons import UNREACHED
from reinforced.web.spool import Spool

BACKOFF_S = 1.0
MAX_SHARD_BYTES = 2**31 - 1
"""What an Arrow column of images can hold."""
ENOUGH_TO_TELL = 20
"""So many URLs, none of which was reached, say more about this machine's network than about the URLs."""


@dataclass
class Crawl:
    """The downloads of one shard."""

    fetcher: Fetcher
    spool: Spool
    retries: int
    encode: Callable[[bytes], bytes] | None
    """What is done to each image before it is kept; raises ImageError for one that cannot be."""
    pixels: ThreadPoolExecutor
    """Where it is done."""
    expected: Mapping[int, str]
    """SHA-256 that a row's file must have, in hexadecimal."""

    async def run(self, urls: Mapping[int, str], first: bool) -> dict[int, Answer]:
        """Fetch URLs, by row; each has an answer in the end.

        first: whether these are all of the shard's. Raises: RunError if none of those is reached.
        """
        self.answers = {
            row: answer for row, answer in self.spool.answers.items() if row in urls and not answer.transient
        }
        self.bytes = sum(len(answer.image or b"") for answer in self.answers.values())
        todo = {row: url for row, url in urls.items() if row not in self.answers}
        async with self.fetcher:
            for attempt in range(self.retries + 1):
                if attempt and todo:
                    await asyncio.sleep(min(BACKOFF_S * 2 ** (attempt - 1), max(0.0, self._left_s())))
                await self._pass(todo)
                todo = {row: url for row, url in todo.items() if self.answers[row].transient}
        unreached = [row for row in urls if (self.answers[row].error or "").partition(":")[0] in UNREACHED]
        if first and len(unreached) == len(urls) >= ENOUGH_TO_TELL:
            raise RunError(
                f"none of {len(urls)} URLs was reached ({self.answers[unreached[0]].error}); look at this machine's "
                "network, then run the same command again"
            )
        return self.answers

    async def _pass(self, todo: Mapping[int, str]) -> None:
        tasks = {asyncio.create_task(self._one(row, url)): row for row, url in todo.items()}
        if not tasks:
            return
        try:
            _, late = await asyncio.wait(tasks, timeout=max(0.0, self._left_s()))
        finally:
            for task in tasks:
                task.cancel()
        for task in late:
            row = tasks[task]
            self.answers[row] = Answer(error="deadline: the shard's time was up before the URL's turn was over")
        await asyncio.gather(*late, return_exceptions=True)
        for task in tasks.keys() - late:
            task.result()

    async def _one(self, row: int, url: str) -> None:
        answer = await self.fetcher.image(url)
        if answer.image is not None and row in self.expected:
            found = hashlib.sha256(answer.image).hexdigest()
            if found != self.expected[row].lower():
                answer = Answer(error=f"other content: SHA-256 {found}")
        if answer.image is not None and self.encode is not None:
            loop = asyncio.get_running_loop()
            try:
                answer.image = await loop.run_in_executor(self.pixels, self.encode, answer.image)
            except ImageError as error:
                answer = Answer(error=str(error))
        size = len(answer.image or b"")
        if self.bytes + size > MAX_SHARD_BYTES:
            answer = Answer(error="too large: the shard's images fill 2 GiB; set shard_rows lower")
        elif size:
            self.bytes += size
        self.answers[row] = answer
        self.spool.add(row, answer)

    def _left_s(self) -> float:
        return self.fetcher.deadline - time.time()


def finish(coroutine: Coroutine[Any, Any, dict[int, Answer]], threads: int) -> dict[int, Answer]:
    """Run a coroutine to its end, in a notebook too; a name server that does not answer holds nothing up."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _finish(coroutine, threads)
    with ThreadPoolExecutor(1) as beside:  # a thread of its own, since this one's event loop is busy calling us
        return beside.submit(_finish, coroutine, threads).result()


def _finish(coroutine: Coroutine[Any, Any, dict[int, Answer]], threads: int) -> dict[int, Answer]:
    loop = asyncio.new_event_loop()
    # Names are looked up in threads. asyncio.run would wait for the last of them, whatever the deadline.
    loop.set_default_executor(ThreadPoolExecutor(threads, thread_name_prefix="name-lookup"))
    main = loop.create_task(coroutine)
    try:
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
