"""What a run will take: hours of its teachers and bytes of their layers, from a few images of its own source."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reinforced.batch import Batch
from reinforced.errors import RequestError
from reinforced.images import ImageError
from reinforced.memory import check_memory
from reinforced.operator import Source, Transform

if TYPE_CHECKING:
    from rich.table import Table

    from reinforced.pipeline import Step
    from reinforced.plan import Plan

IMAGES, BATCHES, LONG_S = 16, 4, 30.0
"""A sample: so many images of the first shard, and views of them for so many batches; one, if it takes this long."""


@dataclass(frozen=True)
class Estimate:
    """What one step will take if it meets every row of the source, which is the most there can be."""

    step: str
    rows: int
    rows_known: bool
    """Whether the source says how many rows it has; else every shard is taken to be as long as the first."""
    views: int
    seconds_per_view: float
    device: str
    cpu_hours: float
    gpu_hours: float
    layer_bytes: int


def estimate(plan: Plan) -> list[Estimate]:
    """Run each step that makes draws on a few images, and extrapolate to all rows of the source.

    Reads the source's list and its first shard, and loads the teachers in this process. What earlier steps drop is not
    taken off. Raises: RequestError when the first shard has no image, or a step reads what only another step makes.
    """
    steps = [s for s in plan.steps if isinstance(s.operator, Transform) and s.operator.rows_per_sample is not None]
    if not steps:
        return []
    source = plan.source.operator
    assert isinstance(source, Source)
    shards = list(source.shards())
    table = source.read(shards[0])
    if "_error" in table.column_names:
        table = table.filter(pa.compute.is_null(table.column("_error"))).drop_columns(["_error"])
    counts = [source.rows_of(shard) for shard in shards]
    known = [count for count in counts if count is not None]
    rows = sum(known) + table.num_rows * (len(counts) - len(known))
    sample = _readable(Batch(table))
    if not len(sample):
        raise RequestError(f"{plan.source.at}: the first shard of {plan.source.name} has no image to measure with")
    for step in steps:
        check_memory(step, max([*known, table.num_rows]))
    return [_estimated(step, sample, rows, len(known) == len(counts)) for step in steps]


def _readable(batch: Batch) -> Batch:
    """Return the first images that can be decoded."""
    found: list[int] = []
    for row in range(len(batch)):
        if len(found) == IMAGES:
            break
        if not isinstance(batch.decoded([row])[0], ImageError):
            found.append(row)
    return batch.take(found)


def _estimated(step: Step, sample: Batch, rows: int, known: bool) -> Estimate:
    operator = step.operator
    assert isinstance(operator, Transform) and operator.rows_per_sample is not None
    if lacking := sorted(set(operator.inputs().names) - set(sample.table.column_names)):
        raise RequestError(
            f"{step.at}: {step.name} reads '{lacking[0]}', which another step makes: run that first, then measure this"
        )
    shorter = operator.model_copy(deep=True)
    shorter.setup()
    for batches in (1, BATCHES):  # the first pass warms up
        draws = min(operator.rows_per_sample, -(-batches * _batch_size(operator) // len(sample)))
        shorter = shorter.model_copy(update={"draws": draws})
        began = time.perf_counter()
        made = shorter.apply(sample).table
        seconds = time.perf_counter() - began
        if seconds > LONG_S:
            break
    a_view = seconds / made.num_rows
    views = rows * operator.rows_per_sample
    hours = views * a_view / 3600
    gpus = operator.resources.gpus if _gpu() else 0.0
    return Estimate(
        step=step.name,
        rows=rows,
        rows_known=known,
        views=views,
        seconds_per_view=a_view,
        device=_gpu() if gpus else "cpu",
        cpu_hours=hours * operator.resources.cpus,
        gpu_hours=hours * gpus,
        layer_bytes=_layer_bytes(shorter, made, draws, rows, operator.rows_per_sample),
    )


def _batch_size(operator: Transform) -> int:
    stated = getattr(operator, "batch_size", None)
    return stated if isinstance(stated, int) else 256


def _layer_bytes(operator: Transform, made: pa.Table, draws: int, rows: int, all_draws: int) -> int:
    """Extrapolate the size of the layer: what each image costs once, such as its classes, and what each view costs."""
    images = int(made.num_rows) // draws
    draw = np.tile(np.arange(draws, dtype=np.uint16), images)
    numbers = {"draw": draw, "row": np.repeat(np.arange(images, dtype=np.uint32), draws)}
    table = pa.table({name: pa.array(values) for name, values in numbers.items()} | dict(_columns(made)))
    empty, half, whole = (_written(operator, table.filter(pa.array(draw < most))) for most in (0, draws // 2, draws))
    if draws < 2:
        return round(rows * all_draws * (whole - empty) / images)
    a_view = (whole - half) / (images * (draws - draws // 2))
    once = max(0.0, (whole - empty) / images - a_view * draws)
    return round(rows * (once + a_view * all_draws))


def _columns(table: pa.Table) -> zip[tuple[str, Any]]:
    return zip(table.column_names, table.columns, strict=True)


def _written(operator: Transform, table: pa.Table) -> float:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **operator.parquet)
    return float(buffer.getbuffer().nbytes)


def _gpu() -> str:
    """Return the name of this machine's first GPU, or nothing."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""


def estimates_table(found: list[Estimate]) -> Table:
    """Return the estimates as a table for the terminal."""
    from reinforced.display import table

    heads = ["step", "rows, at most", "views", "ms a view", "on", "CPU-hours", "GPU-hours", "layer"]
    rows = [
        [
            one.step,
            f"{one.rows:,}" + ("" if one.rows_known else " (if every shard is as long as the first)"),
            f"{one.views:,}",
            f"{1000 * one.seconds_per_view:.3g}",
            one.device,
            f"{one.cpu_hours:.3g}",
            f"{one.gpu_hours:.3g}",
            f"about {one.layer_bytes / 1e6:,.3g} MB",
        ]
        for one in found
    ]
    return table("Measured on a few images", heads, rows, right=heads[1:])
