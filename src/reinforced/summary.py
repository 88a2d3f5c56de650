"""What a run says when it is done: a table of its rows, scores, where the report is, and last the dataset's path."""

from __future__ import annotations

import shlex

from reinforced.cascade import cheaper_orders
from reinforced.comparison import student_table
from reinforced.display import funnel_table, show
from reinforced.inspection import FunnelStep, evaluation, funnel
from reinforced.report import write_report
from reinforced.run import RunResult


def summarize(result: RunResult) -> None:
    """Show where the rows of a run went and what its students scored, write the report, and print the path last."""
    plan, dataset = result.plan, result.dataset
    steps = [FunnelStep(plan.name, s.name, s.operator.kind, result.counts[s.name]) for s in [plan.source, *plan.steps]]
    show([funnel_table(steps, result.seconds), *map(str, cheaper_orders(plan.steps, result.counts, result.seconds))])
    scores = evaluation(dataset)
    if scores:
        show([student_table(scores)])
    made = f"{result.shards_made} of {len(dataset.shards)} shards made now"
    show([f"{len(dataset):,} samples, {made}, {result.wall_s:.1f} s"])
    if dataset.storage.local:
        path = dataset.storage.local / "report.html"
        steps = funnel(dataset)
        many = len({step.pipeline for step in steps}) > 1
        write_report(dataset, {s.title if many else s.step: s.counts for s in steps}, scores, path)
        show([f"Report, to open in a browser: {path}"])
    show([f"Look further: reinforced inspect {shlex.quote(result.path)}"])
    print(result.path)
