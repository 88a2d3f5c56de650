"""Images of a pool, chosen for each class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import pyarrow as pa
from pydantic import Field

from reinforced import columns
from reinforced.batch import Batch
from reinforced.operator import Columns, Global

if TYPE_CHECKING:
    import duckdb


class LabelSelect(Global):
    """Keeps, of an unlabelled pool, the images that teachers are surest of for each class, and labels them so.

    An image stands for the class that `label.teacher` found most probable. Reasons are `min_probability` and `not among
    the top`, the score is the probability; equal ones go by key. SSLD (Cui et al. 2021) builds its training set so.
    """

    layer: ClassVar = "selected_labels"
    reads: ClassVar = ("teacher_classes", "teacher_probabilities")
    writes: ClassVar = ("selected_label",)
    examples: ClassVar = ({"per_class": 2}, {"per_class": 9, "min_probability": 0.3})

    per_class: Annotated[int, Field(ge=1, description="Images to keep of each class.")]
    min_probability: Annotated[float, Field(ge=0, le=1, description="Probability that an image must have.")] = 0.0

    def sketch_schema(self) -> pa.Schema:
        """Return the most probable class and its probability."""
        return pa.schema([columns.column("label", "int32", "Class."), columns.column("share", "float32", "Its share.")])

    def sketch(self, batch: Batch) -> Columns:
        """Find the most probable class."""
        rows = zip(batch.values("teacher_probabilities"), batch.values("teacher_classes"), strict=True)
        best = [
            max(zip(shares, classes, strict=True), key=lambda pair: (pair[0], -pair[1])) for shares, classes in rows
        ]
        return {"label": [label for _, label in best], "share": [share for share, _ in best]}

    def reduce(self, sketches: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        """Rank the images of every class."""
        found = sketches.query(
            "sketches",
            f"""
            SELECT shard, row, CASE WHEN share < {self.min_probability!r}::FLOAT THEN 'min_probability'
                WHEN row_number() OVER (PARTITION BY label ORDER BY share DESC, key) > {self.per_class}
                THEN 'not among the top' END AS reason, share::DOUBLE AS score, label AS selected_label
            FROM sketches
            """,
        )
        assert found is not None
        return found
