"""Captions cut to a number of words by a language model."""

from __future__ import annotations

from typing import Annotated, ClassVar

import pyarrow as pa
from pydantic import Field

from reinforced import columns
from reinforced.batch import Batch
from reinforced.language_model import Question
from reinforced.operator import Columns

from ._asking import PARTS, Asking, parts_of


class CaptionShorten(Asking):
    """Adds each caption said in few words by a language model; one that is short already stays, and costs nothing.

    GIST shortens to about 18 words, 8 for pictures of skin, because CLIP's text side reads 77 tokens. A model that
    answers with more than `max_words` fails the row.
    """

    layer: ClassVar[str] = "short_captions"

    source: Annotated[str, Field(pattern=r"^\w+$", description="Column with the texts to shorten.")] = "caption"
    column: Annotated[str, Field(pattern=r"^\w+$", description="Name of the column; the others begin with it.")] = (
        "short_caption"
    )
    words: Annotated[int, Field(ge=1, description="Words to shorten to, as the model is asked.")] = 18
    max_words: Annotated[int | None, Field(ge=1, description="Longest text that passes; null passes any.")] = 30
    prompt: Annotated[str, Field(description="What to ask before the text.")] = (
        "Shorten this description of an image to at most {words} words. Keep what can be seen; answer with the "
        "shortened description alone."
    )

    def templates(self) -> tuple[str, ...]:
        """Return the prompt with the column of the text."""
        return (f"{self.prompt.replace('{words}', str(self.words))}\n\n{{{self.source}}}",)

    def inputs(self) -> pa.Schema:
        """Return the key and the texts."""
        return pa.schema([columns.known_column("key"), pa.field(self.source, pa.string())])

    def outputs(self) -> pa.Schema:
        """Return the columns of the short text, model and tokens."""
        return pa.schema([columns.known_column(f"caption{part}").with_name(f"{self.column}{part}") for part in PARTS])

    def transform(self, batch: Batch) -> Columns:
        """Ask about every text that is too long. Raises: RowErrors for rows without a short one."""
        texts = batch.values(self.source)
        questions, errors = self.questions(batch)
        asked: list[list[Question]] = [
            row if text is None or len(text.split()) > self.words else []
            for row, text in zip(questions, texts, strict=True)
        ]
        rows = self.ask(asked, errors)
        none = {f"{self.column}{part}": value for part, value in zip(PARTS, (None, None, 0, 0), strict=True)}
        made = [
            parts_of(self.column, row[0].text.strip(), row) if row else none | {self.column: text}
            for row, text in zip(rows, texts, strict=True)
        ]
        return {name: [row[name] for row in made] for name in self.outputs().names}
