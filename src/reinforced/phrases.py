"""Which phrases of a list occur in a text, as whole words."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from reinforced.weight_files import read_file

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


def read_phrases(listed: tuple[str, ...] | str) -> list[str]:
    """Return phrases as listed; or those of a JSON list or a text file, one a line. Raises: RequestError without it."""
    if not isinstance(listed, str):
        return list(listed)
    text = read_file(listed).decode("utf-8")
    return [str(phrase) for phrase in json.loads(text)] if listed.endswith(".json") else text.splitlines()


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())
