"""What `reinforced teachers probe` found, for people and for machines: a table, JSON, and a plot in one HTML file."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from reinforced.probe import Probed

if TYPE_CHECKING:
    from rich.table import Table

WIDTH, HEIGHT, MARGIN = 720, 420, 60

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body {{ font: 14px system-ui, sans-serif; margin: 2em }} td, th {{ padding: .2em 1em .2em 0; text-align: right }}
td:first-child, th:first-child {{ text-align: left }} .grid {{ stroke: #ddd }} circle {{ fill: #2563eb }}</style>
<h1>{title}</h1>
<p>Accuracy of a linear classifier on each teacher's features, against the time the teacher takes for one image.</p>
{plot}
<table><tr>{heads}</tr>{rows}</table></html>
"""

_HEADS = ("teacher", "linear %", "ECE %", "kNN %", "ECE %", "ms an image", "dimensions", "device")


def probe_table(results: Sequence[Probed]) -> Table:
    """Return the ranking as a table for the terminal."""
    from reinforced.display import table

    return table("", _HEADS, _rows(results), right=_HEADS[1:-1])


def write_probe(results: Sequence[Probed], title: str, folder: str | Path) -> list[Path]:
    """Write `probe.json` and `probe.html` into a folder, made if need be, and return their paths."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    paths = [place / "probe.json", place / "probe.html"]
    paths[0].write_text(json.dumps([asdict(found) for found in results], indent=1) + "\n", encoding="utf-8")
    paths[1].write_text(probe_page(results, title), encoding="utf-8")
    return paths


def probe_page(results: Sequence[Probed], title: str) -> str:
    """Return the ranking as a page that needs no network: a plot of accuracy against cost, and the table."""
    heads = "".join(f"<th>{escape(head)}</th>" for head in _HEADS)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in _rows(results)
    )
    return _PAGE.format(title=escape(title), plot=_plot(results), heads=heads, rows=rows)


def _rows(results: Sequence[Probed]) -> list[list[str]]:
    return [
        [
            found.teacher,
            *(
                f"{100 * value:.1f}"
                for value in (found.linear_accuracy, found.linear_ece, found.knn_accuracy, found.knn_ece)
            ),
            f"{1000 * found.seconds_per_image:.3g}",
            str(found.dimensions),
            found.device,
        ]
        for found in results
    ]


def _plot(results: Sequence[Probed]) -> str:
    """Accuracy (linear) over seconds an image (logarithmic), in SVG."""
    costs = [math.log10(found.seconds_per_image) for found in results]
    scores = [100 * found.linear_accuracy for found in results]
    left, right = math.floor(min(costs)), math.floor(max(costs)) + 1
    low, high = 10 * math.floor(min(scores) / 10), min(100, 10 * math.floor(max(scores) / 10) + 10)

    def x(cost: float) -> float:
        return MARGIN + (cost - left) / (right - left) * (WIDTH - 2 * MARGIN)

    def y(score: float) -> float:
        return HEIGHT - MARGIN - (score - low) / max(high - low, 10) * (HEIGHT - 2 * MARGIN)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="accuracy against cost">']
    for power in range(left, right + 1):
        parts.append(f'<line class="grid" x1="{x(power):.1f}" x2="{x(power):.1f}" y1="{y(low)}" y2="{y(high):.1f}"/>')
        parts.append(_text(x(power), HEIGHT - MARGIN + 20, f"{10.0 ** (power + 3):g} ms", "middle"))
    for line in range(low, high + 1, 10):
        parts.append(f'<line class="grid" x1="{x(left)}" x2="{x(right)}" y1="{y(line):.1f}" y2="{y(line):.1f}"/>')
        parts.append(_text(MARGIN - 8, y(line) + 4, f"{line} %", "end"))
    for cost, score, found in zip(costs, scores, results, strict=True):
        parts.append(f'<circle cx="{x(cost):.1f}" cy="{y(score):.1f}" r="5"/>')
        parts.append(_text(x(cost) + 9, y(score) + 4, found.teacher, "start"))
    return "\n".join([*parts, "</svg>"])


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
