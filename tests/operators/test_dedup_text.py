from __future__ import annotations

import pyarrow as pa

from reinforced.operators.dedup.text import DedupText

LONG = "A photo of a small brown dog that sits on the green grass near an old house"


def kept(texts: list[str | None], **parameters: float) -> list[str]:
    table = pa.table({"key": [f"{i}" for i in range(len(texts))], "caption": pa.array(texts, pa.string())})
    return DedupText(**parameters)(table).column("key").to_pylist()


def test_the_longest_of_nearly_equal_texts_survives() -> None:
    assert kept([LONG, "Two cats", LONG.upper() + "."]) == ["1", "2"]


def test_of_equal_texts_the_smallest_key_survives() -> None:
    assert kept(["same text here", "same text here"]) == ["0"]


def test_rows_without_a_text_are_not_taken_for_copies_of_each_other() -> None:
    assert kept([None, None, "", " "]) == ["0", "1", "2", "3"]


def test_how_alike_texts_must_be_is_what_the_parameter_says() -> None:
    texts: list[str | None] = [LONG, LONG.replace("brown dog", "white cat")]
    assert kept(texts, min_similarity=0.9) == ["0", "1"]
    assert kept(texts, min_similarity=0.4) == ["0"]
