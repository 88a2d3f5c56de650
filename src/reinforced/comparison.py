"""What a comparison of students found, and how it is said; light, for those who only show it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rich.table import Table

Result = dict[str, Any]
HARD, SMOOTHED, REINFORCED = "hard labels", "label smoothing 0.1", "reinforced"


def student_table(result: Result) -> Table:
    """Lay out an evaluation for the terminal: a row an arm and, as a line of honesty, one for the teachers."""
    from rich.table import Table

    table = Table(title=f"{result['student']}, {result['train_images']} images, {result['test_images']} test images")
    corrupted = "corrupted" in result["arms"][0]
    titles = ["trained on", "accuracy", "calibration error", "log loss", "s / epoch"]
    for title in [*titles, *(["accuracy, corrupted", "calibration error, corrupted"] if corrupted else [])]:
        table.add_column(title, justify="left" if title == "trained on" else "right")
    teacher = [{"arm": "the teachers themselves", **result["teacher"]}] if result["teacher"] else []
    for arm in [*result["arms"], *teacher]:
        seconds = f"{arm['seconds_per_epoch']:.2f}" if "seconds_per_epoch" in arm else "–"
        cells = [f"{spread(arm[name], 100)} %" for name in ("accuracy", "ece")]
        style = "bold" if arm["arm"] == REINFORCED else "dim" if arm in teacher else None
        under = [f"{spread(arm['corrupted'][name], 100)} %" for name in ("accuracy", "ece")] if corrupted else []
        table.add_row(arm["arm"], *cells, spread(arm["nll"], digits=3), seconds, *under, style=style)
    table.caption = f"{len(result['arms'][0]['accuracy'])} seeds, mean ± standard deviation; {seen(result)}"
    return table


def by_corruption(result: Result) -> list[tuple[str, list[float]]]:
    """Return for each corruption the accuracy of each arm and the teachers: the mean of severities and seeds, 0 to 1.

    Empty where nothing was corrupted.
    """
    scored = [arm["corrupted"]["each"] for arm in [*result["arms"], result["teacher"]] if arm and "corrupted" in arm]

    def mean(rows: Sequence[Result], name: str) -> float:
        return float(np.mean([row["accuracy"] for row in rows if row["corruption"] == name]))

    names = dict.fromkeys(row["corruption"] for rows in scored for row in rows)
    return [(name, [mean(rows, name) for rows in scored]) for name in names]


def spread(values: Sequence[float], factor: float = 1, digits: int = 1) -> str:
    """Write the mean of some measurements, with their standard deviation where there is more than one."""
    mean = f"{factor * np.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {factor * np.std(values, ddof=1):.{digits}f}"


def seen(result: Result) -> str:
    """Say which images the teachers learned from, as far as anybody stated it."""
    return f"the teachers saw {result['teacher_saw'] or 'images that nobody named'}"
