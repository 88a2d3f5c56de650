"""Creative Commons licences, by their URLs or by names such as `CC BY-SA 4.0`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

Family = Literal["by", "by-sa", "by-nd", "by-nc", "by-nc-sa", "by-nc-nd", "cc0", "public-domain-mark"]
FAMILIES: tuple[Family, ...] = get_args(Family)

_URL = re.compile(
    r"(?:https?:)?//(?:www\.)?creativecommons\.org/(licenses|publicdomain)/([a-z-]+)(?:/([\d.]+))?(?:[/?#]|\Z)"
)
_NAME = re.compile(
    r"(?:cc[ -]?)?(by(?:-(?:nc-sa|nc-nd|nc|sa|nd))?|zero|0)(?:[ -]v?(\d\.\d))?"
    r"(?:[ -](?:international|unported|generic))?"
)
_FAMILY: dict[str, Family] = {family: family for family in FAMILIES if family.startswith("by")}
_ELEMENTS = {"attribution": "by", "noncommercial": "nc", "sharealike": "sa", "noderivatives": "nd", "noderivs": "nd"}
_PUBLIC: dict[str, Family] = {"zero": "cc0", "0": "cc0", "mark": "public-domain-mark"}


@dataclass(frozen=True)
class License:
    """A licence: its family, its version if that was said, and its canonical URL if both decide on one."""

    family: Family
    version: str | None

    @property
    def name(self) -> str:
        """The usual short name, such as `CC BY-SA 4.0`."""
        shown = {"cc0": "CC0", "public-domain-mark": "Public Domain Mark"}.get(self.family, f"CC {self.family.upper()}")
        return f"{shown} {self.version}" if self.version else shown

    @property
    def url(self) -> str | None:
        """The licence's page; None where the version is not known."""
        if self.version is None:
            return None
        public = {"cc0": "publicdomain/zero", "public-domain-mark": "publicdomain/mark"}.get(self.family)
        return f"https://creativecommons.org/{public or f'licenses/{self.family}'}/{self.version}/"


def parse_license(text: str | None) -> License | None:
    """Read a licence from a URL of creativecommons.org or a name; None for any other text.

    Names: `CC-BY-4.0`, `cc by-nc 2.0`, `BY-SA`, `CC0`, `Attribution-ShareAlike License`. A name that says more than a
    licence is none: what is not understood must not pass for free.
    """
    text = " ".join((text or "").lower().split())
    if match := _URL.match(text):
        kind, name, version = match.groups()
        family = _PUBLIC.get(name) if kind == "publicdomain" else _FAMILY.get(name)
        return None if family is None else License(family, version)
    text = text.removesuffix(" license").removeprefix("creative commons ").removeprefix("cc-").removeprefix("cc ")
    for word, element in _ELEMENTS.items():
        text = text.replace(word, element)
    text = re.sub(r"(?<=by|nc)[ ](?=nc|sa|nd)", "-", text)
    if match := _NAME.fullmatch(text):
        name, version = match.groups()
        return License(_PUBLIC.get(name) or _FAMILY[name], version)
    return None
