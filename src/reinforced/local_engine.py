"""The embedded engine: one stage after the other, in a pool of worker processes on this machine's cores.

Workers are fresh interpreters that talk over a socket each, so that it is known which shard a worker died with, nothing
of the caller's process is copied, and a script that calls `run` needs no `if __name__ == "__main__"`.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from socket import socketpair
from types import TracebackType

from reinforced.engine import Engine, Stage
from reinforced.errors import RequestError, RunError
from reinforced.operator import Resources
from reinforced.plan import Plan
from reinforced.segment import Done

ATTEMPTS = 3
"""How often a shard may take its worker down with it before the run stops."""


class LocalEngine(Engine):
    """Runs in this process for one shard or one worker, else in worker processes, kept from stage to stage."""

    def __init__(self, plan: Plan, workers: int | None) -> None:
        self.cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.workers = workers
        self.gpus = _gpus() if any(s.resources.gpus for s in plan.segments) else []
        self.pool: list[_Worker] = []
        for segment in plan.segments:
            self._check(segment.resources, ", ".join(step.name for step in segment.steps) or plan.source.name)

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.pool:
            worker.stop()

    def map(self, stages: Sequence[Stage], shards: Sequence[Done]) -> Iterator[Done]:
        """Put all shards through one stage, then through the next."""
        for stage in stages[:-1]:
            shards = list(self._through(stage, shards))
        yield from self._through(stages[-1], shards)

    def _through(self, stage: Stage, shards: Sequence[Done]) -> Iterator[Done]:
        needs = stage.resources
        count = min(self._count(needs), len(shards))
        if count <= 1 and not needs.gpus:
            return map(stage.function, shards)
        devices = self._devices(needs)
        settings = [(needs.cpus, devices[i % len(devices)]) for i in range(count)]
        for worker in self.pool[count:]:
            worker.stop()
        old = dict(enumerate(self.pool[:count]))
        self.pool = [
            old[i] if i in old and (old[i].cpus, old[i].device) == setting else _Worker(*setting)
            for i, setting in enumerate(settings)
        ]
        for worker in old.values():
            if worker not in self.pool:
                worker.stop()
        return _Round(stage, self.pool).map(shards)

    def _check(self, needs: Resources, who: str) -> None:
        if needs.cpus > self.cores:
            raise RequestError(
                f"{who} needs {needs.cpus:g} CPU cores a worker, this machine has {self.cores}; set "
                "resources.cpus lower, or use a Ray cluster: --engine ray --address ADDRESS"
            )
        if needs.gpus > len(self.gpus):
            raise RequestError(
                f"{who} needs {needs.gpus:g} GPUs a worker, this machine has {len(self.gpus)}; set "
                "resources.gpus=0 to run it on CPU cores, or use a Ray cluster with GPUs"
            )

    def _count(self, needs: Resources) -> int:
        """Return the number of workers: what the step or the caller asks for, else as many as fit."""
        fitting = int(len(self.gpus) / needs.gpus) if needs.gpus else max(1, int(self.cores // needs.cpus))
        most = needs.workers[1] if isinstance(needs.workers, tuple) else needs.workers
        asked = [n for n in (self.workers, most) if n is not None]
        return min([*asked, fitting]) if needs.gpus or not asked else min(asked)

    def _devices(self, needs: Resources) -> list[str]:
        """Return the GPUs of each worker in turn, as CUDA names them; a fraction shares one."""
        if not needs.gpus:
            return [""]
        each = max(1, int(needs.gpus))
        groups = [self.gpus[i : i + each] for i in range(0, len(self.gpus) - each + 1, each)]
        return [",".join(group) for group in groups]


def _gpus() -> list[str]:
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
    return names[: torch.cuda.device_count()]


class _Worker:
    """A worker process and the shard it has."""

    def __init__(self, cpus: float, device: str) -> None:
        self.cpus, self.device = cpus, device
        self.shard: Done | None = None
        self.stage: Stage | None = None
        ours, theirs = socketpair()
        threads = str(max(1, int(cpus)))
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
        environment = os.environ | limits | {"PYTHONPATH": os.pathsep.join(p or str(Path.cwd()) for p in sys.path)}
        if device:
            environment["CUDA_VISIBLE_DEVICES"] = device
        command = [sys.executable, "-m", "reinforced.worker", str(theirs.fileno()), threads]
        self.process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=environment, start_new_session=True
        )
        theirs.close()
        self.connection = Connection(ours.detach())

    def give(self, stage: Stage, shard: Done) -> None:
        """Send the worker a shard, and the stage if it is another than before."""
        self.shard = shard
        # A worker that has just died is found out when its answer is waited for.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send((stage.function if self.stage is not stage else None, shard))
        self.stage = stage

    def take(self) -> Done | str | None:
        """Return the worker's answer: the shard, the text of its error, or None if it died."""
        try:
            return self.connection.recv()  # type: ignore[no-any-return]
        except (EOFError, ConnectionResetError):
            return None

    def stop(self) -> int:
        """End the worker at once and return how it ended; what it had not committed is made again."""
        self.connection.close()
        if self.process.poll() is None:
            self.process.kill()
        return self.process.wait()


class _Round:
    """One stage over all shards."""

    def __init__(self, stage: Stage, pool: list[_Worker]) -> None:
        self.stage, self.pool = stage, pool
        self.deaths: dict[str, int] = {}

    def map(self, shards: Sequence[Done]) -> Iterator[Done]:
        """Keep every worker busy until all shards are through."""
        todo = deque(shards)
        busy = []
        for worker in self.pool[: len(todo)]:
            worker.give(self.stage, todo.popleft())
            busy.append(worker)
        while busy:
            for connection in wait([worker.connection for worker in busy]):
                worker = next(w for w in busy if w.connection is connection)
                busy.remove(worker)
                answer = worker.take()
                assert worker.shard is not None
                if answer is None:
                    todo.appendleft(worker.shard)
                    worker = self._replace(worker)
                elif isinstance(answer, str):
                    assert worker.shard is not None
                    name = worker.shard.record.shard
                    raise RunError(f"shard {name} at {self.stage.title}: {answer}. What was done is kept")
                if todo:
                    worker.give(self.stage, todo.popleft())
                    busy.append(worker)
                if isinstance(answer, Done):
                    yield answer

    def _replace(self, worker: _Worker) -> _Worker:
        """Start a new worker for one that died, unless the same shard has been the death of several."""
        assert worker.shard is not None
        name, code = worker.shard.record.shard, worker.stop()
        self.deaths[name] = self.deaths.get(name, 0) + 1
        if self.deaths[name] >= ATTEMPTS:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise RunError(
                f"shard {name} took its worker down {ATTEMPTS} times at {self.stage.title} ({how}); out of memory is "
                "the usual cause: use fewer workers or smaller shards. What was done is kept"
            )
        place = self.pool.index(worker)
        self.pool[place] = _Worker(worker.cpus, worker.device)
        return self.pool[place]
