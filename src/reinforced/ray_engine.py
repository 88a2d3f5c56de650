"""The Ray engine: segments are map stages of a Ray Data pipeline over shard records; rows never cross the scheduler.

Ray's order, retries and checkpoints are not relied on: every shard commits by itself, and shards that did not come back
are sent again.
"""

from __future__ import annotations

import functools
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, cast

from reinforced.engine import Engine, Stage
from reinforced.errors import RequestError, RunError
from reinforced.operator import Resources
from reinforced.plan import Plan
from reinforced.record import Record, read_records
from reinforced.segment import Done
from reinforced.storage import Storage

ROUNDS = 5
"""How often shards that were lost with their node are sent again before the run stops."""


class RayEngine(Engine):
    """Runs on this machine's local Ray, or on the cluster at `address`; segments overlap, each with its own workers."""

    def __init__(self, plan: Plan, workers: int | None, address: str | None) -> None:
        self.plan, self.workers, self.address = plan, workers, address
        self.started = False
        self.total: dict[str, float] = {}

    def __enter__(self) -> Engine:
        return self

    def _start(self) -> None:
        """Connect at the first stage that has something to do."""
        import logging

        import ray

        if not ray.is_initialized():
            quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "include_dashboard": False}
            try:
                ray.init(self.address, **(quiet if self.address is None else {"logging_level": logging.ERROR}))
            except (ConnectionError, ValueError) as error:
                where = self.address or "this machine"
                raise RequestError(f"no Ray at {where}: {error}; start one with: ray start --head") from None
            self.started = True
        self.total = ray.cluster_resources()  # type: ignore[no-untyped-call]
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.enable_rich_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        for segment in self.plan.segments:
            self._check(segment.resources, ", ".join(step.name for step in segment.steps) or self.plan.source.name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.started:
            import ray

            ray.shutdown()

    def map(self, stages: Sequence[Stage], shards: Sequence[Done]) -> Iterator[Done]:
        """Stream the shards through all stages at once; stages later in the line start when the first shard arrives."""
        if not self.total:
            self._start()
        waiting = {done.record.shard: done for done in shards}
        for attempt in range(1, ROUNDS + 1):
            try:
                for done in self._stream(stages, list(waiting.values())):
                    if waiting.pop(done.record.shard, None) is not None:  # a retried block may give a shard twice
                        yield done
            except (RunError, RequestError):
                raise
            except Exception as error:  # Ray's errors for lost workers and nodes have no class in common
                if attempt == ROUNDS:
                    raise RunError(
                        f"Ray gave up on {len(waiting)} shards: {_last_line(error)}. What was done is kept"
                    ) from error
            if not waiting:
                return
            committed = read_records(Storage(self.plan.out), self.plan.name)
            waiting = {name: Done(committed.get(name, done.record)) for name, done in waiting.items()}
        raise RunError(f"shards {', '.join(sorted(waiting)[:5])} did not come back from Ray. What was done is kept")

    def _stream(self, stages: Sequence[Stage], shards: Sequence[Done]) -> Iterator[Done]:
        import ray

        blocks = min(len(shards), max(200, 16 * int(self.total.get("CPU", 1))))
        data: ray.data.Dataset = ray.data.from_items([_pack(done) for done in shards], override_num_blocks=blocks)
        for stage, (least, most) in zip(stages, self._pools(stages, len(shards)), strict=True):
            needs, packed = stage.resources, ray.cloudpickle.dumps(stage)  # type: ignore[no-untyped-call]
            wants: dict[str, Any] = {
                "num_cpus": needs.cpus,
                "num_gpus": needs.gpus or None,
                "memory": needs.memory_bytes,
            }
            if stage.stateful:
                pool = ray.data.ActorPoolStrategy(min_size=least, max_size=most)
                data = data.map(
                    cast(Any, _Worker), fn_constructor_args=(stage.title, packed, sys.path), compute=pool, **wants
                )
            else:
                data = data.map(
                    _task(stage.title, packed, sys.path), compute=ray.data.TaskPoolStrategy(size=most), **wants
                )
        for row in data.iter_rows():
            if row["error"]:
                raise RunError(f"{row['error']}. What was done is kept")
            yield _unpack(row)

    def _pools(self, stages: Sequence[Stage], shards: int) -> list[tuple[int, int]]:
        """Size the stages' actor pools so that the least of each fits the cluster at the same time.

        Without this a pool can wait for ever for cores that another one holds. Raises: RequestError if they cannot fit.
        """
        pools = []
        for stage in stages:
            asked = stage.resources.workers
            least, most = (
                asked if isinstance(asked, tuple) else (asked or 1, asked or self.workers or self._fitting(stage))
            )
            if self.workers is not None:
                least, most = min(least, self.workers), min(most, self.workers) if asked else self.workers
            pools.append((max(1, min(least, shards)), max(1, min(most, shards))))
        for name, have in (("CPU", self.total.get("CPU", 0.0)), ("GPU", self.total.get("GPU", 0.0))):
            each = [s.resources.cpus if name == "CPU" else s.resources.gpus for s in stages]
            need = sum(amount * least for amount, (least, _) in zip(each, pools, strict=True))
            if need > have + 1e-6:
                who = "; ".join(f"{s.title}: {p[0]} x {a:g}" for s, p, a in zip(stages, pools, each, strict=True) if a)
                raise RequestError(
                    f"the segments need {need:g} {name}s at the same time ({who}), the cluster has {have:g}: set "
                    "resources workers or cpus lower, or add nodes"
                )
            spare = have - need
            pools = [
                (least, min(most, least + int(spare // amount)) if amount else most)
                for amount, (least, most) in zip(each, pools, strict=True)
            ]
        return pools

    def _fitting(self, stage: Stage) -> int:
        needs = stage.resources
        by_cpu = self.total.get("CPU", 1.0) / needs.cpus
        return max(1, math.floor(min(by_cpu, self.total.get("GPU", 0.0) / needs.gpus) if needs.gpus else by_cpu))

    def _check(self, needs: Resources, who: str) -> None:
        have = {"CPU": self.total.get("CPU", 0.0), "GPU": self.total.get("GPU", 0.0)}
        for name, need in (("CPU", needs.cpus), ("GPU", needs.gpus)):
            if need > have[name]:
                raise RequestError(
                    f"{who} needs {need:g} {name}s a worker, the Ray cluster has {have[name]:g} in all; set "
                    f"resources.{name.lower()}s lower, or add a node that has them"
                )


class _Worker:
    """The one generic Ray worker: it is given a stage, which carries its operators as plain instances."""

    def __init__(self, title: str, packed: bytes, path: list[str]) -> None:
        self.work = _task(title, packed, path)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return self.work(row)


def _task(title: str, packed: bytes, path: list[str]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a stage as a function on packed shards; errors come back as values: a retry would meet them too."""

    def work(row: dict[str, Any]) -> dict[str, Any]:
        if row["error"]:
            return row
        shard = _unpack(row)
        try:
            return _pack(_stage(packed, tuple(path)).function(shard))
        except Exception as error:
            return row | {"error": f"shard {shard.record.shard} at {title}: {type(error).__name__}: {error}"}

    return work


@functools.lru_cache(maxsize=16)
def _stage(packed: bytes, path: tuple[str, ...]) -> Stage:
    """Unpack a stage once per process, after the folders are known in which the driver finds a user's operators."""
    import pyarrow as pa
    from ray import cloudpickle

    sys.path.extend(p for p in path if p not in sys.path)
    stage: Stage = cloudpickle.loads(packed)
    pa.set_cpu_count(max(1, int(stage.resources.cpus)))
    return stage


def _pack(done: Done) -> dict[str, Any]:
    return {"record": done.record.dump(), "seconds": json.dumps(done.seconds), "worked": done.worked, "error": ""}


def _unpack(row: dict[str, Any]) -> Done:
    return Done(Record.parse(row["record"]), json.loads(row["seconds"]), row["worked"])


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
