"""Labels out of embeddings: label.cluster, label.nearest_mean, label.knn_agreement."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from reinforced.operators.label.cluster import LabelCluster
from reinforced.operators.label.knn_agreement import LabelKnnAgreement
from reinforced.operators.label.nearest_mean import LabelNearestMean

ROWS = 300
DIGITS = load_digits()
PIXELS = DIGITS.data[:ROWS] / 16
LABELS = DIGITS.target[:ROWS]


def table(vectors: Any = PIXELS, labels: Any = LABELS) -> pa.Table:
    flat = pa.array(np.asarray(vectors, np.float32).ravel())
    return pa.table(
        {
            "key": [f"{i:04d}" for i in range(len(labels))],
            "embedding": pa.FixedSizeListArray.from_arrays(flat, np.shape(vectors)[1]),
            "label": pa.array(labels, pa.int32()),
        }
    )


def test_clusters_of_digits_are_mostly_one_digit_each_and_the_same_every_time() -> None:
    pytest.importorskip("faiss")
    operator = LabelCluster(embedding="embedding", clusters=15, seed=3)
    found = operator(table().drop_columns(["label"]))
    clusters = found.column("cluster").to_numpy()
    purity = sum(np.bincount(LABELS[clusters == c]).max() for c in np.unique(clusters)) / ROWS
    assert purity > 0.7
    assert found.column("cluster_cosine").to_numpy().min() > 0
    order = np.random.default_rng(0).permutation(ROWS)
    again = operator(table().take(order)).column("cluster").to_numpy()
    assert np.array_equal(again, clusters[order])


def test_the_nearest_mean_finds_most_digits_and_leaves_the_row_itself_out() -> None:
    found = LabelNearestMean(embedding="embedding")(table())
    unit = PIXELS / np.linalg.norm(PIXELS, axis=1, keepdims=True)
    expected = []
    for i in range(ROWS):
        others = np.arange(ROWS) != i
        means = np.stack([unit[(c == LABELS) & others].mean(0) for c in range(10)])
        expected.append(int((means @ unit[i] / np.linalg.norm(means, axis=1)).argmax()))
    labels = found.column("nearest_mean_label").to_numpy()
    assert (labels == expected).mean() > 0.99  # embeddings are kept in half precision
    assert 0.8 < (labels == LABELS).mean() < 1


def test_a_class_with_one_row_is_not_its_own_nearest_mean() -> None:
    vectors = [[1.0, 0.0], [0.9, 0.1], [0.8, 0.2]]
    found = LabelNearestMean(embedding="embedding")(table(vectors, [7, 2, None]))
    assert found.column("nearest_mean_label").to_pylist() == [2, 7, 2]


def test_agreement_is_the_share_of_the_nearest_other_rows_with_the_same_label() -> None:
    found = LabelKnnAgreement(embedding="embedding", neighbours=5)(table())
    near = NearestNeighbors(n_neighbors=6, metric="cosine").fit(PIXELS).kneighbors(return_distance=False)[:, :5]
    expected = (LABELS[near] == LABELS[:, None]).mean(1)
    shares = found.column("knn_agreement").to_numpy()
    assert (np.abs(shares - expected) < 1e-6).mean() > 0.97  # near ties turn in half precision
    assert (found.column("knn_label").to_numpy() == LABELS).mean() > 0.9


def test_a_wrong_label_has_the_lowest_agreement() -> None:
    labels = LABELS.copy()
    labels[[5, 50, 200]] = (labels[[5, 50, 200]] + 5) % 10
    shares = LabelKnnAgreement(embedding="embedding")(table(labels=labels)).column("knn_agreement").to_numpy()
    assert shares[[5, 50, 200]].max() < 0.3 < np.median(shares)


def test_rows_without_a_label_are_asked_about_and_are_no_neighbours() -> None:
    vectors = [[1.0, 0.0], [1.0, 0.01], [0.0, 1.0]]
    found = LabelKnnAgreement(embedding="embedding", neighbours=1)(table(vectors, [None, 4, 6]))
    assert found.column("knn_label").to_pylist() == [4, 6, 4]
    assert found.column("knn_agreement").to_pylist() == [None, 0, 0]


def test_a_dataset_without_labels_gets_none() -> None:
    for operator in (LabelKnnAgreement(embedding="embedding"), LabelNearestMean(embedding="embedding")):
        found = operator(table([[1.0, 0.0], [0.0, 1.0]], [None, None]))
        assert found.column(operator.outputs().names[0]).to_pylist() == [None, None]
