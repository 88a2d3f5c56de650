from __future__ import annotations

import pyarrow as pa
import pytest

from reinforced.operators.caption.attributes import CaptionAttributes

PEOPLE = pa.table(
    {
        "key": ["0", "1", "2"],
        "who": ["man", "woman", None],
        "coat": ["orange", None, "red"],
        "bag": [None, "backpack", None],
    }
)
TEMPLATES = ("(A|One) {who}[ in {a coat} coat] (walks|strolls)[, carrying {a bag}].",)


def captions(templates: tuple[str, ...] = TEMPLATES, **parameters: int) -> list[list[str] | None]:
    made = CaptionAttributes(templates=templates, **parameters)(PEOPLE)  # type: ignore[arg-type]
    return made.column("attribute_captions").to_pylist()  # type: ignore[no-any-return]


def test_captions_say_what_is_known_in_all_the_ways_there_are() -> None:
    first, second, third = captions(captions_per_image=60)
    ways = [(a, b) for a in ("A", "One") for b in ("walks", "strolls")]
    assert set(first or ()) == {f"{a} man in an orange coat {b}." for a, b in ways}
    assert set(second or ()) == {f"{a} woman {b}, carrying a backpack." for a, b in ways}
    assert third is None


def test_a_template_that_needs_less_is_taken_where_values_are_missing() -> None:
    assert captions((*TEMPLATES, "Somebody."), captions_per_image=2)[2] == ["Somebody."] * 2


def test_another_seed_says_it_otherwise_and_the_same_seed_does_not() -> None:
    assert captions(captions_per_image=9) == captions(captions_per_image=9)
    assert captions(captions_per_image=9, seed=1) != captions(captions_per_image=9)


def test_a_template_that_is_not_closed_is_refused_when_the_pipeline_is_read() -> None:
    with pytest.raises(ValueError, match="ends before"):
        CaptionAttributes(templates=["A {who} [with a bag."])


def test_only_the_columns_that_templates_name_are_asked_for() -> None:
    assert CaptionAttributes(templates=TEMPLATES).inputs().names == ["bag", "coat", "who"]
