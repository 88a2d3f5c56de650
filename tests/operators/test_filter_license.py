from __future__ import annotations

import pyarrow as pa
import pytest

from reinforced.batch import Batch
from reinforced.operators.filter.license import FilterLicense

BY = "https://creativecommons.org/licenses/by/2.0/"


def reasons(operator: FilterLicense, rows: list[dict[str, str | None]]) -> list[str | None]:
    table = pa.Table.from_pylist([{"key": str(i), **row} for i, row in enumerate(rows)])
    return list(operator.judge(Batch(table)).reasons)


def row(**changes: str | None) -> dict[str, str | None]:
    return {"license": BY, "author": "A. Photographer", "title": "Boats", "url": "https://example.org/1"} | changes


def test_each_thing_that_an_attribution_lacks_is_the_reason() -> None:
    rows = [
        row(),
        row(title=None),
        row(url=""),
        row(title=None, url="  "),
        row(author=None),
        row(license="CC BY"),
        row(license="CC BY 4.0"),
        row(license=None),
        row(license="all mine"),
        row(license=BY.replace("by", "by-nc")),
    ]
    expected = [None, None, None, "no title or url", "no author", "no license url", None]
    assert reasons(FilterLicense(), rows) == [*expected, "no license", "unknown license", "license: by-nc"]


def test_other_families_are_kept_when_asked_for_and_attribution_can_be_left_out() -> None:
    asked = FilterLicense(families=("by-nc", "cc0"), attribution=False)
    assert asked.inputs().names == ["license"]
    assert reasons(asked, [row(license="CC0", author=None), row(license="by-nc"), row()]) == [None, None, "license: by"]


def test_columns_go_by_other_names() -> None:
    operator = FilterLicense(author="user", title=None, url="page")
    assert reasons(operator, [{"license": BY, "user": "me", "page": "https://example.org"}]) == [None]
    with pytest.raises(ValueError, match="give the column of one in title or url"):
        FilterLicense(title=None, url=None)
