"""Captions out of attribute columns."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import Field, PrivateAttr, field_validator

from reinforced import counter
from reinforced.batch import Batch
from reinforced.operator import Columns, Transform
from reinforced.templates import WORDS, Template, choose


class CaptionAttributes(Transform):
    """Adds captions that say in varied sentences what columns say of the image (SYNTH-PEDES).

    Zuo et al. 2023, *PLIP: Language-Image Pre-training for Person Representation Learning*, caption people so from
    attributes. In a template `(a|b)` is one of its alternatives, `{name}` the value of a column, `{a name}` the value
    after `a` or `an`, and `[...]` is left out where a column in it is null. A row takes only templates whose other
    columns it has; which one, and its alternatives, depend on seed, key and number of the caption.
    """

    layer: ClassVar = "attribute_captions"
    writes: ClassVar = ("attribute_captions",)
    examples: ClassVar = (
        {
            "templates": ["(A|One) (photo|picture) of {a label_name}[, {split}]", "{label_name}"],
            "captions_per_image": 4,
        },
    )

    templates: Annotated[tuple[str, ...], Field(min_length=1, description="Sentences with alternatives, see above.")]
    captions_per_image: Annotated[int, Field(ge=1, description="Captions for each image.")] = 3
    seed: Annotated[int, Field(description="Seed of the choices.")] = 0

    _templates: tuple[Template, ...] = PrivateAttr(())

    @field_validator("templates")
    @classmethod
    def _check_templates(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            Template(text)
        return value

    def __getstate__(self) -> dict[Any, Any]:
        """Leave the parsed templates behind: their text is enough."""
        return super().__getstate__() | {"__pydantic_private__": {"_templates": ()}}

    def setup(self) -> None:
        """Parse the templates."""
        self._templates = tuple(Template(text) for text in self.templates)

    def inputs(self) -> pa.Schema:
        """Return the columns of the templates, as text."""
        names = sorted(set().union(*(Template(text).names for text in self.templates)))
        return pa.schema([pa.field(name, pa.string()) for name in names])

    def transform(self, batch: Batch) -> Columns:
        """Fill templates for every row."""
        known = {name: batch.values(name) for name in self.inputs().names}
        random = counter.words(self.seed, "caption.attributes", batch.keys, range(self.captions_per_image), WORDS + 1)
        captions = []
        for row, drawn in enumerate(random):
            values = {name: column[row] for name, column in known.items()}
            said = [choose(self._templates, words, values) for words in drawn]
            captions.append(None if None in said else said)
        return {"attribute_captions": captions}
