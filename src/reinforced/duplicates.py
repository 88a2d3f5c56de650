"""What operators that drop near-duplicates share: rows in order of preference, clusters of them, and verdicts."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reinforced.hamming import Places
from reinforced.operator import Global

if TYPE_CHECKING:
    import duckdb


class NearDuplicates(Global):
    """A global step that keeps one row of each cluster of near-duplicates: the first in its order of preference."""

    prefer: ClassVar[tuple[str, ...]]
    """Columns of the sketch of which more is better, the most important first; then the smallest key."""

    @abstractmethod
    def cluster(self, sketches: pa.Table) -> tuple[Places, npt.NDArray[np.floating[Any]]]:
        """Return for each row the first row of its cluster, and how far it is from that one.

        sketches: the columns of the sketch but those of `prefer`, in order of preference, without nulls.
        """

    def reduce(self, sketches: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        """Return the rows of clusters of two or more: all but the first with the reason to drop them."""
        values = [name for name in self.sketch_schema().names if name not in self.prefer]
        order = ", ".join([*(f"{name} DESC" for name in self.prefer), "key"])
        there = " AND ".join(f"{name} IS NOT NULL" for name in values)
        sketches.query(
            "sketches",
            f"CREATE TEMP TABLE ranked AS SELECT row_number() OVER (ORDER BY {order}) - 1 AS place, * "
            f"FROM sketches WHERE {there}",
        )
        ordered = rows_of(sketches, f"SELECT {', '.join(values)} FROM ranked ORDER BY place").to_arrow_table()
        first, distance = self.cluster(ordered)
        shared = np.flatnonzero(np.bincount(first, minlength=len(first))[first] > 1)
        found = pa.table({"place": shared, "first": first[shared], "distance": distance[shared].astype(np.float64)})
        cluster, far = self.outputs().names
        result = sketches.query(  # here, where DuckDB sees `found`
            "sketches",
            f"""
            SELECT r.shard, r.row, CASE WHEN found.place <> found.first
                THEN 'near-duplicate: ' || kept.key || ' is kept' END AS reason,
                CASE WHEN found.place <> found.first THEN found.distance END AS score,
                kept.key AS {cluster}, found.distance AS {far}
            FROM found JOIN ranked r USING (place) JOIN ranked kept ON kept.place = found.first
            """,
        )
        assert result is not None and found.num_rows == len(shared)
        return result


def rows_of(sketches: duckdb.DuckDBPyRelation, query: str) -> duckdb.DuckDBPyRelation:
    """Return the rows of a query on the sketches, which it calls `sketches`."""
    found = sketches.query("sketches", query)
    assert found is not None, "the query returns no rows"
    return found
