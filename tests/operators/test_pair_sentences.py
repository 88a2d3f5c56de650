from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reinforced.operators.pair.sentences import PairSentences

REPORT = """EXAMINATION: Chest PA.

FINDINGS: The heart is enlarged, 3.2 cm more than before. No pleural
effusion. Seen by Dr. Smith on 3/4.
1. Small nodule in the left lobe.
2. Old rib fracture

IMPRESSION: Stable.
"""


def drawn(reports: list[str | None], **parameters: Any) -> list[list[str] | None]:
    table = pa.table({"key": [f"{i}" for i in range(len(reports))], "report": pa.array(reports, pa.string())})
    return PairSentences(**parameters)(table).column("sentences").to_pylist()  # type: ignore[no-any-return]


def test_a_report_is_cut_into_its_sentences_and_near_empty_sections_are_dropped() -> None:
    assert PairSentences().split(REPORT) == [
        "The heart is enlarged, 3.2 cm more than before.",
        "No pleural effusion.",
        "Seen by Dr. Smith on 3/4.",
        "Small nodule in the left lobe.",
        "Old rib fracture",
    ]


def test_only_the_wanted_sections_are_drawn_from() -> None:
    assert PairSentences(sections=["impression"], min_section_words=1, min_sentence_words=1).split(REPORT) == [
        "Stable."
    ]


def test_a_report_without_a_sentence_is_null_and_not_an_empty_text() -> None:
    assert drawn(["IMPRESSION: None.", None, "", "A clear lung."], draws=2) == [None, None, None, ["A clear lung."] * 2]


def test_every_sentence_is_drawn_about_as_often() -> None:
    (found,) = drawn(["One cat here. Two dogs here. Three birds here."], draws=3000)
    counts = Counter(found)
    assert set(counts) == {"One cat here.", "Two dogs here.", "Three birds here."}
    assert max(counts.values()) - min(counts.values()) < 160  # 6 sigma of a share of a third


def test_more_draws_leave_the_first_ones_as_they_were() -> None:
    (few,), (many,) = drawn([REPORT], draws=3), drawn([REPORT], draws=9)
    assert few is not None and many is not None
    assert many[:3] == few
    assert drawn([REPORT], draws=9, seed=1) != [many]


@pytest.mark.parametrize("text", ["no end", "Really? Yes, it is!", "one.two.three is one word"])
def test_nothing_of_a_text_is_lost_between_sentences(text: str) -> None:
    assert " ".join(PairSentences(min_section_words=1, min_sentence_words=1).split(text)) == text


@given(st.text(st.sampled_from("aB1.!? \n:"), max_size=80))
def test_every_letter_is_in_a_sentence_or_the_text_has_none(text: str) -> None:
    sentences = PairSentences(min_section_words=1, min_sentence_words=1).split(text)
    assert sum(s.count("a") for s in sentences) == text.count("a")
