"""Write a layer file, always in the same way, so that the same rows give the same bytes whoever writes them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reinforced.memory import row_bytes
from reinforced.mixing import PARTNER
from reinforced.operator import Operator, Transform
from reinforced.plan import FORMAT, Plan
from reinforced.storage import Storage, Written

ROWS_PER_GROUP = 1024
GROUP_BYTES = 1 << 20
"""Of a row group of several draws, before it is encoded."""


def draws_of(plan: Plan, layer: str) -> int | None:
    """Return how many rows a layer has for each sample, None for one."""
    operator = plan.writer(layer).operator
    return operator.rows_per_sample if isinstance(operator, Transform) else None


def with_partners(draws: pa.Table, homes: npt.NDArray[np.int64]) -> pa.Table:
    """Return draws whose partners, given as places, are the rows `homes[place]`."""
    place = draws.schema.get_field_index(PARTNER)
    partner = draws.column(PARTNER).combine_chunks()
    moved = homes[partner.fill_null(0).to_numpy().astype(np.int64)] if len(homes) else np.zeros(len(partner), np.int64)
    found = pa.array(moved, mask=partner.is_null().to_numpy(zero_copy_only=False)).cast(partner.type)
    return draws.set_column(place, draws.schema.field(place), found)


def kept_rows(table: pa.Table, alive: npt.NDArray[np.bool_], draws: int | None) -> pa.Table:
    """Return a layer's table without some rows of its shard; in a layer of draws the others are numbered anew."""
    table = table.filter(pa.array(np.tile(alive, draws or 1)))
    if draws is None:
        return table
    row = pa.array(np.tile(np.arange(int(alive.sum())), draws), pa.uint32())
    place = table.schema.get_field_index("row")
    table = table.set_column(place, table.schema.field(place), row)
    return with_partners(table, np.cumsum(alive) - 1) if PARTNER in table.column_names else table


def rows_of_draws(samples: int, draws: int, row_bytes: int = 0) -> int:
    """Return the rows of a row group in a layer of draws: whole draws, few; docs/format.md has the measurements.

    A reader of one draw decodes its row group and parses a footer that grows with the number of row groups: of many
    draws, more go into one, but not of rows so wide that decoding them costs more than the footer.
    """
    most = GROUP_BYTES // max(1, samples * row_bytes)
    return max(1, samples) * max(1, min(most, max(4 * ROWS_PER_GROUP // max(1, samples), math.isqrt(draws) // 2)))


def describe(layer: str, operator: Operator) -> dict[str, str]:
    """Return a layer's Parquet metadata: what a reader must know, as the operator says once it is set up."""
    said = {f"reinforced.{name}": value for name, value in operator.metadata().items()}
    return {"reinforced.layer": layer, "reinforced.format": str(FORMAT)} | said


def write_layer(plan: Plan, layer: str, path: str, table: pa.Table) -> Written:
    """Write a layer's rows, metadata included, to a path of the dataset."""
    operator = plan.writer(layer).operator
    group = ROWS_PER_GROUP
    if draws := draws_of(plan, layer):
        group = rows_of_draws(table.num_rows // draws, draws, row_bytes(table.schema))
    options = {"row_group_size": group} | operator.parquet
    return Storage(plan.out).write_table(path, table, **options)
