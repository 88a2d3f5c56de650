"""Sentences of a report, for image-text pairs."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

import pyarrow as pa
from pydantic import Field

from reinforced import counter
from reinforced.batch import Batch
from reinforced.operator import Columns, Transform
from reinforced.words import words

_HEADING = re.compile(r"(?:^|\n)[ \t]*([A-Z][A-Z /&-]*[A-Z]):")
_ABBREVIATION = re.compile(
    r"(?:\b(?:dr|mr|mrs|ms|prof|st|vs|no|fig|approx|e\.g|i\.e|cf|etc|[a-z])|^\s*\d+)\.$", re.IGNORECASE
)
_END = re.compile(r"[.!?][\"')\]]*(?=\s+[^\sa-z])|\n\s*\n")


class PairSentences(Transform):
    """Adds sentences drawn at random from a report on the image: a text for each draw of training (ConVIRT).

    Zhang et al. 2020, *Contrastive Learning of Medical Visual Representations from Paired Images and Text*. A section
    begins with a heading in capitals and a colon (`FINDINGS:`); sections and sentences of too few words are dropped. A
    sentence ends at `.`, `!` or `?` before white space and a capital or digit, or at an empty line. The drawn one
    depends on seed, key and draw, with replacement. Rows without a sentence have null, which `filter.where` drops.
    """

    layer: ClassVar = "report_sentences"
    writes: ClassVar = ("sentences",)
    examples: ClassVar = ({"column": "path", "draws": 3, "min_section_words": 1, "min_sentence_words": 1},)

    column: Annotated[str, Field(description="Column with the reports.")] = "report"
    draws: Annotated[int, Field(ge=1, description="Sentences drawn for each image.")] = 16
    sections: Annotated[
        tuple[str, ...] | None, Field(description="Headings of the sections to use, such as FINDINGS; default: all.")
    ] = None
    min_section_words: Annotated[int, Field(ge=1, description="Fewest words of a section.")] = 3
    min_sentence_words: Annotated[int, Field(ge=1, description="Fewest words of a sentence.")] = 2
    seed: Annotated[int, Field(description="Seed of the draws.")] = 0

    def inputs(self) -> pa.Schema:
        """Return the report."""
        return pa.schema([pa.field(self.column, pa.string())])

    def transform(self, batch: Batch) -> Columns:
        """Split every report, and draw."""
        random = counter.words(self.seed, "pair.sentences", batch.keys, range(self.draws), 1)[..., 0]
        found = [self.split(report or "") for report in batch.values(self.column)]
        return {
            "sentences": [
                [sentences[i] for i in counter.below(drawn, len(sentences))] if sentences else None
                for sentences, drawn in zip(found, random, strict=True)
            ]
        }

    def split(self, report: str) -> list[str]:
        """Return the sentences of a report that may be drawn, in their order."""
        before, *rest = _HEADING.split(report)
        wanted = None if self.sections is None else {name.upper() for name in self.sections}
        named = [("", before), *zip(rest[::2], rest[1::2], strict=True)]
        return [
            sentence
            for name, section in named
            if (wanted is None or name in wanted) and len(words(section)) >= self.min_section_words
            for sentence in _sentences(section)
            if len(words(sentence)) >= self.min_sentence_words
        ]


def _sentences(section: str) -> list[str]:
    found, start = [], 0
    for end in _END.finditer(section):
        if not _ABBREVIATION.search(section[start : end.end()]):
            found.append(section[start : end.end()])
            start = end.end()
    found.append(section[start:])
    return [text for sentence in found if (text := " ".join(re.sub(r"^\s*\d+[.)]\s", "", sentence).split()))]
