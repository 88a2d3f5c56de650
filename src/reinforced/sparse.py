"""Sparse probabilities: the most probable classes and their shares in whole steps that always add up.

A distribution is stored as counts of 1/steps: of the second class, the third and so on, and of all classes that are
not listed (the tail); the first class has what is left. Counts are rounded together (largest remainder), so they sum to
`steps` exactly: nothing is ever renormalized, and the total variation distance to the original is at most
(top_k + 1) / (4 * steps) for any distribution whatever.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_STEPS = 65_535
_UNIT = 1 << 40

Floats = npt.NDArray[np.float32]
Classes = npt.NDArray[np.uint16]
Shares = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class SparseProbabilities:
    """Decoded rows: `classes` (rows, k) and their `probabilities` (rows, k), most probable first; `tail` (rows,)."""

    classes: Classes
    probabilities: Floats
    tail: Floats


def steps_for(top_k: int, precision: float) -> int:
    """Return the least number of steps that keeps the total variation distance within `precision`.

    Raises: ValueError when 16 bits cannot hold that many.
    """
    steps = max(1, math.ceil((top_k + 1) / (4 * precision)))
    if steps > MAX_STEPS:
        finest = (top_k + 1) / (4 * MAX_STEPS)
        raise ValueError(
            f"precision {precision:g} is too fine for top_k {top_k}: use {finest:.2g} or more, or fewer classes"
        )
    return steps


def encode(probabilities: npt.NDArray[Any], top_k: int, steps: int) -> tuple[Classes, Shares]:
    """Round distributions (rows, classes) to their `top_k` most probable classes and shares in `steps`.

    Returns: classes (rows, top_k), the lower index first among equals; shares (rows, top_k): ranks 2 to top_k, then the
    tail. A row is taken relative to its own sum, which may be off by rounding. Raises: ValueError for a top_k outside
    the classes, and for values that are no probabilities.
    """
    count = probabilities.shape[1]
    if not 1 <= top_k <= count <= MAX_STEPS + 1:
        raise ValueError(
            f"top_k {top_k} of {count} classes: it must be from 1 to the number of classes (at most 65,536)"
        )
    if not (np.all(probabilities >= 0) and np.all(np.abs(probabilities.sum(axis=1, dtype=np.float64) - 1) < 1e-3)):
        raise ValueError("probabilities must be finite, not negative, and sum to 1 within 0.001")
    units = _units(probabilities)
    classes = np.argsort(-units, axis=1, kind="stable")[:, :top_k]
    ranked = np.take_along_axis(units, classes, 1)
    tail = units.sum(axis=1, keepdims=True) - ranked.sum(axis=1, keepdims=True)
    return classes.astype(np.uint16), _shares(ranked, tail, steps)


def encode_sparse(
    classes: npt.NDArray[Any], probabilities: npt.NDArray[Any], steps: int, of: int
) -> tuple[Classes, Shares]:
    """Round distributions of which `k` of `of` classes are known: classes and probabilities (rows, k), in any order.

    The tail is 1 - their sum, at least 0, and 0 where all classes are listed; otherwise as `encode`, whose return it
    has. Raises: ValueError for a class that is not below `of` or listed twice, for values that are no probabilities,
    and for a sum over 1 (off 1, where all classes are listed) by more than 0.001.
    """
    everything = classes.shape[1] == of
    if classes.size and not (classes.min() >= 0 and classes.max() < of <= MAX_STEPS + 1):
        raise ValueError(f"classes {classes.min()} to {classes.max()} of {of}: they must be from 0 to {of - 1}")
    if np.any(np.diff(np.sort(classes, axis=1), axis=1) == 0):
        raise ValueError("a class is listed twice")
    over = probabilities.sum(axis=1, dtype=np.float64) - 1
    if not (np.all(probabilities >= 0) and np.all((np.abs(over) if everything else over) < 1e-3)):
        raise ValueError("probabilities must be finite, not negative, and sum to 1 at most, within 0.001")
    units = _units(probabilities)
    order = np.lexsort((classes, -units))
    ranked = np.take_along_axis(units, order, 1)
    tail = np.maximum(0, (0 if everything else _UNIT) - ranked.sum(axis=1, keepdims=True))
    return np.take_along_axis(classes, order, 1).astype(np.uint16), _shares(ranked, tail, steps)


def _units(probabilities: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    # Integers from here on: their sums do not depend on the order in which a machine adds.
    return np.rint(probabilities.astype(np.float64) * _UNIT).astype(np.int64)


def _shares(ranked: npt.NDArray[np.int64], tail: npt.NDArray[np.int64], steps: int) -> Shares:
    """Round parts (rows, k) and the tail (rows, 1) to whole steps by largest remainder; drops the first, as stored."""
    parts = np.concatenate([ranked, tail], axis=1)
    shares, remainder = np.divmod(parts * steps, parts.sum(axis=1, keepdims=True))
    place = np.argsort(np.argsort(-remainder, axis=1, kind="stable"), axis=1)
    shares += place < steps - shares.sum(axis=1, keepdims=True)
    return shares[:, 1:].astype(np.uint16)


def encode_all(batches: Iterable[npt.NDArray[Any]], top_k: int, steps: int) -> tuple[Classes, Shares]:
    """Encode batches of distributions one after the other, into the rows of one result; see `encode`."""
    none = np.empty((0, top_k), np.uint16)
    parts = [(none, none), *(encode(probabilities, top_k, steps) for probabilities in batches)]
    classes, shares = (np.concatenate(part) for part in zip(*parts, strict=True))
    return classes, shares


def tabulate(classes: Classes) -> tuple[list[Classes], Classes]:
    """Write the classes of each image's draws (images, draws, top_k) as places in a table of the image's own.

    Returns: for each image the classes that occur, most frequent first (of equals the lower index), and the places,
    of the input's shape. An image's draws agree on few classes, so that places take half the space of classes.
    """
    tables, places = [], np.empty_like(classes)
    for image, listed in enumerate(classes):
        found, inverse, counts = np.unique(listed, return_inverse=True, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        rank = np.empty(len(order), np.uint16)
        rank[order] = np.arange(len(order))
        tables.append(found[order])
        places[image] = rank[inverse].reshape(listed.shape)
    return tables, places


def decode(classes: Classes, shares: Shares, steps: int) -> SparseProbabilities:
    """Turn stored rows back into probabilities; the first class has what the others leave.

    Raises: ValueError when shares add up to more than `steps`: the rows were not written with it.
    """
    rest = steps - shares.sum(axis=1, dtype=np.int64)
    if len(rest) and rest.min() < 0:
        raise ValueError(f"shares add up to more than their {steps} steps: the layer is damaged")
    counts = np.concatenate([rest[:, None], shares[:, :-1]], axis=1)
    scale = np.float32(steps)
    return SparseProbabilities(classes, counts.astype(np.float32) / scale, shares[:, -1].astype(np.float32) / scale)


def with_labels(
    sparse: SparseProbabilities, rows: npt.NDArray[np.int64], labels: npt.NDArray[Any]
) -> SparseProbabilities:
    """Return the distributions with those of some rows replaced: all probability is the label's, the tail is 0.

    The label comes first, then other classes that were listed: a row goes on listing different ones.
    """
    classes, probabilities, tail = sparse.classes.copy(), sparse.probabilities.copy(), sparse.tail.copy()
    others = classes[rows]
    order = np.argsort(others == labels[:, None], axis=1, kind="stable")[:, :-1]
    classes[rows] = np.concatenate([labels[:, None], np.take_along_axis(others, order, 1)], axis=1)
    probabilities[rows], tail[rows] = 0, 0
    probabilities[rows, 0] = 1
    return SparseProbabilities(classes, probabilities, tail)


def densify(
    sparse: SparseProbabilities, classes: int, *, spread_tail: bool = True, out: Floats | None = None
) -> Floats:
    """Expand to float32 (rows, classes); the tail is spread evenly over the classes that are not listed.

    With `spread_tail` off they are zero and a row sums to 1 - tail. `out` is a buffer to fill, which saves the time of
    allocating one. Nothing is renormalized.
    """
    rows, top_k = sparse.classes.shape
    dense = np.empty((rows, classes), np.float32) if out is None else out
    dense[...] = (sparse.tail / np.float32(max(1, classes - top_k)))[:, None] if spread_tail else 0
    flat = sparse.classes + np.arange(0, rows * classes, classes, dtype=np.int64)[:, None]
    dense.reshape(-1)[flat] = sparse.probabilities
    return dense
