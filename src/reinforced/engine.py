"""What runs stages over shards: a pool of this machine's cores, or Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from reinforced.errors import RequestError, nearest
from reinforced.operator import Resources
from reinforced.plan import Plan
from reinforced.segment import Done


@dataclass(frozen=True)
class Stage:
    """A function over shards and what one worker of it needs; the function and what it takes and returns pickle."""

    function: Callable[[Done], Done]
    resources: Resources
    title: str
    stateful: bool = False
    """Whether its workers load models, which they should do once."""


class Engine(Protocol):
    """Runs stages over shards; a shard may be given to a stage again after a worker died."""

    def __enter__(self) -> Engine:
        """Start what is needed."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""

    def map(self, stages: Sequence[Stage], shards: Sequence[Done]) -> Iterator[Done]:
        """Put each shard through the stages in order; yields them as they come out of the last, in any order.

        Raises: RunError if a shard cannot be brought through.
        """


def make_engine(name: str, plan: Plan, workers: int | None, address: str | None) -> Engine:
    """Make an engine that fits the plan. Raises: RequestError if what the plan needs is not there."""
    if workers is not None and workers < 1:
        raise RequestError(f"workers is {workers}; it must be at least 1")
    if name == "local":
        from reinforced.local_engine import LocalEngine

        if address is not None:
            raise RequestError("an address is that of a Ray cluster: add engine ray, or leave it out")
        return LocalEngine(plan, workers)
    if name == "ray":
        from reinforced.ray_engine import RayEngine

        return RayEngine(plan, workers, address)
    raise RequestError(f"engine '{name}' is unknown{nearest(name, ['local', 'ray'])}")
