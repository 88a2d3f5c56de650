"""Limits on the length of a text."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import pyarrow as pa
from pydantic import Field, model_validator

from reinforced.batch import Batch
from reinforced.operator import Filter, Verdicts
from reinforced.words import words


class FilterAltText(Filter):
    """Drops rows whose text has too few or too many words, or none at all.

    The defaults are those of ALIGN (Jia et al. 2021). The reason is the limit's name, or `no text`; the score is the
    number of words, or of characters. Words are runs of letters and digits: scripts without spaces need other limits.
    `filter.shared_text` has ALIGN's rules about texts that many images share.
    """

    examples: ClassVar = ({"column": "label_name", "min_words": 1}, {"column": "path", "min_characters": 14})

    column: Annotated[str, Field(description="Column with the texts.")] = "caption"
    min_words: Annotated[int, Field(ge=0, description="Fewest words.")] = 3
    max_words: Annotated[int | None, Field(ge=1, description="Most words.")] = 20
    min_characters: Annotated[int, Field(ge=0, description="Fewest characters, white space at the ends aside.")] = 0

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if self.max_words is not None and self.max_words < self.min_words:
            raise ValueError(f"max_words {self.max_words} is below min_words {self.min_words}: no text is both")
        return self

    def inputs(self) -> pa.Schema:
        """Return the text."""
        return pa.schema([pa.field(self.column, pa.string())])

    def judge(self, batch: Batch) -> Verdicts:
        """Count the words of every text."""
        verdicts = [self._judge(text or "") for text in batch.values(self.column)]
        return Verdicts([reason for reason, _ in verdicts], [score for _, score in verdicts])

    def _judge(self, text: str) -> tuple[str | None, float]:
        count, characters = len(words(text)), len(text.strip())
        if not characters:
            return "no text", 0
        if count < self.min_words:
            return "min_words", count
        if self.max_words is not None and count > self.max_words:
            return "max_words", count
        if characters < self.min_characters:
            return "min_characters", characters
        return None, count
