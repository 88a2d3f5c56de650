"""Texts that are no captions: fragments, symbols, repetition, words of a list."""

from __future__ import annotations

import json
import unicodedata
from itertools import pairwise
from typing import Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import Field, PrivateAttr

from reinforced.batch import Batch
from reinforced.counter import hash64
from reinforced.operator import Filter, Verdicts
from reinforced.phrases import Phrases, read_phrases
from reinforced.words import words


class FilterTextQuality(Filter):
    """Drops rows whose text is too short or long, mostly symbols, repeats itself, or holds a word of a list.

    Such rules clean web text for language models (Gopher, Rae et al. 2021). The reason is the limit's name, or
    `no text`; the score is what was measured: characters, or a share. Rules apply in the order of the parameters.
    `blocked_words` matches whole words and phrases, whatever their case. `filter.alt_text` counts words.
    """

    examples: ClassVar = ({"column": "path", "blocked_words": ["png"]}, {"column": "label_name"})

    column: Annotated[str, Field(description="Column with the texts.")] = "caption"
    min_characters: Annotated[int, Field(ge=0, description="Fewest characters, white space at the ends aside.")] = 5
    max_characters: Annotated[int, Field(ge=1, description="Most characters.")] = 1000
    max_symbol_share: Annotated[
        float, Field(ge=0, le=1, description="Largest share of signs that are no letter or digit, white space aside.")
    ] = 0.3
    max_repeated_share: Annotated[
        float, Field(ge=0, le=1, description="Largest share of pairs of neighbouring words that occurred before.")
    ] = 0.3
    blocked_words: Annotated[
        tuple[str, ...] | str, Field(description="Words to drop; or a JSON list or text file of them, one a line.")
    ] = ()

    _blocked: Phrases | None = PrivateAttr(None)

    def __getstate__(self) -> dict[Any, Any]:
        """Leave the tree of words behind: each worker grows its own."""
        return super().__getstate__() | {"__pydantic_private__": {"_blocked": None}}

    def inputs(self) -> pa.Schema:
        """Return the text."""
        return pa.schema([pa.field(self.column, pa.string())])

    def ingredients(self) -> dict[str, str]:
        """Return the digest of the list of words."""
        return {"blocked_words": f"{hash64(json.dumps(read_phrases(self.blocked_words))):016x}"}

    def setup(self) -> None:
        """Read the list of words."""
        self._blocked = Phrases(read_phrases(self.blocked_words))

    def judge(self, batch: Batch) -> Verdicts:
        """Measure every text up to the first rule that it breaks."""
        verdicts = [self._judge((text or "").strip()) for text in batch.values(self.column)]
        return Verdicts([reason for reason, _ in verdicts], [score for _, score in verdicts])

    def _judge(self, text: str) -> tuple[str | None, float]:
        assert self._blocked is not None, "setup() comes first"
        if not text:
            return "no text", 0
        if len(text) < self.min_characters:
            return "min_characters", len(text)
        if len(text) > self.max_characters:
            return "max_characters", len(text)
        if (symbols := _symbol_share(text)) > self.max_symbol_share:
            return "max_symbol_share", symbols
        if (repeated := _repeated_share(text)) > self.max_repeated_share:
            return "max_repeated_share", repeated
        return ("blocked_words", 1) if self._blocked.found(text) else (None, repeated)


def _symbol_share(text: str) -> float:
    """Share of signs that are no letter, digit or part of one; a vowel sign or an accent is a mark, not a symbol."""
    categories = [unicodedata.category(sign)[0] for sign in text if not sign.isspace()]
    return sum(category not in "LNM" for category in categories) / len(categories)


def _repeated_share(text: str) -> float:
    pairs = list(pairwise(words(text)))
    return 1 - len(set(pairs)) / len(pairs) if pairs else 0
