"""Language of a text."""

from __future__ import annotations

import importlib.util
from importlib import resources
from typing import Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import Field, PrivateAttr

from reinforced.batch import Batch
from reinforced.operator import Filter, Verdicts
from reinforced.weight_files import hash_file


class FilterLanguage(Filter):
    """Keeps rows whose text is probably in one of some languages; the score is the probability that it is.

    The classifier is naive Bayes over byte n-grams, 140 languages (langid.py, Lui and Baldwin 2012, in the
    package py3langid; extra `languages`). The reason is `no text`, or the likeliest other language: `is fr`. Texts of
    a few words are uncertain: lower `min_probability` for labels, or name only `candidates` that can occur.
    """

    examples: ClassVar = ({"column": "path", "languages": ["en", "de"]}, {"column": "label_name", "candidates": ["fr"]})

    languages: Annotated[
        tuple[str, ...], Field(min_length=1, description="Languages to keep, as ISO 639-1 codes such as en.")
    ] = ("en",)
    column: Annotated[str, Field(description="Column with the texts.")] = "caption"
    min_probability: Annotated[
        float, Field(ge=0, le=1, description="Least probability that the text is in one of `languages`.")
    ] = 0.5
    candidates: Annotated[
        tuple[str, ...] | None,
        Field(description="Other languages that the texts may have; default: all that it knows."),
    ] = None

    _identifier: Any = PrivateAttr(None)

    def __getstate__(self) -> dict[Any, Any]:
        """Leave the classifier behind: each worker loads its own."""
        return super().__getstate__() | {"__pydantic_private__": {"_identifier": None}}

    def inputs(self) -> pa.Schema:
        """Return the text."""
        return pa.schema([pa.field(self.column, pa.string())])

    def check(self, available: pa.Schema) -> None:
        """Refuse an installation without the classifier, and languages that it does not know."""
        assert self.column in available.names
        if importlib.util.find_spec("py3langid") is None:
            raise ValueError(
                "filter.language needs py3langid, which is not installed: pip install 'reinforced[languages]'"
            )
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        known = LanguageIdentifier.from_model_file(MODEL_FILE).labels
        if unknown := sorted({*self.languages, *(self.candidates or ())} - set(known)):
            raise ValueError(f"filter.language: {unknown} are no languages that it knows: {', '.join(sorted(known))}")

    def ingredients(self) -> dict[str, str]:
        """Return the digest of the classifier's weights."""
        from py3langid.langid import MODEL_FILE

        return {"model": hash_file(str(resources.files("py3langid") / MODEL_FILE))}

    def setup(self) -> None:
        """Load the classifier."""
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        self._identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        if self.candidates is not None:
            self._identifier.set_languages({*self.languages, *self.candidates})

    def judge(self, batch: Batch) -> Verdicts:
        """Classify every text."""
        verdicts = [self._judge(text or "") for text in batch.values(self.column)]
        return Verdicts([reason for reason, _ in verdicts], [score for _, score in verdicts])

    def _judge(self, text: str) -> tuple[str | None, float]:
        if not text.strip():
            return "no text", 0
        ranked = self._identifier.rank(text)
        probability = float(sum(share for language, share in ranked if language in self.languages))
        if probability >= self.min_probability:
            return None, probability
        return next(
            (f"is {language}" for language, _ in ranked if language not in self.languages), "uncertain"
        ), probability
