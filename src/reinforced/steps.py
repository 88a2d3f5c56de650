"""Apply a step to a batch: a row that makes an operator raise costs that row alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from reinforced import columns
from reinforced.batch import Batch
from reinforced.errors import RowErrors, RunError
from reinforced.flow import MEASURED
from reinforced.images import ImageError, measure
from reinforced.ledger import DROPPED, FAILED, LedgerPiece
from reinforced.operator import Filter, Generator, Global, Operator, Transform
from reinforced.pipeline import Step
from reinforced.plan import Plan

Result = TypeVar("Result")
Rows = tuple[Batch, list[int]]
"""A batch and the number of each of its rows in the ledger piece."""

_READY: dict[tuple[Any, ...], Operator] = {}


def ready(plan: Plan, step: Step) -> Any:
    """Set an operator up once per worker process: the driver holds parameters, the worker holds state."""
    tuning = [getattr(step.operator, name) for name in sorted(step.operator.tuning)]
    identity = (plan.identities[step.name], *tuning)
    if identity not in _READY:
        operator = step.operator.model_copy(deep=True)
        operator.setup()
        _READY[identity] = operator
    return _READY[identity]


class StepRunner:
    """Applies steps to batches, writing every row's fate into the ledger piece."""

    def __init__(self, plan: Plan, piece: LedgerPiece) -> None:
        self.plan, self.piece = plan, piece
        self.seconds: dict[str, float] = {}
        self.wide: dict[str, list[tuple[list[int], pa.Table]]] = {}
        """Tables that are not one row a row, by step: draws of a reinforcement, sketches; with the rows they are of."""

    @contextmanager
    def timed(self, step: Step) -> Iterator[None]:
        """Add the time spent inside to the step's."""
        start = time.perf_counter()
        yield
        self.seconds[step.name] = self.seconds.get(step.name, 0.0) + time.perf_counter() - start

    def apply(self, step: Step, batch: Batch, rows: list[int]) -> Rows:
        """Run a step over a batch and return the rows that remain, with their new columns."""
        if isinstance(step.operator, Global):
            with self.timed(step):
                self._sketch(step, batch, rows)
            return batch, rows
        self.piece.count(step.name, len(rows))
        with self.timed(step):
            batch, rows, errors = self._decodable(step, batch, rows)
            self._fail(step, errors)
            return self._apply(step, batch, rows) if rows else (batch, rows)

    def _apply(self, step: Step, batch: Batch, rows: list[int]) -> Rows:
        operator = ready(self.plan, step)
        call = {Filter.kind: "judge", Generator.kind: "generate", Transform.kind: "transform"}[operator.kind]
        result, good, errors = guarded(getattr(operator, call), batch)
        self._fail(step, {rows[i]: error for i, error in errors.items()})
        batch, rows = batch.take(good), [rows[i] for i in good]
        if not rows:
            return batch, rows
        if isinstance(operator, Filter):
            scores = result.scores if result.scores is not None else [None] * len(rows)
            pictures = result.pictures if result.pictures is not None else [None] * len(rows)
            for row, reason, score, picture in zip(rows, result.reasons, scores, pictures, strict=True):
                if reason is not None:
                    self.piece.remove(row, DROPPED, step.name, reason, score)
                    if picture is not None:
                        self.piece.show(row, picture)
            keep = [i for i, reason in enumerate(result.reasons) if reason is None]
            return batch.take(keep), [rows[i] for i in keep]
        if isinstance(operator, Generator):
            return self._generated(step, result, rows)
        schema = operator.outputs()
        if operator.rows_per_sample is None:
            return batch.with_columns(result, schema), rows
        assert all(len(result[name]) == len(rows) * operator.rows_per_sample for name in schema.names)
        table = pa.table([pa.array(result[f.name], f.type) for f in schema], schema=schema)
        self.wide.setdefault(step.name, []).append((rows, table))
        return batch, rows

    def _generated(self, step: Step, table: pa.Table, parents: list[int]) -> Rows:
        made = np.bincount(table.column("_parent").to_numpy(), minlength=len(parents))
        for row, count in zip(parents, made.tolist(), strict=True):
            self.piece.made(row, step.name, count)
        batch = Batch(table.drop_columns([n for n in ("_parent", *MEASURED) if n in table.column_names]))
        added, errors = measured(batch)
        assert not any(errors), f"{step.name} made an image that cannot be read: {errors}"
        return batch.with_columns(added, columns.resolve(added)), self.piece.enter(batch.keys, step.name)

    def _sketch(self, step: Step, batch: Batch, rows: list[int]) -> None:
        """Sketch a batch; rows that cannot be sketched carry their error to the reduction, which fails them."""
        operator = ready(self.plan, step)
        part, numbers, failed = self._decodable(step, batch, rows)
        result, good, errors = guarded(operator.sketch, part) if numbers else ({}, [], {})
        failed |= {numbers[i]: error for i, error in errors.items()}
        schema = operator.sketch_schema()
        values = {f.name: pa.array(result[f.name] if good else [], f.type) for f in schema}
        place = {numbers[i]: j for j, i in enumerate(good)}
        table = pa.table(values, schema=schema).take(pa.array([place.get(row) for row in rows], pa.int64()))
        table = table.append_column("_error", pa.array([failed.get(row) for row in rows], pa.string()))
        self.wide.setdefault(step.name, []).append((rows, table))

    def _decodable(self, step: Step, batch: Batch, rows: list[int]) -> tuple[Batch, list[int], dict[int, str]]:
        """Split off the rows whose image cannot be decoded, where the step needs pixels."""
        if "pixels" not in step.operator.reads:
            return batch, rows, {}
        if step.operator.whole_shard:
            errors = {rows[i]: str(error) for i, error in batch.undecodable().items()}
        else:
            decoded = batch.decoded()
            errors = {row: str(e) for row, e in zip(rows, decoded, strict=True) if isinstance(e, ImageError)}
        good = [i for i, row in enumerate(rows) if row not in errors]
        return batch.take(good), [rows[i] for i in good], errors

    def _fail(self, step: Step, errors: dict[int, str]) -> None:
        for row, error in errors.items():
            self.piece.remove(row, FAILED, step.name, error)


def guarded(call: Callable[[Batch], Result], batch: Batch) -> tuple[Result | Any, list[int], dict[int, str]]:
    """Call an operator on a batch; if it raises, find the rows at fault and call it on the others.

    An operator that knows the rows at fault raises RowErrors; one that finds that the run must stop raises RunError.
    Returns: the result, the rows it is of, and the error of each other row.
    """
    try:
        return call(batch), list(range(len(batch))), {}
    except RunError:
        raise
    except RowErrors as error:
        errors = error.reasons
    except Exception as error:  # whatever a row does to an operator costs that row, not the run
        errors = _culprits(call, batch, list(range(len(batch))), error)
    good = [i for i in range(len(batch)) if i not in errors]
    try:
        return (call(batch.take(good)) if good else None), good, errors
    except Exception as error:  # the rows fail together, though not one by one
        return None, [], errors | dict.fromkeys(good, _say(error))


def _culprits(call: Callable[[Batch], object], batch: Batch, rows: list[int], error: Exception) -> dict[int, str]:
    """Halve the rows until those that make the call raise stand alone."""
    if len(rows) == 1:
        return {rows[0]: _say(error)}
    found: dict[int, str] = {}
    for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
        try:
            call(batch.take(half))
        except Exception as inner:  # as above
            found |= _culprits(call, batch, half, inner)
    return found


def _say(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:500]}"


def measured(batch: Batch) -> tuple[dict[str, list[Any]], list[str | None]]:
    """Return width, height and SHA-256 of the batch's images where it lacks them, and the rows' errors."""
    names = batch.table.column_names
    if "image" not in names:
        return {}, [None] * len(batch)
    import hashlib

    found: dict[str, list[Any]] = {name: [] for name in MEASURED}
    errors: list[str | None] = []
    for image in batch.table.column("image"):
        data = image.as_py()
        width, height, error = None, None, None
        try:
            if data is None:
                raise ImageError("the row has no image")
            width, height = measure(data)
        except ImageError as unreadable:
            error = str(unreadable)
        errors.append(error)
        found["width"].append(width)
        found["height"].append(height)
        found["sha256"].append(hashlib.sha256(data).hexdigest() if data is not None else None)
    return {name: values for name, values in found.items() if name not in names}, errors
