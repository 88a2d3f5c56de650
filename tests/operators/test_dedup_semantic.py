from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from reinforced.operators.dedup.semantic import DedupSemantic

faiss = pytest.importorskip("faiss")

DIMENSIONS = 16
Vectors = npt.NDArray[np.float32]


def vectors(rows: int, seed: int = 0) -> Vectors:
    """Return unit vectors around twelve centres, some of them nearly the same."""
    numbers = np.random.default_rng(seed)
    found = numbers.normal(size=(12, DIMENSIONS))[numbers.integers(0, 12, rows)] * 2
    found += numbers.normal(size=found.shape)
    for row in numbers.permutation(rows)[: rows // 3]:
        found[row] = found[numbers.integers(rows)] + numbers.normal(scale=0.1, size=DIMENSIONS)
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def table(found: Vectors, type: str = "float32") -> pa.Table:
    flat = pa.array(found.reshape(-1).astype(type))
    rows = len(found)
    return pa.table(
        {
            "key": [f"{i:04d}" for i in range(rows)],
            "embedding": pa.FixedSizeListArray.from_arrays(flat, DIMENSIONS),
            "width": [10] * rows,
            "height": [10] * rows,
        }
    )


def reference(found: Vectors, cluster: npt.NDArray[np.int64], limit: float, farthest: bool) -> set[str]:
    """Return what SemDeDup removes, written as its paper says it: a full matrix for each cluster."""
    removed: set[str] = set()
    for number in np.unique(cluster):
        rows = np.flatnonzero(cluster == number)
        centre = found[rows].mean(0)
        near = found[rows] @ (centre / np.linalg.norm(centre))
        rows = rows[np.argsort(near if farthest else -near, kind="stable")]
        cosines = np.triu(found[rows] @ found[rows].T, 1)
        removed |= {f"{row:04d}" for row in rows[cosines.max(0) > limit]}
    return removed


@pytest.mark.parametrize("keep", ["farthest", "nearest"])
def test_what_is_removed_is_what_the_reference_removes(keep: str) -> None:
    found = vectors(800)
    operator = DedupSemantic(embedding="embedding", clusters=9, min_similarity=0.97, keep=keep)
    everything = DedupSemantic(embedding="embedding", clusters=9, min_similarity=1, keep=keep)(table(found))
    cluster = everything.column("semantic_cluster").to_numpy()
    assert len(everything) == 800 and len(set(cluster.tolist())) == 9
    removed = set(everything.column("key").to_pylist()) - set(operator(table(found)).column("key").to_pylist())
    expected = reference(found, cluster, 0.97, keep == "farthest")
    assert len(expected) > 100
    assert len(removed & expected) >= 0.98 * len(removed | expected)


def test_embeddings_of_half_precision_give_the_same_rows() -> None:
    found = vectors(300)
    operator = DedupSemantic(embedding="embedding", clusters=4)
    assert operator(table(found)).column("key").equals(operator(table(found, "float16")).column("key"))


def test_the_larger_picture_survives_where_asked_and_the_others_name_it() -> None:
    import duckdb

    one = np.ones((3, DIMENSIONS), np.float32)
    rows = table(one).set_column(2, "width", pa.array([10, 30, 20]))
    operator = DedupSemantic(embedding="embedding", clusters=1, keep="largest")
    assert operator(rows).column("key").to_pylist() == ["0001"]
    from reinforced.batch import Batch

    sketch = pa.table({"shard": ["0"] * 3, "row": range(3), "key": rows.column("key")})
    for name, values in operator.sketch(Batch(rows)).items():
        sketch = sketch.append_column(name, pa.array(values))
    with duckdb.connect() as connection:
        found = operator.reduce(connection.from_arrow(sketch)).order("row").fetchall()
    assert [reason for _, _, reason, *_ in found] == [
        "semantic duplicate: like 0001",
        None,
        "semantic duplicate: like 0001",
    ]


def test_the_decision_is_the_same_in_whatever_order_rows_come() -> None:
    whole = table(vectors(400))
    order = np.random.default_rng(3).permutation(400)
    operator = DedupSemantic(embedding="embedding", min_similarity=0.97)
    straight = set(operator(whole).column("key").to_pylist())
    assert straight == set(operator(whole.take(order)).column("key").to_pylist())


def test_a_column_that_holds_no_embeddings_is_refused_before_anything_starts() -> None:
    with pytest.raises(ValueError, match="'embedding' is string; embeddings are fixed-size lists of floats"):
        DedupSemantic(embedding="embedding").check(pa.schema({"embedding": pa.string()}))
