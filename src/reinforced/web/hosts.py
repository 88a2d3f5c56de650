"""Turns at hosts: no host gets more requests a second than allowed, nor any while it asks to wait.

The next free moment of each host is kept in a small file, so that all workers of a machine share it.
"""

from __future__ import annotations

import asyncio
import email.utils
import fcntl
import hashlib
import os
import struct
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC
from pathlib import Path

_MOMENTS = struct.Struct("dd")
_MOST_HOSTS = 10_000


class HostRestingError(Exception):
    """The host has asked for a pause that ends too late; `seconds` is how long it still is."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"a pause of {seconds:.0f} s")
        self.seconds = seconds


class Hosts:
    """Hands out turns at hosts.

    rate_per_s: most requests a second to one host, None for no limit. connections: most at once to one host.
    folder: where workers of this machine share what they know of hosts; None: each keeps its own.
    """

    def __init__(self, rate_per_s: float | None, connections: int, folder: Path | None) -> None:
        self.interval_s = 1 / rate_per_s if rate_per_s else 0.0
        self.connections = connections
        self.folder = folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._own: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._gates: dict[str, asyncio.Semaphore] = {}

    @asynccontextmanager
    async def turn(self, host: str, until: float) -> AsyncIterator[None]:
        """Wait for a turn at a host and hold one of its connections. Raises: HostRestingError if it comes too late."""
        gate = self._gates.setdefault(host, asyncio.Semaphore(self.connections))
        async with gate:
            while (wait := self._reserve(host, until) - time.time()) > 0:
                await asyncio.sleep(wait)
                if self._moments(host)[1] <= time.time():
                    break  # else the host has asked for a pause while we waited for our turn
            yield

    def pause(self, host: str, seconds: float) -> None:
        """Leave a host alone for so long."""
        self._moments(host, pause=time.time() + seconds)

    def _reserve(self, host: str, until: float) -> float:
        """Take the host's next free moment and return it."""
        if not self.interval_s and host not in self._own and self.folder is None:
            return 0.0
        now = time.time()
        resting = self._moments(host)[1]
        if resting > until:
            raise HostRestingError(resting - now)
        return self._moments(host, take=now)[0]

    def _moments(self, host: str, take: float | None = None, pause: float = 0.0) -> tuple[float, float]:
        """Return the moment taken (or the next free one) and the end of the host's pause, in seconds of the clock."""
        if self.folder is None:
            free, rest = self._own.get(host, (0.0, 0.0))
            moment, free, rest = self._after(free, rest, take, pause)
            self._own[host] = (free, rest)
            self._own.move_to_end(host)
            if len(self._own) > _MOST_HOSTS:
                self._own.popitem(last=False)
            return moment, rest
        name = hashlib.blake2b(host.encode(), digest_size=16).hexdigest()
        descriptor = os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            data = os.pread(descriptor, _MOMENTS.size, 0)
            free, rest = _MOMENTS.unpack(data) if len(data) == _MOMENTS.size else (0.0, 0.0)
            moment, free, rest = self._after(free, rest, take, pause)
            if take is not None or pause:
                os.pwrite(descriptor, _MOMENTS.pack(free, rest), 0)
        finally:
            os.close(descriptor)
        return moment, rest

    def _after(self, free: float, rest: float, take: float | None, pause: float) -> tuple[float, float, float]:
        rest = max(rest, pause)
        if take is None:
            return free, free, rest
        moment = max(free, rest, take)
        return moment, moment + self.interval_s, rest


def retry_after_s(value: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for: a number, or a date (RFC 9110); None if it is neither."""
    if value is None:
        return None
    if value.isascii() and value.strip().isdigit():
        return float(value.strip()[:9])
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - time.time())
