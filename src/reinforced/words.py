"""Words of a text: what rules about captions count and compare."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"\w+(?:['’]\w+)*")


def words(text: str) -> list[str]:
    """Return a text's words in order: runs of letters and digits, apostrophes inside included, whatever their case."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
