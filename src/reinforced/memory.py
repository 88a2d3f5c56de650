"""Whether what a step makes of one shard fits into a worker's memory, found out before anything starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from reinforced.errors import RequestError
from reinforced.operator import Source, Transform

if TYPE_CHECKING:
    from reinforced.pipeline import Step
    from reinforced.plan import Plan

COPIES = 3
"""How often a shard's draws are in memory at once: as made, put in order, and encoded to be written."""


def within_memory(plan: Plan) -> Plan:
    """Return the plan if the draws of one shard fit into a worker's memory, where the source says how long shards are.

    The memory is `resources.memory`, or all that this machine has. Raises: RequestError with the numbers.
    """
    source = plan.source.operator
    assert isinstance(source, Source)
    rows = source.most_rows()
    for step in plan.steps:
        drawn = isinstance(step.operator, Transform) and step.operator.rows_per_sample is not None
        if drawn and rows is not None:
            check_memory(step, rows)
    return plan


def check_memory(step: Step, rows: int) -> None:
    """Raise RequestError if the draws of a shard of so many rows are more than a worker's memory holds."""
    import psutil

    operator = step.operator
    assert isinstance(operator, Transform) and operator.rows_per_sample is not None
    stated = operator.resources.memory_bytes
    memory = stated or psutil.virtual_memory().total
    each = row_bytes(operator.outputs())
    needed = COPIES * rows * operator.rows_per_sample * each
    if needed > memory:
        what = "resources.memory" if stated else "this machine's memory"
        raise RequestError(
            f"{step.at}: {step.name}: {operator.rows_per_sample:,} draws of {rows:,} rows a shard at {each} bytes each "
            f"take about {_gib(needed)} while a shard is made, more than the {_gib(memory)} of {what}; lower draws or "
            "top_k, make shards smaller (shard_rows of the source), or put the draws into several steps (first_draw)"
        )


def row_bytes(schema: pa.Schema) -> int:
    """Return what a row of columns takes in memory; of lists of any length only where they begin is counted."""
    return sum(_bytes(field.type) for field in schema)


def _bytes(kind: pa.DataType) -> int:
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * _bytes(kind.value_type)
    return max(1, kind.bit_width // 8) if pa.types.is_primitive(kind) else 4


def _gib(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB"
