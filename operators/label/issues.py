"""Wrong labels, found by confident learning."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from reinforced import columns
from reinforced.batch import Batch
from reinforced.operator import Columns, Global

if TYPE_CHECKING:
    import duckdb


class LabelIssues(Global):
    """Says of each label whether it is probably wrong, by confident learning over the teachers' probabilities.

    `label.teacher` stores the probabilities; they mean something only of teachers that did not learn from these very
    labels. Works through cleanlab (Northcutt et al. 2021, *Confident Learning*; extra `labels`). `filter.where` with
    `NOT label_issue` then drops, `label_quality` ranks. Rows without a label have neither.
    """

    layer: ClassVar = "label_issues"
    reads: ClassVar = ("label", "teacher_classes", "teacher_probabilities")
    writes: ClassVar = ("label_issue", "label_quality")
    examples: ClassVar = ()

    classes: Annotated[int | None, Field(ge=2, description="Number of classes; default: as many as occur.")] = None

    def check(self, available: pa.Schema) -> None:
        """Refuse an installation without cleanlab."""
        assert "label" in available.names
        if importlib.util.find_spec("cleanlab") is None:
            raise ValueError(
                "confident learning needs cleanlab, which is not installed: pip install 'reinforced[labels]'"
            )

    def sketch_schema(self) -> pa.Schema:
        """Return label, classes and probabilities."""
        return columns.resolve(self.reads)

    def sketch(self, batch: Batch) -> Columns:
        """Return the columns as they are."""
        return {name: batch.table.column(name) for name in self.sketch_schema().names}

    def reduce(self, sketches: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        """Look at all labelled rows at once."""
        rows = sketches.filter("label IS NOT NULL").order("key").to_arrow_table()
        labels = rows.column("label").to_numpy()
        issues, quality = (np.empty(0, bool), np.empty(0)) if not len(rows) else _judged(labels, self._dense(rows))
        found = pa.table(
            {"key": rows.column("key"), "label_issue": issues, "label_quality": quality.astype(np.float32)}
        )
        result = sketches.query(
            "sketches",
            "SELECT shard, row, NULL::VARCHAR AS reason, NULL::DOUBLE AS score, label_issue, label_quality "
            "FROM sketches JOIN found USING (key)",
        )
        assert result is not None and len(found) == len(rows)
        return result

    def _dense(self, rows: pa.Table) -> Any:
        """Return float64 (rows, classes); what is not listed shares the rest. Raises: ValueError for other classes."""
        listed, shares = (rows.column(name).combine_chunks() for name in ("teacher_classes", "teacher_probabilities"))
        places, values = (array.flatten().to_numpy(zero_copy_only=False) for array in (listed, shares))
        lengths = listed.value_lengths().to_numpy()
        last = int(max(places.max(initial=-1), rows.column("label").to_numpy().max()))
        count = self.classes or max(2, last + 1)
        if last >= count:
            raise ValueError(f"label.issues: there is a class {last}, but classes is {count}")
        of = np.repeat(np.arange(len(rows)), lengths)
        rest = 1 - np.bincount(of, values, len(rows))
        dense = np.repeat((rest.clip(0) / np.maximum(count - lengths, 1))[:, None], count, axis=1)
        dense[of, places] = values
        return dense / dense.sum(1, keepdims=True)


def _judged(labels: Any, probabilities: Any) -> tuple[Any, Any]:
    """Return whether each label is an issue, and its quality."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    return (
        find_label_issues(labels, probabilities, n_jobs=1),
        get_label_quality_scores(labels, probabilities, method="self_confidence"),
    )
