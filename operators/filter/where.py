"""A SQL condition over the row's columns."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import Field

from reinforced.batch import Batch
from reinforced.errors import RequestError, nearest
from reinforced.operator import Filter, Verdicts

if TYPE_CHECKING:
    import duckdb


_REFUSED = {"SUBQUERY", "STAR", "WINDOW"}


class FilterWhere(Filter):
    """Keeps rows for which a DuckDB expression over their columns is true.

    Drops rows where it is false (reason `where`) or null (reason `null`). The expression sees one row at a time, no
    file and no network: aggregates, windows, subqueries and functions such as random() or now() are refused. A row on
    which it cannot be evaluated, such as a failing cast, fails.
    """

    examples: ClassVar = ({"sql": "width > 64 AND label_name != 'cat'"},)

    sql: Annotated[str, Field(min_length=1, description="The condition, such as width > 64 AND label_name != 'cat'.")]

    _connection: Any = None

    def inputs(self) -> pa.Schema:
        """Return the columns that the expression names; their null type stands for any."""
        return pa.schema([pa.field(name, pa.null()) for name in _columns(self.sql)])

    def check(self, available: pa.Schema) -> None:
        """Compile the expression against the columns; raises RequestError where it does not fit them."""
        import duckdb

        names = _columns(self.sql)
        for name in names:
            if name not in available.names:
                raise RequestError(f"sql names column '{name}', which is not there{nearest(name, available.names)}")
        try:
            with _connect() as connection:
                empty = connection.from_arrow(available.empty_table().select(names))
                found = str(empty.select(duckdb.SQLExpression(self.sql)).types[0])
                if found == "BOOLEAN":
                    empty.filter(duckdb.SQLExpression(self.sql))  # refuses what makes several rows of one
        except duckdb.Error as error:
            raise RequestError(f"sql: {self.sql}: {error}") from error
        if found != "BOOLEAN":
            raise RequestError(f"sql: {self.sql}: gives {found}; write a condition that is true or false")

    def setup(self) -> None:
        """Open the database that evaluates the expression."""
        self._connection = _connect()

    def judge(self, batch: Batch) -> Verdicts:
        """Evaluate the expression on every row."""
        import duckdb

        rows = self._connection.from_arrow(batch.table.select(_columns(self.sql)))
        values = rows.select(duckdb.SQLExpression(self.sql)).fetchall()
        return Verdicts([None if kept else "null" if kept is None else "where" for (kept,) in values])


def _connect() -> duckdb.DuckDBPyConnection:
    import duckdb

    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": "1",
        "enable_external_access": "false",
        "lock_configuration": "true",
    }
    return duckdb.connect(config=config)


@functools.cache
def _columns(sql: str) -> list[str]:
    """Return the columns that an expression names, in order; raises RequestError if it looks beyond one row."""
    with _connect() as connection:
        parse = "SELECT json_serialize_sql(?)"
        parsed = json.loads(connection.execute(parse, [f"SELECT 1 WHERE (\n{sql}\n)"]).fetchall()[0][0])
        far = (
            "SELECT function_name FROM duckdb_functions() "
            "WHERE stability IN ('VOLATILE', 'CONSISTENT_WITHIN_QUERY') OR function_type = 'aggregate'"
        )
        refused = {name for (name,) in connection.execute(far).fetchall()} | _REFUSED
    if parsed["error"]:
        raise RequestError(f"sql: {sql}: {parsed['error_message']}")
    found = list(_names(parsed["statements"][0]["node"]["where_clause"], frozenset()))
    for kind, name in found:
        if kind != "column" and name in refused:
            raise RequestError(f"sql: {sql}: uses {name}; only the row's own values, by name, may decide")
    names = list(dict.fromkeys(name for kind, name in found if kind == "column"))
    if not names:
        raise RequestError(f"sql: {sql}: names no column, so all rows would share one fate")
    return names


def _names(node: Any, bound: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yield the columns and functions of DuckDB's syntax tree; `bound` are the parameters of lambdas around it."""
    if isinstance(node, list):
        for child in node:
            yield from _names(child, bound)
    if not isinstance(node, dict):
        return
    match node.get("class"):
        case "COLUMN_REF":
            if node["column_names"][0] not in bound:
                yield "column", node["column_names"][0]
        case "SUBQUERY" | "STAR" | "WINDOW" as syntax:
            yield "syntax", syntax
        case "FUNCTION":
            yield "function", node["function_name"].lower()
        case "LAMBDA":
            bound |= {name for _, name in _names(node["lhs"], frozenset())}
    for child in node.values():
        yield from _names(child, bound)
