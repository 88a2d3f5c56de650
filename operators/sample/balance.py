"""Balance image-text pairs over a list of queries."""

from __future__ import annotations

import json
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import Field, PrivateAttr

from reinforced import columns, counter
from reinforced.batch import Batch
from reinforced.operator import Columns, Global
from reinforced.phrases import Phrases, read_phrases

if TYPE_CHECKING:
    import duckdb


class SampleBalance(Global):
    """Drops rows of frequent queries until each query has about `cap` of them (MetaCLIP, Xu et al. 2024).

    A text matches the queries that it holds as whole words, whatever their case. A query of n rows lets each of them
    pass with probability min(1, cap / n), and a row is kept if any of its queries lets it pass. The layer holds the
    probability of that; the reasons are `no query` and `not sampled`, the score the probability. Run it last.
    """

    layer: ClassVar = "sampling"
    writes: ClassVar = ("sampling_probability",)
    examples: ClassVar = ({"column": "path", "queries": ["png", "jpeg", "folder"], "cap": 2},)

    queries: Annotated[
        tuple[str, ...] | str, Field(min_length=1, description="The queries; or a JSON list or text file, one a line.")
    ]
    cap: Annotated[int, Field(ge=1, description="Rows of a query above which it loses some.")] = 20_000
    column: Annotated[str, Field(description="Column with the texts.")] = "caption"
    seed: Annotated[int, Field(description="Seed of the sampling.")] = 0

    _phrases: Phrases | None = PrivateAttr(None)
    _listed: list[str] = PrivateAttr(default_factory=list)

    def __getstate__(self) -> dict[Any, Any]:
        """Leave the queries' tree behind: each worker grows its own."""
        return super().__getstate__() | {"__pydantic_private__": {"_phrases": None, "_listed": []}}

    def inputs(self) -> pa.Schema:
        """Return the text."""
        return pa.schema([pa.field(self.column, pa.string())])

    def ingredients(self) -> dict[str, str]:
        """Return the digest of a file of queries."""
        return {"queries": f"{counter.hash64(json.dumps(read_phrases(self.queries))):016x}"}

    def setup(self) -> None:
        """Grow the tree of the queries."""
        self._listed = read_phrases(self.queries)
        self._phrases = Phrases(self._listed)

    def sketch_schema(self) -> pa.Schema:
        """Return the matched queries, and a random word for each."""
        return pa.schema(
            [
                columns.column("queries", "list<int32>", "Places of the matched queries in the list."),
                columns.column("words", "list<uint32>", "A random word for each."),
            ]
        )

    def sketch(self, batch: Batch) -> Columns:
        """Match the texts, and draw for every match on its own."""
        assert self._phrases is not None, "setup() comes first"
        matched = [self._phrases.found(text or "") for text in batch.values(self.column)]
        pairs = [f"{key}\n{self._listed[q]}" for key, found in zip(batch.keys, matched, strict=True) for q in found]
        words = counter.words(self.seed, "sample.balance", pairs, [0], 1).ravel().tolist()
        ends = accumulate(map(len, matched), initial=0)
        return {"queries": matched, "words": [words[start:end] for start, end in pairwise(ends)]}

    def reduce(self, sketches: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        """Count the rows of every query, and let each decide."""
        found = sketches.query(
            "sketches",
            f"""
            WITH pairs AS (SELECT shard, row, unnest(queries) AS query, unnest(words) AS word FROM sketches),
            passing AS (SELECT query, least(1, {self.cap} / count(*)) AS p FROM pairs GROUP BY query),
            chances AS (
                SELECT shard, row, bool_or(word < p * 4294967296) AS kept, 1 - product(1 - p ORDER BY p) AS probability
                FROM pairs JOIN passing USING (query) GROUP BY shard, row
            )
            SELECT shard, row,
                CASE WHEN kept IS NULL THEN 'no query' WHEN NOT kept THEN 'not sampled' END AS reason,
                CASE WHEN kept THEN NULL ELSE coalesce(probability, 0) END AS score,
                coalesce(probability, 0)::FLOAT AS sampling_probability
            FROM sketches LEFT JOIN chances USING (shard, row)
            """,
        )
        assert found is not None
        return found
