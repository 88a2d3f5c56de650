from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from reinforced.errors import RequestError
from reinforced.operators.sample.nested import SampleNested
from reinforced.operators.sample.weights import SampleWeights

PARTS = ["web"] * 60 + ["books"] * 30 + ["own"] * 20
TABLE = pa.table({"key": [f"{i:03d}" for i in range(110)], "part": PARTS})


def counts(**parameters: Any) -> Counter[str]:
    return Counter(SampleWeights(column="part", **parameters)(TABLE).column("part").to_pylist())


def test_as_many_rows_are_kept_as_the_scarcest_part_allows() -> None:
    assert counts(weights={"web": 2, "books": 1, "own": 1}) == {"web": 40, "books": 20, "own": 20}
    assert counts(weights={"web": 0.5, "books": 0.5}) == {"web": 30, "books": 30}


def test_a_number_of_rows_in_all_is_shared_out() -> None:
    assert counts(weights={"web": 3, "own": 1}, count=20) == {"web": 15, "own": 5}


def test_a_part_that_is_not_there_is_an_error_and_not_an_empty_dataset() -> None:
    with pytest.raises(RequestError, match="no row has 'wbe' in column 'part'"):
        counts(weights={"web": 1, "wbe": 1})


def test_subsets_are_nested_and_each_is_a_tenth_of_the_one_before() -> None:
    keys = pa.table({"key": [str(i) for i in range(20_000)]})
    found = SampleNested(factor=10)(keys).column("subset").to_numpy()
    sizes = [(found >= k).sum() for k in range(5)]
    assert sizes[0] == 20_000
    assert sizes[1] == pytest.approx(2000, rel=0.1)
    assert sizes[2] == pytest.approx(200, rel=0.3)
    assert sizes[3] > 0 and sizes[4] == 0


def test_a_row_stays_in_its_subsets_when_the_dataset_or_their_number_grows() -> None:
    few = SampleNested(factor=2, subsets=4)(pa.table({"key": ["a", "b", "c"]})).column("subset").to_pylist()
    more = SampleNested(factor=2, subsets=8)(pa.table({"key": ["x", "a", "b", "c"]})).column("subset").to_pylist()
    assert [min(subset, 4) for subset in more[1:]] == few
