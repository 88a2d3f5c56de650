from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from reinforced.operators.filter.top import FilterTop

TABLE = pa.table(
    {
        "key": list("abcdefgh"),
        "score": [0.1, 0.9, 0.5, 0.5, None, float("nan"), 0.3, 0.2],
        "part": ["x", "x", "y", "y", "x", "x", "y", None],
    }
)


def kept(**parameters: Any) -> str:
    operator = FilterTop(column="score", **parameters)
    operator.check(TABLE.schema)
    return "".join(operator(TABLE).column("key").to_pylist())


def test_the_best_share_of_the_rows_with_a_value_stays_and_equal_ones_go_by_key() -> None:
    assert kept(share=0.3) == "bc"
    assert kept(share=1.0) == "abcdgh"
    assert kept(count=3) == "bcd"


def test_every_group_keeps_its_own_best() -> None:
    assert kept(count=1, per="part") == "bc"
    assert kept(count=9, per="part") == "abcdg"


def test_a_share_means_exactly_that_many_rows() -> None:
    rows = pa.table({"key": [f"{i:03d}" for i in range(100)], "score": range(100)})
    assert len(FilterTop(column="score", share=0.07)(rows)) == 7


def test_one_way_to_say_how_many() -> None:
    with pytest.raises(ValueError, match="either share or count"):
        FilterTop(column="score", share=0.5, count=1)
    with pytest.raises(ValueError, match="'key' is string"):
        FilterTop(column="key", count=1).check(TABLE.schema)
