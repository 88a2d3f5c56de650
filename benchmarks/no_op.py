"""Shards that hold one row each, and a stage that does nothing to them: what remains is the cost of scheduling."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Annotated

import pyarrow as pa
from pydantic import Field

from reinforced.run import run
from reinforced import columns
from reinforced.engine import Stage, make_engine
from reinforced.operator import Resources, ShardSpec, Source
from reinforced.plan import Plan
from reinforced.plan import plan as make_plan
from reinforced.record import Record
from reinforced.segment import Done


class OneRowShards(Source):
    """Makes shards of one row, without an image."""

    shard_count: Annotated[int, Field(gt=0, description="Number of shards.")] = 2000

    def columns(self) -> pa.Schema:
        """Return the key alone."""
        return columns.resolve(["key"])

    def shards(self) -> Iterator[ShardSpec]:
        """Yield a number a shard."""
        return ({"number": number} for number in range(self.shard_count))

    def read(self, shard: ShardSpec) -> pa.Table:
        """Return the one row."""
        return pa.table([[f"{shard['number']:05d}"]], schema=self.columns())


def same(done: Done) -> Done:
    """Do nothing to a shard."""
    return done


def seconds_of_map(plan: Plan, engine_name: str, workers: int, shards: int) -> float:
    """Time the shards through a stage that does nothing, with the engine and its workers already up."""
    stage = Stage(same, Resources(), "no-op")
    with make_engine(engine_name, plan, workers, None) as engine:
        list(engine.map([stage], [Done(Record(f"{i:05d}", {})) for i in range(10)]))
        start = time.perf_counter()
        come_out = sum(1 for _ in engine.map([stage], [Done(Record(f"{i:05d}", {})) for i in range(shards)]))
        seconds = time.perf_counter() - start
    assert come_out == shards
    return seconds


def seconds_of_run(plan: Plan, engine_name: str, workers: int) -> float:
    """Time a whole run over the shards, each written, recorded and checked; without the start of Ray."""
    if engine_name == "ray":
        import ray

        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="error")
    return run(plan, engine=engine_name, workers=workers).wall_s


def main(task: str, engine_name: str, shards: str, workers: str, out: str) -> None:
    """Print the seconds of one measurement as JSON."""
    source = {"op": "no_op.OneRowShards", "shard_count": int(shards)}
    plan = make_plan({"name": "no-op", "out": f"{out}/no-op", "source": source})
    if task == "map":
        seconds = seconds_of_map(plan, engine_name, int(workers), int(shards))
    else:
        seconds = seconds_of_run(plan, engine_name, int(workers))
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
