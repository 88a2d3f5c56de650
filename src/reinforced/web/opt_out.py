"""What a site says about the use of its images: robots.txt, X-Robots-Tag, TDM reservation."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from multidict import CIMultiDictProxy
from yarl import URL

ROBOTS_BYTES = 512_000
"""Of a longer robots.txt the rest is not read (RFC 9309 asks for 500 KiB at least)."""
MAX_SITES = 50_000
_VALUED = {"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"}
"""Directives that have a colon themselves, which does not end the name of a robot."""


class Robots:
    """The robots.txt of sites, as far as they are known: each is fetched once and asked for every URL of the site."""

    def __init__(self, user_agent: str) -> None:
        self.user_agent = user_agent
        self._rules: dict[str, Any] = {}

    @staticmethod
    def place(url: URL) -> URL:
        """Return where the robots.txt that rules over a URL lies."""
        return url.origin() / "robots.txt"

    def __contains__(self, place: URL) -> bool:
        return str(place) in self._rules

    def learn(self, place: URL, text: str) -> None:
        """Take a site's rules; an empty text allows everything."""
        import protego

        if len(self._rules) >= MAX_SITES:
            self._rules.clear()
        self._rules[str(place)] = protego.Protego.parse(text) if text.strip() else None

    def allow(self, url: URL) -> bool:
        """Return whether the rules of a site that is known allow a URL."""
        rules = self._rules[str(self.place(url))]
        return rules is None or bool(rules.can_fetch(str(url), self.user_agent))


def reserved(headers: CIMultiDictProxy[str], user_agent: str, directives: Collection[str], tdm: bool) -> str | None:
    """Say which header of an answer keeps its image out of a dataset; None if none does.

    directives: those of X-Robots-Tag that count, lower case. tdm: whether `tdm-reservation: 1` counts.
    """
    if tdm and headers.get("tdm-reservation", "").strip() == "1":
        return "tdm-reservation: 1"
    robot = re.split(r"[/\s(]", user_agent, maxsplit=1)[0].lower()
    values = headers.getall("x-robots-tag", [])
    for value in values:
        agent, colon, rest = value.partition(":")
        named = bool(colon) and "," not in agent and agent.strip().lower() not in _VALUED
        if named and agent.strip().lower() != robot:
            continue
        for directive in (rest if named else value).split(","):
            if directive.strip().lower() in directives:
                return f"X-Robots-Tag: {directive.strip().lower()}"
    return None
