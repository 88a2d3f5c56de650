from __future__ import annotations

import pyarrow as pa
import pytest

from reinforced.batch import Batch
from reinforced.operators.filter.alt_text import FilterAltText


def reasons(texts: list[str | None], **limits: int | None) -> list[str | None]:
    table = pa.table({"key": [str(i) for i in range(len(texts))], "caption": pa.array(texts, pa.string())})
    return list(FilterAltText(**limits).judge(Batch(table)).reasons)  # type: ignore[arg-type]


def test_captions_of_three_to_twenty_words_stay() -> None:
    texts = ["two words", "a red bird", " ".join(["word"] * 20), " ".join(["word"] * 21), "IMG_1234.jpg", "", None, " "]
    expected = ["min_words", None, None, "max_words", "min_words", "no text", "no text", "no text"]
    assert reasons(texts) == expected


def test_punctuation_is_no_word_and_an_apostrophe_splits_none() -> None:
    assert reasons(["dog - cat !", "it's Ann's dog", "ein süßer Hund"]) == ["min_words", None, None]


def test_the_rules_of_datacomp_are_parameters() -> None:
    assert reasons(["a b c", "abc def", "a bc def"], max_words=None, min_characters=6) == [
        "min_characters",
        "min_words",
        None,
    ]


def test_limits_that_no_text_can_meet_are_refused() -> None:
    with pytest.raises(ValueError, match="max_words 2 is below min_words 3"):
        FilterAltText(max_words=2)
