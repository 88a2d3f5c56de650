"""Which phrases of a list occur in a text, as whole words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

_TOKEN = re.compile(r"\w+|[^\w\s]")


class Phrases:
    """A list of phrases that is searched for in texts, however long it is: a tree of their words.

    A phrase is found where its words and punctuation marks stand next to each other, whatever their case; that is
    MetaCLIP's substring match between spaces (Xu et al. 2024).
    """

    def __init__(self, phrases: Iterable[str]) -> None:
        self._root: dict[str, Any] = {}
        for number, phrase in enumerate(phrases):
            node = self._root
            for token in _tokens(phrase):
                node = node.setdefault(token, {})
            if node is not self._root:
                node.setdefault("", number)  # no token is empty

    def found(self, text: str) -> list[int]:
        """Return the numbers of the phrases that a text holds, rising; of equal phrases the first one's."""
        tokens, numbers = _tokens(text), set()
        for start in range(len(tokens)):
            node = self._root
            for token in tokens[start:]:
                if (below := node.get(token)) is None:
                    break
                node = below
                if "" in node:
                    numbers.add(node[""])
        return sorted(numbers)


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())
