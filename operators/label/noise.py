"""Wrong labels on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Self

import pyarrow as pa
from pydantic import Field, model_validator

from reinforced import columns, counter
from reinforced.batch import Batch
from reinforced.errors import RequestError
from reinforced.operator import Columns, Global

if TYPE_CHECKING:
    import duckdb


class LabelNoise(Global):
    """Adds labels of which exactly a given share is wrong; the true ones stay in `label`.

    With `classes`, noise is symmetric: the share of all rows gets another class, each as probable. With `flips` it is
    asymmetric: the share of each class named gets the class it is mistaken for (Patrini et al. 2017). The share is
    exact but for rounding to whole rows.
    """

    layer: ClassVar = "noisy_labels"
    reads: ClassVar = ("label",)
    writes: ClassVar = ("noisy_label", "label_is_noisy")
    examples: ClassVar = ({"rate": 0.4, "classes": 6}, {"rate": 0.5, "flips": {4: 5}})

    rate: Annotated[float, Field(ge=0, le=1, description="Share of the labels that are wrong.")]
    classes: Annotated[int | None, Field(ge=2, description="Number of classes, for symmetric noise.")] = None
    flips: Annotated[
        dict[int, int] | None, Field(description="Class to the class it is mistaken for, for asymmetric noise.")
    ] = None
    seed: Annotated[int, Field(description="Seed of the noise.")] = 0

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if (self.classes is None) == (self.flips is None):
            raise ValueError("give either classes, for symmetric noise, or flips, for asymmetric noise")
        if same := [c for c, other in (self.flips or {}).items() if c == other]:
            raise ValueError(f"flips turns class {same[0]} into itself, which is no noise")
        return self

    def sketch_schema(self) -> pa.Schema:
        """Return the label and two random words."""
        return pa.schema(
            [columns.column("label", "int32", "Label."), *(columns.column(n, "uint32", "Random.") for n in ("u", "v"))]
        )

    def sketch(self, batch: Batch) -> Columns:
        """Draw two words for every row."""
        words = counter.words(self.seed, "label.noise", batch.keys, [0], 2)[:, 0]
        return {"label": batch.values("label"), "u": words[:, 0], "v": words[:, 1]}

    def reduce(self, sketches: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        """Choose the rows with the smallest words, and give each its wrong label."""
        pairs = self.flips or {}
        flips = pa.table({"label": pa.array(pairs, pa.int32()), "wrong": pa.array(pairs.values(), pa.int32())})
        if self.classes is not None:
            last = sketches.aggregate("max(label)").fetchall()[0][0]
            if last is not None and last >= self.classes:
                raise RequestError(f"label.noise: there is a label {last}, but classes is {self.classes}")
            wrong = f"(label + 1 + (v * {self.classes - 1}::UBIGINT >> 32)) % {self.classes}"
            mistaken = f"SELECT *, 0 AS part, {wrong} AS wrong FROM sketches WHERE label IS NOT NULL"
        else:
            mistaken = "SELECT sketches.*, label AS part, wrong FROM sketches JOIN flips USING (label)"
        found = sketches.query(
            "sketches",
            f"""
            WITH mistaken AS ({mistaken}), chosen AS (
                SELECT shard, row, wrong FROM mistaken
                QUALIFY row_number() OVER (PARTITION BY part ORDER BY u, key)
                    <= round({self.rate!r} * count(*) OVER (PARTITION BY part))
            )
            SELECT shard, row, NULL::VARCHAR AS reason, NULL::DOUBLE AS score,
                coalesce(wrong, label)::INTEGER AS noisy_label, wrong IS NOT NULL AS label_is_noisy
            FROM sketches LEFT JOIN chosen USING (shard, row)
            """,
        )
        assert found is not None and len(flips) == len(pairs)
        return found
