from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reinforced.operators.pair.phrases import PairPhrases

Box = tuple[int, int, int, int]
BOXES = st.lists(st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 12)] * 2), min_size=1, max_size=2)
PHRASES = st.lists(st.tuples(st.text("ab ", min_size=1, max_size=12), BOXES), max_size=9)


def merged(phrases: list[str], boxes: list[list[Box]], spans: Any = None, **parameters: Any) -> dict[str, Any]:
    table = {"key": ["0"], "phrases": [phrases], "phrase_boxes": [boxes], "nouns": [spans]}
    operator = PairPhrases(spans="nouns" if spans is not None else None, **parameters)
    types = {f.name: f for f in [pa.field("key", pa.string()), *operator.inputs()]}
    rows = operator(pa.table({name: pa.array(table[name], field.type) for name, field in types.items()})).to_pylist()
    return rows[0]  # type: ignore[no-any-return]


def iou(a: Box, b: Box) -> float:
    """Count shared and all unit squares."""
    one, two = ({(x, y) for x in range(c[0], c[0] + c[2]) for y in range(c[1], c[1] + c[3])} for c in (a, b))
    return len(one & two) / len(one | two)


def test_phrases_of_the_same_place_are_told_apart_by_captions_of_their_own() -> None:
    row = merged(["a man", "a hat", "a tall man"], [[(0, 0, 10, 20)], [(2, 0, 4, 3)], [(0, 0, 10, 19)]])
    assert row["grounded_captions"] == ["a man. a hat", "a tall man"]
    assert row["phrase_captions"] == [0, 0, 1]
    assert row["phrase_spans"] == [[0, 5], [7, 12], [0, 10]]


def test_the_span_of_a_noun_moves_with_its_phrase() -> None:
    row = merged(["a red hat", "two old men"], [[(0, 0, 1, 1)], [(5, 5, 1, 1), (7, 5, 1, 1)]], [[6, 9], [8, 11]])
    (caption,) = row["grounded_captions"]
    assert [caption[first:last] for first, last in row["phrase_spans"]] == ["hat", "men"]


def test_an_image_without_phrases_has_no_captions() -> None:
    row = merged([], [])
    assert (row["grounded_captions"], row["phrase_captions"], row["phrase_spans"]) == ([], [], [])


def test_boxes_for_another_number_of_phrases_cost_the_row() -> None:
    with pytest.raises(ValueError, match="2 phrases, but boxes or spans for another number"):
        merged(["a", "b"], [[(0, 0, 1, 1)]])


@settings(deadline=None)
@given(PHRASES, st.integers(1, 40))
def test_every_phrase_stands_once_where_its_span_says_and_no_caption_is_ambiguous(
    annotated: list[tuple[str, list[Box]]], limit: int
) -> None:
    phrases, boxes = [text for text, _ in annotated], [own for _, own in annotated]
    row = merged(phrases, boxes, max_characters=limit)
    captions, holders = row["grounded_captions"], row["phrase_captions"]
    for phrase, holder, (first, last) in zip(phrases, holders, row["phrase_spans"], strict=True):
        assert captions[holder][first:last] == phrase
    assert sum(map(len, captions)) == sum(map(len, phrases)) + 2 * (len(phrases) - len(captions))
    for number, caption in enumerate(captions):
        members = [i for i, holder in enumerate(holders) if holder == number]
        assert len(caption) <= limit or len(members) == 1
        for i in members:
            for j in members:
                assert i == j or all(iou(a, b) <= 0.5 for a in boxes[i] for b in boxes[j])
