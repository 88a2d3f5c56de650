from __future__ import annotations

from collections import Counter

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from reinforced.operators.sample.cap_per_group import SampleCapPerGroup


def kept(authors: list[str | None], keys: list[str] | None = None, **parameters: object) -> list[str]:
    table = pa.table({"key": keys or [str(i) for i in range(len(authors))], "author": pa.array(authors, pa.string())})
    return SampleCapPerGroup(**parameters)(table).column("key").to_pylist()  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=30), st.integers(1, 6))
def test_each_author_has_as_many_images_as_there_are_up_to_the_cap(authors: list[str], most: int) -> None:
    found = Counter(authors[int(key)] for key in kept(authors, most=most))
    assert found == {author: min(count, most) for author, count in Counter(authors).items()}


def test_the_choice_depends_on_the_seed_and_not_on_the_order_of_the_rows() -> None:
    keys = [f"photo{i}" for i in range(40)]
    first = kept(["a"] * 40, keys, most=10)
    assert set(kept(["a"] * 40, keys[::-1], most=10)) == set(first)
    assert set(kept(["a"] * 40, keys, most=10, seed=1)) != set(first)
    assert set(kept(["a"] * 39, keys[1:], most=10)) >= set(first) - {"photo0"}, "one image less moves no other one out"


def test_an_unknown_author_is_not_one_author() -> None:
    assert kept([None, None, "a"], most=1) == ["2"]
    assert kept([None, None, "a"], most=1, keep_null=True) == ["0", "1", "2"]
