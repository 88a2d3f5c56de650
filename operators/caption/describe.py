"""Descriptions of images by a multimodal model."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import Field, field_validator

from reinforced import columns
from reinforced.answers import Answer
from reinforced.batch import Batch
from reinforced.language_model import Text
from reinforced.language_models import as_object, check_schema
from reinforced.operator import Columns
from reinforced.prompt import columns_of

from ._asking import PARTS, Asking, parts_of


class CaptionDescribe(Asking):
    """Adds what a multimodal model says about each image, one description or several, with the tokens it took.

    The model is behind an OpenAI-compatible endpoint (hosted, vLLM, Ollama, llama.cpp) or in a local folder of
    transformers. Captions as a second supervision of a classifier: Ding et al. 2024, *GPT4Image*. Refusals, cut and
    repetitive answers fail their row. Answers of an endpoint are stored in `requests.cache` before they are used: a
    killed or repeated run sends only what has no answer yet.
    """

    reads: ClassVar[tuple[str | pa.Field, ...]] = ("key", "image")

    prompt: Annotated[
        str, Field(min_length=1, description="What to ask; {label_name} stands for the row's value of that column.")
    ] = "Describe this image in one sentence."
    language: Annotated[str | None, Field(description="Language to answer in, such as German.")] = None
    descriptions: Annotated[
        int, Field(ge=1, description="Descriptions of each image; more than one need a temperature above 0 to differ.")
    ] = 1
    json_schema: Annotated[
        dict[str, Any] | None,
        Field(description="JSON Schema of the answer, an object with a string `caption`; all of it is kept as well."),
    ] = None
    column: Annotated[str, Field(pattern=r"^\w+$", description="Name of the column; the others begin with it.")] = (
        "caption"
    )

    @field_validator("prompt")
    @classmethod
    def _check_prompt(cls, value: str) -> str:
        columns_of(value)
        return value

    @field_validator("json_schema")
    @classmethod
    def _check_json_schema(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        return check_schema(value) if value is not None else None

    def templates(self) -> tuple[str, ...]:
        """Return the prompt with the language and the length asked for."""
        language = f"\nAnswer in {self.language}." if self.language else ""
        length = f"\nUse at most {self.max_words} words." if self.max_words else ""
        return (self.prompt + language + length,)

    def outputs(self) -> pa.Schema:
        """Return the columns of the caption, model and tokens; of several captions and of JSON where asked for."""
        wanted = [*PARTS, *(["_json"] if self.json_schema else []), *(["s"] if self.descriptions > 1 else [])]
        return pa.schema([columns.known_column(f"caption{part}").with_name(f"{self.column}{part}") for part in wanted])

    def transform(self, batch: Batch) -> Columns:
        """Ask about every image; returns captions and what they took. Raises: RowErrors for rows without one."""
        rows = self.ask(*self.questions(batch, self.descriptions, schema=self.json_schema))
        values = [self._values(answers) for answers in rows]
        return {name: [row[name] for row in values] for name in self.outputs().names}

    def fault(self, said: Answer | Text) -> Text | None:
        """Return why an answer is no description, or does not follow the schema."""
        reason = super().fault(said)
        if reason or self.json_schema is None or isinstance(said, str):
            return reason
        return as_object(said.text, self.json_schema)[1]

    def _values(self, answers: list[Answer]) -> dict[str, Any]:
        objects = [as_object(answer.text, self.json_schema)[0] for answer in answers] if self.json_schema else []
        texts = [str(found["caption"]) for found in objects] or [answer.text for answer in answers]
        texts = [text.strip() for text in texts]
        whole = json.dumps(objects[0], sort_keys=True, ensure_ascii=False) if objects else None
        return parts_of(self.column, texts[0], answers) | {f"{self.column}s": texts, f"{self.column}_json": whole}
