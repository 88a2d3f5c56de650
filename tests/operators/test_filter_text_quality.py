from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reinforced.batch import Batch
from reinforced.operator import Verdicts
from reinforced.operators.filter.text_quality import FilterTextQuality


def judged(texts: list[str | None], **limits: Any) -> Verdicts:
    table = pa.table({"key": [str(i) for i in range(len(texts))], "caption": pa.array(texts, pa.string())})
    operator = FilterTextQuality(**limits)
    operator.setup()
    return operator.judge(Batch(table))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a red bird on a branch", None),
        ("ein süßer Hund, 3 Jahre alt!", None),
        ("हिन्दी में एक छोटा वाक्य", None),  # vowel signs are no symbols
        ("cat", "min_characters"),
        ("word " * 300, "max_characters"),
        ("$$$ >>> #1 !!! --- <<< ***", "max_symbol_share"),
        ("buy shoes buy shoes buy shoes buy shoes", "max_repeated_share"),
        ("", "no text"),
        (" \n", "no text"),
        (None, "no text"),
    ],
)
def test_a_caption_stays_and_what_is_none_goes_with_its_reason(text: str | None, reason: str | None) -> None:
    assert judged([text]).reasons == [reason]


def test_the_score_is_what_was_measured() -> None:
    assert judged(["ab", "go on go on go", "a!!!b!!!c"]).scores == pytest.approx([2, 0.5, 6 / 9])


def test_a_listed_word_is_found_as_a_word_and_not_inside_another(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("ass\nvery bad\n\n", "utf-8")
    texts = ["a class of children", "kiss my ASS please", "a Very  Bad dog", "very good, bad dog"]
    expected = [None, "blocked_words", "blocked_words", None]
    assert judged(texts, blocked_words=str(tmp_path / "words.txt")).reasons == expected


def test_a_longer_list_makes_the_step_run_again_and_the_list_goes_to_no_worker_as_a_tree(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("one\n", "utf-8")
    operator = FilterTextQuality(blocked_words=str(file))
    before = operator.ingredients()
    file.write_text("one\ntwo\n", "utf-8")
    assert operator.ingredients() != before
    operator.setup()
    assert len(pickle.dumps(operator)) == len(pickle.dumps(FilterTextQuality(blocked_words=str(file))))


@given(st.text(max_size=60))
def test_without_limits_every_text_that_says_something_stays(text: str) -> None:
    reasons = judged([text], min_characters=0, max_symbol_share=1, max_repeated_share=1).reasons
    assert reasons == [None if text.strip() else "no text"]
