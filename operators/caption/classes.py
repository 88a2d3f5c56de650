"""Descriptions of classes by a language model: the first half of GIST."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import Field, PrivateAttr, field_validator

from reinforced import columns
from reinforced.answers import Answer
from reinforced.language_model import Question, Requests, Speaker, Use, fault
from reinforced.language_models import AnyModel
from reinforced.operator import ShardSpec, Source
from reinforced.plan import digest
from reinforced.prompt import columns_of, fill

_CLASS = "label_name"


class CaptionClasses(Source):
    """Reads, from a language model, descriptions of each class: a small dataset without images, one row a description.

    The prompts are every template with every combination of the lists it names: `A photo of a {sex} {label_name}, its
    {part}` with two sexes and three parts is six prompts a class. From Lewis et al. 2023, *GIST: Generating
    Image-Specific Text*. The dataset keeps prompt, model and tokens; `caption.match` gives its rows to images.
    """

    writes: ClassVar = (
        *("key", _CLASS, "prompt", "caption"),
        *("caption_model", "caption_input_tokens", "caption_output_tokens"),
    )
    tuning: ClassVar = frozenset({"requests"})
    examples: ClassVar = (
        {
            "classes": ["house wren"],
            "templates": ["Describe the {part} of a {sex} {label_name}."],
            "lists": {"part": ["bill", "plumage"], "sex": ["male", "female"]},
            "model": {"endpoint": "http://localhost:8000/v1", "name": "qwen"},
        },
    )

    classes: Annotated[tuple[str, ...], Field(min_length=1, description="Names of the classes, as in label_name.")]
    templates: Annotated[
        tuple[str, ...], Field(min_length=1, description="Prompts with {label_name} and lists' names.")
    ]
    lists: Annotated[
        dict[str, tuple[str, ...]] | None, Field(description="Name to the values it stands for, one after another.")
    ] = None
    model: Annotated[AnyModel, Field(description="The model: an `endpoint` and a `name` there, or `transformers`.")]
    descriptions: Annotated[
        int, Field(ge=1, description="Descriptions by each prompt; several need a temperature.")
    ] = 1
    requests: Annotated[Requests, Field(description="How an endpoint is asked, and what it may cost.")] = Requests()
    seed: Annotated[int, Field(description="Seed of local sampling and of the waits between attempts.")] = 0

    _speaker: Speaker | None = PrivateAttr(None)

    @field_validator("templates")
    @classmethod
    def _check_templates(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if lacking := [template for template in value if _CLASS not in columns_of(template)]:
            raise ValueError(f"'{lacking[0]}' has no {{{_CLASS}}} for the class")
        return value

    def columns(self) -> pa.Schema:
        """Return the columns of a description. Raises: ValueError where a template names a list that is not there."""
        for name in itertools.chain.from_iterable(columns_of(template) for template in self.templates):
            if name != _CLASS and name not in (self.lists or {}):
                raise ValueError(f"a template names {{{name}}}; lists has {', '.join(self.lists or ()) or 'nothing'}")
        self.model.check()
        return columns.resolve(self.writes)

    def ingredients(self) -> dict[str, str]:
        """Return the hashes of a local model's files."""
        return self.model.ingredients()

    def shards(self) -> Iterator[ShardSpec]:
        """Yield a class with its prompts."""
        for name in dict.fromkeys(self.classes):
            yield {"name": name, "prompts": list(self._prompts(name)), "draws": self.descriptions}

    def setup(self) -> None:
        """Get the model ready."""
        account = digest([self.model.model_dump(mode="json"), self.templates])
        self._speaker = self.model.open(Use(self.requests, account, self.seed, self.resources.gpus))

    def read(self, shard: ShardSpec) -> pa.Table:
        """Ask about a class; a refusal fails its row."""
        assert self._speaker is not None, "setup() comes first"
        asked = [(prompt, draw) for prompt in shard["prompts"] for draw in range(shard["draws"])]
        keys = [f"{shard['name']}/{i:04d}" for i in range(len(asked))]
        pairs = zip(keys, asked, strict=True)
        said = self._speaker.ask([Question(key, prompt, draw=draw) for key, (prompt, draw) in pairs])
        values: dict[str, list[Any]] = {
            "key": keys,
            _CLASS: [shard["name"]] * len(keys),
            "prompt": [p for p, _ in asked],
        }
        rows = [one if isinstance(one, Answer) else Answer("", "", "", 0, 0) for one in said]
        values["caption"] = [row.text.strip() for row in rows]
        values["caption_model"] = [row.model for row in rows]
        values["caption_input_tokens"] = [row.input_tokens for row in rows]
        values["caption_output_tokens"] = [row.output_tokens for row in rows]
        errors = [one if isinstance(one, str) else fault(one) for one in said]
        return pa.table(values, schema=self.columns()).append_column("_error", pa.array(errors, pa.string()))

    def _prompts(self, name: str) -> Iterator[str]:
        for template in self.templates:
            lists = [n for n in columns_of(template) if n != _CLASS]
            for chosen in itertools.product(*((self.lists or {})[n] for n in lists)):
                yield fill(template, {_CLASS: name, **dict(zip(lists, chosen, strict=True))})

    def __getstate__(self) -> dict[Any, Any]:
        return super().__getstate__() | {"__pydantic_private__": {"_speaker": None}}
