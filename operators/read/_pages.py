"""The images of a web page: out of its HTML, or out of what Common Crawl's WAT files say of it."""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

_LANGUAGE = re.compile(r"\s*([A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*)\s*(?:[,;].*)?")
_MAX_PAGE_BYTES = 1 << 25


@dataclass
class Page:
    """What a page says of its images: (URL, alternative text) in order, and the language it declares."""

    url: str
    images: list[tuple[str, str | None]] = field(default_factory=list)
    language: str | None = None

    def add(self, base: str, source: str | None, alt: str | None) -> None:
        """Add an image; its URL is made absolute where it can be."""
        source = (source or "").strip()
        try:
            url = urljoin(base, source)
        except ValueError:
            url = source  # the download says what is wrong with it
        self.images.append((_text(url), _text(" ".join(alt.split())) if alt and alt.strip() else None))

    def declare(self, language: object) -> None:
        """Take a declared language unless there is one; what does not look like one is none."""
        match = _LANGUAGE.fullmatch(language) if isinstance(language, str) else None
        if match and self.language is None:
            self.language = match[1].replace("_", "-")


def page_of_wat(content: bytes) -> Page | None:
    """Read the JSON of a WAT record; None if it is of no HTML page. Raises: ValueError if it is no JSON."""
    envelope = _at(json.loads(content), "Envelope")
    url = _at(envelope, "WARC-Header-Metadata", "WARC-Target-URI")
    response = _at(envelope, "Payload-Metadata", "HTTP-Response-Metadata")
    html = _at(response, "HTML-Metadata")
    if not isinstance(url, str) or not isinstance(html, dict):
        return None
    page = Page(_text(url))
    base = _at(html, "Head", "Base")
    for link in _list(_at(html, "Links")):
        source, alt = _at(link, "url"), _at(link, "alt")
        if _at(link, "path") == "IMG@/src" and isinstance(source, str):
            page.add(
                urljoin(url, base) if isinstance(base, str) else url, source, alt if isinstance(alt, str) else None
            )
    for meta in _list(_at(html, "Head", "Metas")):
        if str(_at(meta, "http-equiv")).lower() == "content-language" or str(_at(meta, "name")).lower() == "language":
            page.declare(_at(meta, "content"))
    headers = _at(response, "Headers")
    for name, value in headers.items() if isinstance(headers, dict) else ():
        if name.lower() == "content-language":
            page.declare(value)
    return page


def page_of_response(url: str, content: bytes) -> Page | None:
    """Read an HTTP response; None if it is no HTML page. Raises: ValueError if its body cannot be unpacked."""
    head, _, body = content.partition(b"\r\n\r\n")
    lines = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
    headers = {name.strip().lower(): value.strip() for name, _, value in lines}
    if "html" not in headers.get("content-type", "").lower():
        return None
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding in ("gzip", "x-gzip", "deflate") and not body.lstrip().startswith(b"<"):
        try:
            body = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, _MAX_PAGE_BYTES)
        except zlib.error as error:
            raise ValueError(f"the page's {encoding} is damaged ({error})") from error
    found = re.search(rb"charset=[\"']?([\w-]+)", headers.get("content-type", "").encode() + body[:2048], re.IGNORECASE)
    try:
        text = body.decode(found[1].decode() if found else "utf-8", "replace")
    except LookupError:
        text = body.decode("utf-8", "replace")
    parser = _Images(Page(_text(url)))
    parser.feed(text)
    parser.close()
    parser.page.declare(headers.get("content-language"))
    return parser.page


class _Images(HTMLParser):
    def __init__(self, page: Page) -> None:
        super().__init__()
        self.page, self.base = page, page.url

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(reversed(attrs))  # of two attributes of a name, the first counts
        if tag == "img" and said.get("src"):
            self.page.add(self.base, said["src"], said.get("alt"))
        elif tag == "html":
            self.page.declare(said.get("lang"))
        elif tag == "base" and said.get("href"):
            self.base = urljoin(self.page.url, said["href"] or "")
        elif tag == "meta" and (said.get("http-equiv") or "").lower() == "content-language":
            self.page.declare(said.get("content"))


def _at(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: str) -> str:
    return value.encode("utf-8", "replace").decode()
