from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from reinforced.columns import resolve
from reinforced.operators.label.issues import LabelIssues

pytest.importorskip("cleanlab")

ROWS = 400
DIGITS = load_digits()
TRUE = DIGITS.target[:ROWS]
WRONG = np.arange(0, ROWS, 10)
GIVEN = TRUE.copy()
GIVEN[WRONG] = (GIVEN[WRONG] + 3) % 10


@pytest.fixture(scope="module")
def shares() -> Any:
    model = LogisticRegression(max_iter=200)
    return cross_val_predict(model, DIGITS.data[:ROWS] / 16, GIVEN, cv=3, method="predict_proba")


def table(shares: Any, labels: Any, top_k: int = 10) -> pa.Table:
    order = np.argsort(-shares, axis=1)[:, :top_k]
    values = {
        "key": [f"{i:04d}" for i in range(len(labels))],
        "label": pa.array(labels, pa.int32()),
        "teacher_classes": pa.array(order.tolist(), pa.list_(pa.int32())),
        "teacher_probabilities": pa.array(np.take_along_axis(shares, order, 1).tolist(), pa.list_(pa.float32())),
    }
    return pa.table(values, schema=resolve(values))


@pytest.mark.parametrize("top_k", [10, 4])
def test_most_wrong_labels_are_found_and_few_right_ones(shares: Any, top_k: int) -> None:
    found = LabelIssues()(table(shares, GIVEN, top_k))
    issues = found.column("label_issue").to_numpy()
    assert issues[WRONG].mean() > 0.8
    assert np.delete(issues, WRONG).mean() < 0.1
    quality = found.column("label_quality").to_numpy()
    assert np.median(quality[WRONG]) < 0.1 < 0.5 < np.median(np.delete(quality, WRONG))


def test_rows_without_a_label_are_not_judged(shares: Any) -> None:
    labels = [None, *GIVEN[1:].tolist()]
    found = LabelIssues()(table(shares, labels))
    assert found.column("label_issue")[0].as_py() is None
    assert found.column("label_issue").null_count == 1


def test_a_label_that_is_no_class_is_an_error(shares: Any) -> None:
    with pytest.raises(ValueError, match="a class 9, but classes is 5"):
        LabelIssues(classes=5)(table(shares, GIVEN))
