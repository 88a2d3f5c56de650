from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reinforced.operators.sample.balance import SampleBalance
from reinforced.phrases import Phrases

WORDS = st.sampled_from(["a", "b", "it's", "Café", "-", "."])


def pairs(texts: list[str | None]) -> pa.Table:
    return pa.table({"key": [f"{i:05d}" for i in range(len(texts))], "caption": pa.array(texts, pa.string())})


def kept(texts: list[str | None], **parameters: Any) -> pa.Table:
    return SampleBalance(**parameters)(pairs(texts))


@given(st.lists(st.lists(WORDS, min_size=1, max_size=3).map(" ".join), max_size=6), st.lists(WORDS).map(" ".join))
def test_a_phrase_matches_as_a_substring_between_spaces(phrases: list[str], text: str) -> None:
    def spaced(value: str) -> str:
        return f" {value.casefold().replace(chr(39), ' ' + chr(39) + ' ')} "

    expected = {spaced(p) for p in phrases if spaced(p) in spaced(text)}
    assert {spaced(phrases[i]) for i in Phrases(phrases).found(text)} == expected


def test_part_of_a_word_is_no_match() -> None:
    assert Phrases(["cat", "red bird", "bird."]).found("A Red Bird, concatenated birds") == [1]


def test_rare_queries_keep_all_their_rows_and_frequent_ones_about_the_cap() -> None:
    texts: list[str | None] = ["a dog"] * 1000 + ["an axolotl"] * 30 + ["nothing", None]
    found = kept(texts, queries=["dog", "axolotl"], cap=100)
    captions = found.column("caption").to_pylist()
    assert captions.count("an axolotl") == 30
    assert 70 < captions.count("a dog") < 130
    assert len(captions) == captions.count("a dog") + 30


def test_a_row_is_kept_if_any_of_its_queries_lets_it_pass() -> None:
    texts: list[str | None] = ["dog cat"] * 2000
    found = kept(texts, queries=["dog", "cat"], cap=600)
    assert found.column("sampling_probability").to_pylist() == pytest.approx([1 - 0.7**2] * len(found))
    assert len(found) / 2000 == pytest.approx(0.51, abs=0.05)


def test_a_rare_query_saves_a_row_of_a_frequent_one() -> None:
    texts: list[str | None] = ["dog"] * 99 + ["dog with an axolotl"]
    for seed in range(5):
        assert "00099" in kept(texts, queries=["dog", "axolotl"], cap=1, seed=seed).column("key").to_pylist()


def test_another_seed_keeps_other_rows_and_the_order_of_the_queries_does_not_matter() -> None:
    texts: list[str | None] = ["dog cat"] * 50
    one, same, other = (
        kept(texts, queries=queries, cap=10, seed=seed).column("key").to_pylist()
        for queries, seed in ((["dog", "cat"], 0), (["cat", "dog"], 0), (["dog", "cat"], 1))
    )
    assert one == same != other


@pytest.mark.parametrize(("name", "content"), [("q.txt", "dog\ncat\n"), ("q.json", '["dog", "cat"]')])
def test_queries_come_from_a_file_whose_content_decides(name: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    operator = SampleBalance(queries=str(path), cap=10)
    assert operator(pairs(["dog"] * 5 + ["tree"])).num_rows == 5
    before = operator.ingredients()
    path.write_text(content.replace("cat", "cow"))
    assert operator.ingredients() != before


def test_probabilities_are_numbers_from_zero_to_one() -> None:
    texts: list[str | None] = [" ".join(np.random.default_rng(i).choice(list("abcde"), 3)) for i in range(60)]
    found = kept(texts, queries=list("abcde"), cap=5).column("sampling_probability").to_numpy()
    assert 0 < found.min() <= found.max() <= 1
