from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reinforced.operators.pair.triplets import PairTriplets

Relation = tuple[str, str, str]
RELATIONS = st.lists(
    st.lists(st.tuples(st.sampled_from("mwc"), st.just("on"), st.sampled_from("hbsk")), max_size=3), max_size=14
)


def mine(rows: list[list[Relation]], **parameters: Any) -> list[dict[str, Any]]:
    operator = PairTriplets(**{"min_images": 2, "most_per_image": 9} | parameters)
    (field,) = operator.inputs()
    table = pa.table({"key": [f"{i:02d}" for i in range(len(rows))], "relations": pa.array(rows, field.type)})
    return operator(table).to_pylist()  # type: ignore[no-any-return]


MAN_HORSE, MAN_BENCH = ("man", "riding", "horse"), ("man", "on", "bench")
ROWS = [[MAN_HORSE], [MAN_BENCH], [("dog", "beside", "horse")], [("cat", "under", "bench")]]


def test_the_target_shares_the_subject_and_the_distractor_only_the_object() -> None:
    first, second, *rest = mine(ROWS)
    assert first["triplet_subjects"] == second["triplet_subjects"] == ["man"]
    assert (first["triplet_conditions"], first["triplet_targets"], first["triplet_distractors"]) == (
        ["on bench"],
        ["01"],
        ["03"],
    )
    assert (second["triplet_conditions"], second["triplet_distractors"]) == (["riding horse"], ["02"])
    assert [row["triplet_targets"] for row in rest] == [None, None]


def test_a_subject_of_few_images_gives_no_triplets() -> None:
    assert all(row["triplet_targets"] is None for row in mine(ROWS, min_images=3))


def test_words_that_cannot_be_seen_are_left_out(tmp_path: Path) -> None:
    ratings = tmp_path / "ratings.csv"
    ratings.write_text("Word,Bigram,Conc.M\nman,0,4.9\nhorse,0,5\nbench,0,4.9\ndog,0,4.85\ncat,0,4.86\nlove,0,2.1\n")
    rows = [*ROWS, [("man", "in", "love")], [("boy", "on", "horse")]]
    found = mine(rows, concreteness=str(ratings))
    assert [row["triplet_conditions"] for row in found[:2]] == [["on bench"], ["riding horse"]]
    assert [row["triplet_targets"] for row in found[2:]] == [None] * 4
    assert found[1]["triplet_distractors"] == ["02"]  # the boy is not rated
    assert all(row["triplet_targets"] is None for row in mine(rows, concreteness=str(ratings), min_concreteness=4.99))


def test_ratings_without_the_named_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("word;rating\n")
    with pytest.raises(ValueError, match=r"no column \['Conc.M', 'Word'\]"):
        mine(ROWS, concreteness=str(tmp_path / "ratings.csv"))


def test_references_of_a_frequent_subject_get_different_targets() -> None:
    rows = [[("man", "at", f"thing {i % 20}")] for i in range(60)] + [[("cat", "at", f"thing {i}")] for i in range(20)]
    found = mine(rows)[:60]
    targets = [row["triplet_targets"][0] for row in found if row["triplet_targets"]]
    assert len(targets) == 60
    assert len(set(targets)) > 25


@settings(deadline=None, max_examples=15)
@given(RELATIONS)
def test_every_triplet_is_what_it_says_and_mining_ends(rows: list[list[Relation]]) -> None:
    shown = {f"{i:02d}": {(s, o) for s, _, o in row} for i, row in enumerate(rows)}
    for row in mine(rows):
        columns = ("triplet_subjects", "triplet_conditions", "triplet_targets", "triplet_distractors")
        for subject, condition, target, distractor in zip(*(row[name] or [] for name in columns), strict=True):
            thing = condition.removeprefix("on ")
            assert (subject, thing) in shown[target]
            assert thing not in {o for _, o in shown[row["key"]]}
            assert any(s == subject and o for s, o in shown[row["key"]])
            assert thing in {o for _, o in shown[distractor]}
            assert subject not in {s for s, _ in shown[distractor]}
            assert len({row["key"], target, distractor}) == 3
