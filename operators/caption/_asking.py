"""What all steps that ask a language model about each row have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import Field, PrivateAttr

from reinforced.answers import Answer
from reinforced.batch import Batch
from reinforced.errors import RowErrors
from reinforced.language_model import Question, Requests, Speaker, Text, Use, fault
from reinforced.language_models import AnyModel
from reinforced.operator import Transform
from reinforced.plan import digest
from reinforced.prompt import columns_of, fill

PARTS = ("", "_model", "_input_tokens", "_output_tokens")
"""Columns of every answer, after the column's own name."""


class Asking(Transform):
    """Asks a language model about each row; a row without a proper answer fails with the reason."""

    layer: ClassVar[str] = "captions"
    writes: ClassVar[tuple[str | pa.Field, ...]] = tuple(f"caption{part}" for part in PARTS)
    alone: ClassVar[bool] = True
    waits: ClassVar[bool] = True
    tuning: ClassVar[frozenset[str]] = frozenset({"requests"})
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    model: Annotated[AnyModel, Field(description="The model: an `endpoint` and a `name` there, or `transformers`.")]
    max_words: Annotated[int | None, Field(ge=1, description="Longest answer, asked for and held to.")] = None
    requests: Annotated[Requests, Field(description="How an endpoint is asked, and what it may cost.")] = Requests()
    seed: Annotated[int, Field(description="Seed of local sampling and of the waits between attempts.")] = 0

    _speaker: Speaker | None = PrivateAttr(None)

    def templates(self) -> tuple[str, ...]:
        """Return the prompts, whose names in braces are columns."""
        raise NotImplementedError

    def inputs(self) -> pa.Schema:
        """Return the operator's columns and those that its prompts name; their null type stands for any."""
        fields = {field.name: field for field in super().inputs()}
        for template in self.templates():
            fields |= {name: pa.field(name, pa.null()) for name in columns_of(template) if name not in fields}
        return pa.schema(list(fields.values()))

    def check(self, available: pa.Schema) -> None:  # noqa: ARG002  # the model does not depend on the columns
        """Check that the model can be asked."""
        self.model.check()

    def ingredients(self) -> dict[str, str]:
        """Return the hashes of a local model's files."""
        return self.model.ingredients()

    def setup(self) -> None:
        """Get the model ready."""
        parameters = self.model_dump(mode="json", exclude={*self.tuning, "resources", "seed", "into"})
        use = Use(self.requests, digest(parameters), self.seed, self.resources.gpus)
        self._speaker = self.model.open(use)

    def questions(self, batch: Batch, draws: int = 1, **chosen: Any) -> tuple[list[list[Question]], dict[int, Text]]:
        """Return the questions of each row, one a template and draw, and the rows whose prompt lacks a value."""
        questions: list[list[Question]] = []
        errors: dict[int, Text] = {}
        for i, row in enumerate(batch.table.select(self.inputs().names).to_pylist()):
            try:
                prompts = [fill(template, row) for template in self.templates()]
            except ValueError as error:
                errors[i] = str(error)
                prompts = []
            about = {"key": row["key"], "image": row.get("image"), **chosen}
            questions.append([Question(prompt=p, draw=d, **about) for p in prompts for d in range(draws)])
        return questions, errors

    def ask(self, questions: Sequence[Sequence[Question]], errors: dict[int, Text]) -> list[list[Answer]]:
        """Return the answers of each row. Raises: RowErrors for the rows without."""
        assert self._speaker is not None, "setup() comes first"
        said = iter(self._speaker.ask([question for row in questions for question in row]))
        rows: list[list[Answer]] = []
        for i, row in enumerate(questions):
            answers = [next(said) for _ in row]
            reason = next((why for answer in answers if (why := self.fault(answer))), None)
            if reason:
                errors[i] = reason
            rows.append([answer for answer in answers if isinstance(answer, Answer)])
        if errors:
            raise RowErrors(errors)
        return rows

    def fault(self, said: Answer | Text) -> Text | None:
        """Return why an answer will not do."""
        return said if isinstance(said, str) else fault(said, self.max_words)

    def __getstate__(self) -> dict[Any, Any]:
        return super().__getstate__() | {"__pydantic_private__": {"_speaker": None}}


def parts_of(column: str, text: str, answers: Sequence[Answer]) -> dict[str, Any]:
    """Return a row's values in the columns that every answer has."""
    tokens = sum(a.input_tokens for a in answers), sum(a.output_tokens for a in answers)
    values = (text, answers[0].model, *tokens)
    return {f"{column}{part}": value for part, value in zip(PARTS, values, strict=True)}
