from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from reinforced.batch import Batch
from reinforced.errors import RequestError
from reinforced.operators.filter.where import FilterWhere

TABLE = pa.table(
    {
        "key": ["a", "b", "c", "d"],
        "width": pa.array([10, 100, None, 70], pa.int32()),
        "label_name": ["cat", "dog", "cat", "o'dog"],
        "tags": [["x"], [], ["x", "y"], None],
        "meta": [{"license": "CC0"}, {"license": "by"}, None, {"license": None}],
        "half": pa.array([1.0, 2.0, 3.0, 4.0], pa.float16()),
    }
)


def kept(sql: str) -> list[str]:
    FilterWhere(sql=sql).check(TABLE.schema)
    return FilterWhere(sql=sql)(TABLE).column("key").to_pylist()


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("width > 50", ["b", "d"]),
        ("width > 50 AND label_name != 'dog'", ["d"]),
        ("label_name = 'o''dog' OR width IS NULL", ["c", "d"]),
        ("len(tags) > 0", ["a", "c"]),
        ("meta.license = 'CC0'", ["a"]),
        ("len(list_filter(tags, lambda t: t = 'x')) = 1 -- a lambda's parameter is no column", ["a", "c"]),
        ("regexp_matches(label_name, '^c')", ["a", "c"]),
        ("CASE WHEN width > 50 THEN true ELSE false END", ["b", "d"]),
        ('"width" BETWEEN 10 AND 70', ["a", "d"]),
    ],
)
def test_rows_stay_where_the_condition_is_true(sql: str, expected: list[str]) -> None:
    assert kept(sql) == expected


def test_false_and_null_are_told_apart() -> None:
    operator = FilterWhere(sql="width > 50")
    operator.setup()
    verdicts = operator.judge(Batch(TABLE))
    assert list(verdicts.reasons) == ["where", None, "null", None]


def test_only_the_columns_that_the_condition_names_are_asked_for() -> None:
    operator = FilterWhere(sql="width > 5 AND (meta.license = 'x' OR len([t for t in tags if t = label_name]) > width)")
    assert operator.inputs().names == ["width", "meta", "tags", "label_name"]


def test_columns_that_duckdb_cannot_read_do_no_harm_until_they_are_named() -> None:
    assert TABLE.schema.field("half").type == pa.float16()
    assert kept("width > 50") == ["b", "d"]
    with pytest.raises(RequestError, match="Unsupported"):
        kept("half > 2")


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("widht > 50", "column 'widht', which is not there; did you mean 'width'"),
        ("Width > 50", "column 'Width', which is not there; did you mean 'width'"),
        ("width + 1", "gives INTEGER; write a condition that is true or false"),
        ("label_name", "gives VARCHAR"),
        ("width >", "syntax error"),
        ("width > 1; DROP TABLE x", "syntax error"),
        ("width > 1) OR (true", "syntax error"),
        ("width > 1, width < 3", "(?i)error"),
        ("lable(width) > 1", "lable"),
        ("len(width) > 1", "(?i)no function matches"),
        ("true", "names no column"),
        ("1 = 1", "names no column"),
        ("width > avg(width)", "uses avg"),
        ("width > avg(width) OVER ()", "uses WINDOW"),
        ("width > (SELECT max(width) FROM rows)", "uses SUBQUERY"),
        ("width IN (SELECT 3)", "uses SUBQUERY"),
        ("EXISTS (FROM read_text('/etc/passwd'))", "uses SUBQUERY"),
        ("width > 100 * random()", "uses random"),
        ("label_name = CAST(now() AS VARCHAR)", "uses now"),
        ("label_name < CAST(current_date AS VARCHAR)", "current_date|CURRENT_DATE"),
        ("COLUMNS(*) > 1", "uses STAR"),
        ("unnest(tags) = 'x'", "(?i)unnest"),
    ],
)
def test_a_condition_that_cannot_work_is_refused_before_the_run(sql: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        FilterWhere(sql=sql).check(TABLE.schema)


def test_no_file_and_no_setting_is_within_reach_of_a_condition(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("x")
    operator = FilterWhere(sql="width > 1")
    operator.setup()
    for statement in (
        f"SELECT * FROM read_text('{secret}')",
        f"COPY (SELECT 1) TO '{tmp_path / 'out.csv'}'",
        f"ATTACH '{tmp_path / 'other.db'}'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
    ):
        with pytest.raises(duckdb.Error):
            operator._connection.execute(statement).fetchall()
    assert [file.name for file in tmp_path.iterdir()] == ["secret.txt"]


def test_a_row_on_which_the_condition_fails_raises_and_the_next_batch_still_works() -> None:
    operator = FilterWhere(sql="CAST(label_name AS INTEGER) > 0")
    numbers = TABLE.slice(0, 2).set_column(2, "label_name", pa.array(["1", "0"]))
    operator.setup()
    with pytest.raises(duckdb.ConversionException):
        operator.judge(Batch(TABLE))
    assert list(operator.judge(Batch(numbers)).reasons) == [None, "where"]


def test_order_is_kept_in_large_batches() -> None:
    numbers = pa.table({"key": [str(i) for i in range(50_000)], "n": range(50_000)})
    found = FilterWhere(sql="n % 7 = 3")(numbers).column("n").to_pylist()
    assert found == list(range(3, 50_000, 7))
