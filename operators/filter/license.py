"""Free licences, with all that they ask to be named."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import pyarrow as pa
from pydantic import Field, model_validator

from reinforced.batch import Batch
from reinforced.licenses import Family, parse_license
from reinforced.operator import Filter, Verdicts


class FilterLicense(Filter):
    """Keeps images under licences of Creative Commons that come with a complete attribution.

    The licence is read from a URL of creativecommons.org or from a name such as `CC BY 2.0`; `unknown license` is any
    other text, `license: by-nc` a family that was not asked for. Attribution needs an author, a title or a page, and
    the licence's URL (a name with its version leads to it); what is missing is the reason: `no author`, `no title or
    url`, `no license url`. It believes what the columns say.
    """

    examples: ClassVar = (
        {"license": "label_name", "author": "path", "title": "split", "url": None},
        {"license": "path", "attribution": False},
    )

    families: Annotated[tuple[Family, ...], Field(min_length=1, description="Licences to keep, of any version.")] = (
        "by",
    )
    attribution: Annotated[bool, Field(description="Drop images whose attribution is not complete.")] = True
    license: Annotated[str, Field(description="Column with the licence's URL or name.")] = "license"
    author: Annotated[str, Field(description="Column with the author's name.")] = "author"
    title: Annotated[str | None, Field(description="Column with the title; null if there is none.")] = "title"
    url: Annotated[str | None, Field(description="Column with the page of the image; null if there is none.")] = "url"

    @model_validator(mode="after")
    def _check_attribution(self) -> Self:
        if self.attribution and not (self.title or self.url):
            raise ValueError("an attribution names a title or a page: give the column of one in title or url")
        return self

    def inputs(self) -> pa.Schema:
        """Return the licence and, where attribution is asked for, what it names."""
        named = [name for name in (self.author, self.title, self.url) if name] if self.attribution else []
        return pa.schema([pa.field(name, pa.string()) for name in dict.fromkeys([self.license, *named])])

    def judge(self, batch: Batch) -> Verdicts:
        """Judge the licence first, then what there is to name."""
        columns = {name: batch.values(name) for name in self.inputs().names}
        return Verdicts([self._reason({n: values[i] for n, values in columns.items()}) for i in range(len(batch))])

    def _reason(self, row: dict[str, str | None]) -> str | None:
        text = row[self.license]
        found = parse_license(text)
        if found is None:
            return "unknown license" if _said(text) else "no license"
        if found.family not in self.families:
            return f"license: {found.family}"
        if not self.attribution:
            return None
        if not _said(row[self.author]):
            return "no author"
        if not any(_said(row[name]) for name in (self.title, self.url) if name):
            return "no title or url"
        return None if found.url else "no license url"


def _said(text: str | None) -> bool:
    return bool(text and text.strip())
