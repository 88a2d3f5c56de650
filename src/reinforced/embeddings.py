"""Embeddings of a whole dataset, on disk: k-means over them, and the nearest earlier row within each cluster."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as types

from reinforced.hamming import Places

if TYPE_CHECKING:
    import duckdb

Vectors = npt.NDArray[np.floating[Any]]

ROWS = 1 << 14
"""Rows taken into memory at once."""
POINTS = 256
"""Rows per cluster that k-means is trained on; more change its centroids little."""
ITERATIONS = 20


def check(found: pa.Field) -> None:
    """Raise ValueError unless a column holds fixed-size lists of floats."""
    if not (types.is_fixed_size_list(found.type) and types.is_floating(found.type.value_type)):
        raise ValueError(f"column '{found.name}' is {found.type}; embeddings are fixed-size lists of floats")


def need_faiss() -> None:
    """Raise ValueError where k-means cannot run."""
    if importlib.util.find_spec("faiss") is None:
        raise ValueError("k-means needs faiss, which is not installed: pip install 'reinforced[dedup]'")


def units(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    """Return a column of embeddings as float32 (rows, dimensions) of unit length; zeros stay zeros.

    Raises: ValueError for a row without an embedding, or one that is not finite.
    """
    values = column.combine_chunks()
    if values.null_count:
        raise ValueError("the row has no embedding")
    vectors = values.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(values), -1)
    if not np.isfinite(vectors).all():
        raise ValueError("the embedding is not finite")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: npt.NDArray[np.float32] = vectors / np.where(lengths > 0, lengths, 1)
    return scaled


def on_disk(placed: duckdb.DuckDBPyRelation, rows: int, path: Path) -> Vectors:
    """Write (place, embedding as float16 bytes) into a file; returns it as a memory-mapped array in order of place."""
    vectors: Vectors | None = None
    for batch in placed.to_arrow_reader(ROWS):
        raw = batch.column("embedding")
        found = np.frombuffer(b"".join(raw.to_pylist()), np.float16).reshape(len(raw), -1)
        if vectors is None:
            vectors = np.memmap(path, np.float16, "w+", shape=(rows, found.shape[1]))
        vectors[batch.column("place").to_numpy()] = found
    return np.empty((0, 1), np.float16) if vectors is None else vectors


def k_means(vectors: Vectors, clusters: int, seed: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Return each row's spherical k-means cluster and its cosine to the centroid.

    Trained on up to 256 rows a cluster, taken at even steps.
    """
    import faiss

    rows = len(vectors)
    clusters = min(clusters, rows)
    cluster, cosine = np.zeros(rows, np.int32), np.zeros(rows, np.float32)
    if rows == 0:
        return cluster, cosine
    sample = np.linspace(0, rows - 1, min(rows, POINTS * clusters)).astype(np.int64)
    means = faiss.Kmeans(
        vectors.shape[1], clusters, niter=ITERATIONS, seed=seed % 2**31, spherical=True, min_points_per_centroid=1
    )
    means.train(vectors[sample].astype(np.float32))
    for start in range(0, rows, ROWS):
        found, nearest = means.index.search(vectors[start : start + ROWS].astype(np.float32), 1)
        cosine[start : start + ROWS], cluster[start : start + ROWS] = found[:, 0], nearest[:, 0]
    return cluster, cosine


def nearest_before(
    vectors: Vectors, cluster: npt.NDArray[np.int32], order: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float32], Places]:
    """Return each row's largest cosine to a row before it in its cluster, and that row; -1 for the first of a cluster.

    order: rows of a cluster stand in rising order of this; equal ones in that of the rows.
    """
    similarity, like = np.full(len(vectors), -1, np.float32), np.full(len(vectors), -1, np.int64)
    sequence = np.lexsort((order, cluster))
    borders = np.flatnonzero(np.diff(cluster[sequence])) + 1
    for rows in np.split(sequence, borders):
        found = vectors[rows].astype(np.float32)
        for first in range(0, len(rows), step := 1024):
            cosines = found[first : first + step] @ found[: first + step].T
            cosines[np.arange(cosines.shape[1]) >= first + np.arange(len(cosines))[:, None]] = -2
            skip = int(first == 0)  # the first row of all has none before it
            here, best = rows[first : first + step][skip:], cosines.argmax(1)[skip:]
            similarity[here], like[here] = cosines.max(1)[skip:], rows[best]
    return similarity, like
