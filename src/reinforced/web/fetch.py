"""Fetch one URL: guarded, limited, with every way to fail told apart.

A failure's reason is `kind: detail`; the kinds in `reasons.TRANSIENT` are worth another try at another time.
"""

from __future__ import annotations

import asyncio
import http
import socket
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from yarl import URL

from reinforced.images import looks_like_image
from reinforced.web.addresses import PrivateAddressError, public_socket
from reinforced.web.hosts import HostRestingError, Hosts, retry_after_s
from reinforced.web.opt_out import ROBOTS_BYTES, Robots, reserved
from reinforced.web.reasons import BUSY, TRANSIENT

_REDIRECTS = (301, 302, 303, 307, 308)
_DEFAULT_PAUSE_S = 1.0
_SILENT_S = 0.5
HEAD_BYTES = 16
"""What must have come of a body before it can be told whether it is an image."""


class FetchError(Exception):
    """A URL that gave no image; the text is the reason."""


@dataclass(frozen=True)
class Limits:
    """What a URL may cost and what keeps an image out; see the parameters of the operator `download`."""

    timeout_s: float
    max_bytes: int
    max_redirects: int
    user_agent: str
    robots_txt: bool
    x_robots_tag: tuple[str, ...]
    tdm_reservation: bool
    allow_private_addresses: bool


@dataclass
class Answer:
    """What came of a URL: a body with where it was found and what was said of it, or the reason why there is none."""

    image: bytes | None = None
    error: str | None = None
    final_url: str | None = None
    status: int | None = None
    bytes: int | None = None
    content_type: str | None = None
    etag: str | None = None
    last_modified: str | None = None

    @property
    def transient(self) -> bool:
        """Whether another try may do better."""
        return self.error is not None and self.error.partition(":")[0] in TRANSIENT


@dataclass
class Fetcher:
    """Fetches URLs over one pool of connections; an asynchronous context manager."""

    limits: Limits
    hosts: Hosts
    robots: Robots
    requests: asyncio.Semaphore
    """Allows so many requests at once."""
    deadline: float
    """Moment of the clock after which no host is waited for."""
    _session: aiohttp.ClientSession = field(init=False)
    _learning: dict[URL, asyncio.Lock] = field(init=False, default_factory=dict)
    _silent: dict[URL, tuple[float, str]] = field(init=False, default_factory=dict)
    """Sites whose robots.txt could not be had just now: when, and why."""

    async def __aenter__(self) -> Fetcher:
        connector = aiohttp.TCPConnector(
            limit=0,  # the turns at hosts bound it
            ttl_dns_cache=300,
            keepalive_timeout=5,
            socket_factory=None if self.limits.allow_private_addresses else public_socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": self.limits.user_agent, "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,  # what unpacks to gigabytes is stopped on the way
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def image(self, url: str) -> Answer:
        """Fetch an image; never raises for what a URL does."""
        try:
            return await self._image(url)
        except (FetchError, HostRestingError, aiohttp.ClientError, OSError, ValueError, zlib.error) as error:
            return Answer(error=_reason(error, self.limits))

    async def _image(self, url: str) -> Answer:
        limits = self.limits
        async with self._follow(URL(url), limits.robots_txt) as response:
            if response.status != http.HTTPStatus.OK:
                raise FetchError(_status(response.status))
            if refusal := reserved(response.headers, limits.user_agent, limits.x_robots_tag, limits.tdm_reservation):
                raise FetchError(f"opted out: {refusal}")
            body = await _body(response, limits.max_bytes, image=True)
            said = {name: _clean(response.headers.get(name)) for name in ("Content-Type", "ETag", "Last-Modified")}
            return Answer(body, None, str(response.url), response.status, len(body), *said.values())

    @asynccontextmanager
    async def _follow(self, url: URL, robots: bool) -> AsyncIterator[aiohttp.ClientResponse]:
        """Request a URL and what it redirects to, each with its host's turn, its site's leave and a fresh look."""
        for _ in range(self.limits.max_redirects + 1):
            if url.scheme not in ("http", "https") or not url.host:
                raise FetchError(f"refused URL: scheme '{url.scheme}', only http and https are fetched")
            if robots:
                await self._ask(url)
            async with (
                self.hosts.turn(url.host, self.deadline),
                self.requests,
                asyncio.timeout(self.limits.timeout_s),
                self._session.get(url, allow_redirects=False) as response,
            ):
                pause = retry_after_s(response.headers.get("Retry-After"))
                if response.status in (429, 503):
                    self.hosts.pause(url.host, pause if pause is not None else _DEFAULT_PAUSE_S)
                if response.status not in _REDIRECTS:
                    yield response
                    return
                location = response.headers.get("Location")
            if not location:
                raise FetchError(f"bad answer: HTTP {response.status} without a Location")
            url = url.join(URL(location))
        raise FetchError(f"too many redirects: more than {self.limits.max_redirects}")

    async def _ask(self, url: URL) -> None:
        """Fetch a site's robots.txt if it is not known. Raises: FetchError if it forbids the URL or is out of reach."""
        place = self.robots.place(url)
        async with self._learning.setdefault(place, asyncio.Lock()):
            if place not in self.robots:
                when, reason = self._silent.get(place, (0.0, ""))
                if time.time() - when < _SILENT_S:  # a dead host costs one timeout, not one for each of its URLs
                    raise FetchError(reason)
                self.robots.learn(place, await self._rules(place))
        if not self.robots.allow(url):
            raise FetchError(f"opted out: robots.txt of {place.host}")

    async def _rules(self, place: URL) -> str:
        """Fetch a robots.txt; one that is not there allows everything, one that is out of reach nothing (RFC 9309)."""
        try:
            async with self._follow(place, robots=False) as response:
                if response.status in BUSY:
                    raise FetchError(f"robots.txt unreachable: {_status(response.status)}")
                if response.status != http.HTTPStatus.OK:
                    return ""
                return (await _body(response, ROBOTS_BYTES, image=False)).decode("utf-8", "replace")
        except FetchError as error:
            self._silent[place] = (time.time(), str(error))
            raise
        except (aiohttp.ClientError, OSError) as error:
            reason = _reason(error, self.limits)
            self._silent[place] = (time.time(), reason)
            raise FetchError(reason) from error


async def _body(response: aiohttp.ClientResponse, most: int, image: bool) -> bytes:
    """Read a body, unpacked, never more than `most` bytes of it in either form.

    image: whether it must begin as an image and end within `most`; else what is beyond is left out.
    """
    if image and (response.content_length or 0) > most:
        raise FetchError(f"too large: Content-Length {response.content_length:,}, the most is {most:,} bytes")
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower() or "identity"
    if encoding not in ("identity", "gzip", "x-gzip", "deflate"):
        raise FetchError(f"bad answer: Content-Encoding '{_clean(encoding)}' was not asked for")
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 32) if encoding != "identity" else None
    body, received, looked = bytearray(), 0, not image
    async for chunk in response.content.iter_any():
        received += len(chunk)
        body += unpack.decompress(chunk, most + 1 - len(body)) if unpack else chunk
        if not looked and len(body) >= HEAD_BYTES:
            _look(bytes(body[:HEAD_BYTES]), response)
            looked = True
        if max(len(body), received) > most:
            if not image:
                return bytes(body[:most])
            unpacked = " when unpacked" if unpack else ""
            raise FetchError(f"too large: more than {most:,} bytes{unpacked}")
    if unpack and not unpack.eof:
        raise FetchError("incomplete body: the compressed stream ends early")
    if not looked:
        _look(bytes(body), response)
    return bytes(body)


def _look(head: bytes, response: aiohttp.ClientResponse) -> None:
    if not head:
        raise FetchError("empty body: HTTP 200 without a byte")
    if not looks_like_image(head):
        said = _clean(response.headers.get("Content-Type")) or "nothing"
        raise FetchError(f"not an image: its bytes are of no allowed format, Content-Type says {said[:80]}")


def _status(status: int) -> str:
    known = {s.value: s.phrase for s in http.HTTPStatus}
    return f"HTTP {status}: {known.get(status, 'unknown status')}"


def _clean(value: str | None) -> str | None:
    """Return a header as valid Unicode: a server may send any bytes."""
    return value.encode("utf-8", "replace").decode() if value is not None else None


def _reason(error: Exception, limits: Limits) -> str:
    """Say why a URL failed as `kind: detail`, the same words for the same cause."""
    if isinstance(error, aiohttp.ClientSSLError):
        return f"TLS: {' '.join(str(error).split())[:200]}"
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    match cause:
        case FetchError():
            return str(error)
        case HostRestingError():
            return f"host asks to wait: {error}, longer than the shard may take"
        case PrivateAddressError():
            return f"refused address: {cause.address} is not public; allow_private_addresses decides"
        case TimeoutError():
            return f"timeout: not done within {limits.timeout_s:g} s"
        case socket.gaierror() if isinstance(error, aiohttp.ClientConnectorDNSError):
            known = cause.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
            return "unknown host: no address" if known else f"name server failed: {cause.strerror}"
        case aiohttp.ClientPayloadError():
            return "incomplete body: the connection ended before all had come"
        case aiohttp.ServerDisconnectedError():
            return "connection failed: closed without an answer"
        case aiohttp.ClientResponseError():
            return "bad answer: no valid HTTP header"
        case zlib.error():
            return "bad answer: the body is not compressed as it says"
        case OSError():
            return f"connection failed: {cause.strerror or type(cause).__name__}"
        case ValueError():  # aiohttp's InvalidURL is one too
            return "refused URL: it cannot be read as one"
    return f"bad answer: {type(error).__name__}"
