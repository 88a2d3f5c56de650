from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from reinforced.batch import Batch
from reinforced.operator import Verdicts
from reinforced.operators.filter.language import FilterLanguage

ENGLISH = "a small red bird sits on a branch in the garden"
GERMAN = "ein kleiner roter Vogel sitzt auf einem Ast im Garten"
FRENCH = "un petit oiseau rouge sur une branche dans le jardin"
JAPANESE = "小さな赤い鳥が庭の枝に止まっている"


def judged(texts: list[str | None], **parameters: Any) -> Verdicts:
    operator = FilterLanguage(**parameters)
    operator.setup()
    table = pa.table({"key": [str(i) for i in range(len(texts))], "caption": pa.array(texts, pa.string())})
    return operator.judge(Batch(table))


def test_english_stays_and_the_reason_names_the_other_language() -> None:
    found = judged([ENGLISH, GERMAN, FRENCH, JAPANESE, None, " "])
    assert found.reasons == [None, "is de", "is fr", "is ja", "no text", "no text"]
    assert found.scores is not None
    assert found.scores[0] > 0.9 > 0.1 > max(found.scores[1:])  # type: ignore[operator, type-var]


def test_several_languages_stay_and_their_probabilities_add_up() -> None:
    found = judged([ENGLISH, GERMAN, FRENCH], languages=["en", "de"])
    assert found.reasons == [None, None, "is fr"]
    both, alone = judged(["hotel bar"], languages=["en", "de"]).scores, judged(["hotel bar"]).scores
    assert both is not None and alone is not None
    assert both[0] > alone[0]  # type: ignore[operator]


def test_fewer_candidates_make_a_short_text_certain() -> None:
    free, told = (judged(["a red bird"], candidates=c).scores for c in (None, ["ja"]))
    assert free is not None and told is not None
    assert told[0] > free[0]  # type: ignore[operator]


def test_a_language_that_it_does_not_know_is_refused_before_anything_starts() -> None:
    available = pa.schema([pa.field("caption", pa.string())])
    FilterLanguage().check(available)
    with pytest.raises(ValueError, match=r"\['english'\] are no languages that it knows: .*\bde\b"):
        FilterLanguage(languages=["english"]).check(available)


def test_what_was_kept_depends_on_the_weights() -> None:
    assert len(FilterLanguage().ingredients()["model"]) == 64
