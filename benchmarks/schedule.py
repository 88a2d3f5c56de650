"""One measurement of scheduling in a process of its own: `python schedule.py map|run ENGINE SHARDS WORKERS FOLDER`."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from no_op import same

import reinforced
from reinforced.engine import Stage, make_engine
from reinforced.operator import Resources
from reinforced.plan import Plan
from reinforced.record import Record
from reinforced.segment import Done


def seconds_of_map(plan: Plan, engine_name: str, workers: int, shards: int) -> float:
    """Time the shards through a stage that does nothing, with the engine and its workers already up."""
    stage = Stage(same, Resources(), "no-op")
    with make_engine(engine_name, plan, workers, None) as engine:
        list(engine.map([stage], [Done(Record(f"{i:05d}", {}, "")) for i in range(10)]))
        start = time.perf_counter()
        come_out = sum(1 for _ in engine.map([stage], [Done(Record(f"{i:05d}", {}, "")) for i in range(shards)]))
        seconds = time.perf_counter() - start
    assert come_out == shards
    return seconds


def seconds_of_run(pipeline: dict[str, Any], engine_name: str, workers: int) -> float:
    """Time a whole run over the shards, each written, recorded and checked; without the start of Ray."""
    if engine_name == "ray":
        import ray

        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    return reinforced.run(pipeline, engine=engine_name, workers=workers).wall_s


def main(task: str, engine_name: str, shards: str, workers: str, out: str) -> None:
    """Print the seconds of one measurement as JSON."""
    source = {"op": "no_op.OneRowShards", "shard_count": int(shards)}
    pipeline = {"name": "no-op", "out": f"{out}/no-op", "source": source}
    if task == "map":
        seconds = seconds_of_map(reinforced.plan(pipeline), engine_name, int(workers), int(shards))
    else:
        seconds = seconds_of_run(pipeline, engine_name, int(workers))
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
