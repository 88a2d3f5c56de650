"""Timing and reporting that all benchmarks share."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One measured number; `ratio` is how many times better than the baseline it is."""

    metric: str
    value: float
    unit: str
    baseline: float | None = None
    ratio: float | None = None
    target: str = ""
    """What it should be, for the reader of the table."""


def alternate(contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Return the median of each contestant's measurements, taken in turns: A B C, A B C, …

    What else the machine is doing then falls on all of them alike.
    """
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for round_number in range(rounds):
        for name, measure in contestants.items():
            taken[name].append(measure())
            sys.stderr.write(f"{name}, round {round_number + 1} of {rounds}: {taken[name][-1]:.3f}\n")
    return {name: statistics.median(values) for name, values in taken.items()}


def times_better(metric: str, ratio: float, target: str = "") -> Metric:
    """Return the metric of a comparison: 1 is parity, more is better."""
    return Metric(metric, ratio, "times", 1.0, ratio, target)


def report(title: str, metrics: Sequence[Metric], as_json: bool) -> None:
    """Print a table, or with `as_json` one object a line."""
    if as_json:
        for metric in metrics:
            fields = ("metric", "value", "baseline", "ratio", "unit")
            print(json.dumps({name: getattr(metric, name) for name in fields}))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", title=title)
    for heading in ("value", "unit", "baseline", "ratio", "target"):
        table.add_column(heading, justify="right")
    for metric in metrics:
        numbers = (metric.value, metric.unit, metric.baseline, metric.ratio, metric.target)
        table.add_row(metric.metric, *(f"{n:.4g}" if isinstance(n, float) else str(n or "") for n in numbers))
    Console().print(table)
