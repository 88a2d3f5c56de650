"""The order of filters that costs least: what a run measured of them, turned into advice for the next one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from reinforced.operator import Filter
from reinforced.pipeline import Step
from reinforced.record import StepCounts

WORTH = 0.2
"""Share of the filters' time that another order must save to be worth words."""


@dataclass(frozen=True)
class Order:
    """Filters in an order that takes about `saved` of their time less than the one they had."""

    steps: tuple[str, ...]
    saved: float

    def __str__(self) -> str:
        return f"cheaper in this order, by about {self.saved:.0%} of these filters' time: {', '.join(self.steps)}"


def cheaper_orders(
    steps: Sequence[Step], counts: Mapping[str, StepCounts], seconds: Mapping[str, float]
) -> Iterator[Order]:
    """Yield a better order for each run of neighbouring filters that has one.

    Filters judge every row alone, so their order decides the time and the reason that a row is dropped for, but never
    which rows are kept. Best is rising seconds a row / share dropped, as far as what one filter drops says nothing of
    the next. The order of a pipeline is not changed under way: times differ from run to run, the ledger must not.
    """
    for is_filter, run in groupby(steps, lambda step: isinstance(step.operator, Filter)):
        names = [step.name for step in run]
        if not is_filter or len(names) < 2 or any(not seconds.get(n) or not counts[n].rows_in for n in names):
            continue
        cost = {n: seconds[n] / counts[n].rows_in for n in names}
        dropped = {n: counts[n].dropped / counts[n].rows_in for n in names}
        best = sorted(names, key=lambda n: cost[n] / dropped[n] if dropped[n] else float("inf"))
        before, after = (_time(order, cost, dropped) for order in (names, best))
        if before - after >= WORTH * before:
            yield Order(tuple(best), 1 - after / before)


def _time(order: Sequence[str], cost: Mapping[str, float], dropped: Mapping[str, float]) -> float:
    """Return the seconds that a row takes on average."""
    total, left = 0.0, 1.0
    for name in order:
        total += left * cost[name]
        left *= 1 - dropped[name]
    return total
