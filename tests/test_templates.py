from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reinforced.templates import WORDS, Template, choose

FIRST, LAST = [0] * WORDS, [2**32 - 1] * WORDS


def test_alternatives_values_and_articles_make_a_sentence() -> None:
    template = Template("(A|The (young|old)) {who} wears {a colour} coat.")
    values: dict[str, str | None] = {"who": "man", "colour": "orange"}
    assert template.fill(FIRST, values) == "A man wears an orange coat."
    assert template.fill(LAST, values | {"colour": "red"}) == "The old man wears a red coat."
    assert template.names == template.needed == {"who", "colour"}


@pytest.mark.parametrize(("bag", "said"), [("bag", "A man with a bag."), (None, "A man."), ("", "A man.")])
def test_what_is_not_known_is_left_out(bag: str | None, said: str) -> None:
    template = Template("A man[ with {a bag}].")
    assert template.fill(FIRST, {"bag": bag}) == said
    assert (template.names, template.needed) == ({"bag"}, frozenset())


def test_a_sign_can_be_meant_as_itself() -> None:
    assert Template(r"a \(small\) {x} \\ \[1\]").fill(FIRST, {"x": "dog"}) == r"a (small) dog \ [1]"


@pytest.mark.parametrize("text", ["(a|b", "a)", "[a", "a]", "a|b", "{", "{}", "}", "(a]", "\\", "(a|b)" * (WORDS + 1)])
def test_a_slip_in_a_template_is_refused_and_not_printed_into_captions(text: str) -> None:
    with pytest.raises(ValueError, match="template '"):
        Template(text)


def test_a_template_is_taken_only_where_its_values_are_known() -> None:
    templates = [Template("a {colour} dog"), Template("a dog")]
    words = np.zeros(WORDS + 1, np.uint32)
    assert choose(templates, words, {"colour": "red"}) == "a red dog"
    assert choose(templates, words, {"colour": None}) == "a dog"
    assert choose(templates[:1], words, {"colour": None}) is None


@given(st.lists(st.integers(0, 2**32 - 1), min_size=WORDS, max_size=WORDS))
def test_every_choice_is_a_sentence_of_the_template(words: list[int]) -> None:
    said = Template("(a|b(c|d))(e|f)").fill(words, {})
    assert said in {x + y for x in ("a", "bc", "bd") for y in "ef"}
