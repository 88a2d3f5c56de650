"""What the command line prints: tables for people; `--json` prints the same facts for machines."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console
    from rich.table import Table

    from reinforced.catalog import Page
    from reinforced.inspection import FunnelStep
    from reinforced.pipeline import Step
    from reinforced.plan import Plan

ROWS_SHOWN = 100
WIDTH_IN_A_PIPE = 140


def console() -> Console:
    """Return standard output; text is printed as it is, with no markup, and wide where it is no terminal."""
    from rich.console import Console

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDTH_IN_A_PIPE
    return Console(markup=False, emoji=False, highlight=False, width=width)


def show(parts: Iterable[Table | str]) -> None:
    """Print tables, and lines of text that are never broken (a path stays one to copy)."""
    out = console()
    for part in parts:
        out.print(part, soft_wrap=isinstance(part, str))


def table(title: str, heads: Iterable[str], rows: Iterable[Sequence[object]], right: Iterable[str] = ()) -> Table:
    """Make a table; the columns named in `right` are aligned to the right."""
    from rich import box
    from rich.table import Table

    made = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        made.add_column(head, justify="right" if head in set(right) else "left", overflow="fold")
    for row in rows:
        made.add_row(*("" if cell is None else str(cell) for cell in row))
    return made


def json_line(value: Any) -> str:
    """Return a value as one line of JSON; bytes as base64, times as text."""
    return json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def funnel_table(steps: Sequence[FunnelStep], seconds: Mapping[str, float] | None = None) -> Table:
    """Show what each step did to the rows, and the most frequent reasons."""
    from reinforced.inspection import top_reasons

    many = len({step.pipeline for step in steps}) > 1
    heads = ["step", "rows in", "kept", "dropped", "failed", *(["seconds"] if seconds is not None else []), "reasons"]
    rows = []
    for step in steps:
        c = step.counts
        reasons = "; ".join(f"{n:,} {reason}" for reason, n in top_reasons(c))
        made = f"made {c.made:,} rows" if c.made else ""
        spent = [f"{seconds.get(step.step, 0.0):.1f}"] if seconds is not None else []
        name = step.title if many else step.step
        numbers = [f"{n:,}" for n in (c.rows_in, c.kept, c.dropped, c.failed)]
        rows.append([name, *numbers, *spent, "; ".join(filter(None, (reasons, made)))])
    return table("", heads, rows, right=heads[1:-1])


def print_plan(plan: Plan, as_json: bool, measure: bool) -> None:
    """Print a plan, with what it will take if that is to be measured."""
    from reinforced.estimate import estimate, estimates_table

    found = estimate(plan) if measure else []
    if as_json:
        print(json_line(plan_facts(plan) | ({"estimates": [vars(one) for one in found]} if measure else {})))
    else:
        show([*plan_tables(plan), *([estimates_table(found)] if measure else [])])


def plan_facts(plan: Plan) -> dict[str, Any]:
    """Return a plan JSON-able: for each step what it reads and adds, its parameters, resources and segment."""
    segments = {step.name: segment.index for segment in plan.segments for step in segment.steps}
    steps = [_step_facts(plan, step, segments.get(step.name)) for step in [plan.source, *plan.steps]]
    steps[0]["segment"] = 0
    return {
        "name": plan.name,
        "out": plan.out,
        "seed": plan.pipeline.spec.seed,
        "in_place": plan.in_place,
        "compact": plan.compact,
        "max_failure_rate": plan.max_failure_rate,
        "steps": steps,
        "sinks": [_step_facts(plan, sink, None) for sink in plan.sinks],
    }


def _step_facts(plan: Plan, step: Step, segment: int | None) -> dict[str, Any]:
    from reinforced.inspection import column_facts

    operator = step.operator
    layers = [(layer, schema) for layer, (writer, schema) in plan.layers.items() if writer == step.name]
    if operator.kind == "generator":
        layers = [("samples", operator.outputs())]
    return {
        "name": step.name,
        "op": operator.name(),
        "kind": operator.kind,
        "parameters": operator.model_dump(mode="json", exclude={"resources"}),
        "reads": list(plan.reads.get(step.name, ())),
        "adds": [
            {"layer": layer} | column_facts(f)
            for layer, schema in layers
            for f in schema
            if f.name != "key" or layer == "samples"
        ],
        "resources": operator.resources.model_dump(mode="json"),
        "segment": segment,
    }


def plan_tables(plan: Plan) -> list[Table | str]:
    """Show a plan's steps and the columns each adds."""
    facts = plan_facts(plan)
    parts = [*facts["steps"], *facts["sinks"]]
    steps = [
        [part["name"], part["kind"], part["segment"], ", ".join(part["reads"]), _resources(part["resources"])]
        for part in parts
    ]
    columns = [
        [part["name"], column["layer"], column["name"], column["type"], column["unit"], column["description"]]
        for part in parts
        for column in part["adds"]
    ]
    return [
        f"{plan.name} → {plan.out}",
        table("", ["step", "kind", "segment", "reads", "resources"], steps),
        table("Columns", ["added by", "layer", "column", "type", "unit", "description"], columns),
    ]


def _resources(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value not in (None, 0, 0.0))


def operator_tables(page: Page) -> list[Table | str]:
    """Show what an operator does, its parameters and columns, and an example."""
    parameters = [
        [p.name, p.type, "(required)" if p.default is None else p.default, p.description] for p in page.parameters
    ]
    made: list[Table | str] = [f"{page.name} ({page.kind})\n\n{page.text}\n"]
    made.append(table("Parameters", ["name", "type", "default", "description"], parameters))
    made += [columns_table(title, fields) for title, fields in (("Reads", page.reads), ("Adds", page.writes)) if fields]
    return [*made, f"Example\n{page.example}"]


def columns_table(title: str, fields: Iterable[pa.Field]) -> Table:
    """Show columns with type, unit and description."""
    from reinforced.inspection import column_facts

    heads = ["name", "type", "unit", "description"]
    return table(title, heads, ([column_facts(field)[head] for head in heads] for field in fields))


def overview_tables(facts: Mapping[str, Any], steps: Sequence[FunnelStep]) -> list[Table | str]:
    """Show a dataset: layers, columns, funnel."""
    layers = [
        [
            name,
            f"{layer['pipeline']}: {layer['step']}" if layer["step"] else layer["pipeline"],
            f"{layer['rows']:,}",
            f"{layer['bytes']:,}",
        ]
        for name, layer in facts["layers"].items()
    ]
    columns = [
        [name, column["name"], column["type"], column["unit"], column["description"]]
        for name, layer in facts["layers"].items()
        for column in layer["columns"]
    ]
    title = f"{facts['name']} at {facts['path']}: {facts['kept']:,} samples in {facts['shards']:,} shards"
    if facts["kept"] != facts["rows"]:
        title += f", {facts['rows'] - facts['kept']:,} more with a verdict against them"
    return [
        title,
        table("", ["layer", "made by", "rows", "bytes"], layers, right=["rows", "bytes"]),
        table("Columns", ["layer", "column", "type", "unit", "description"], columns),
        funnel_table(steps),
    ]


def rows_table(found: pa.Table) -> Table:
    """Show the first rows of a query's result."""
    rows = ([_cell(value) for value in row.values()] for row in found.slice(0, ROWS_SHOWN).to_pylist())
    return table("", found.column_names, rows)


def _cell(value: Any) -> str:
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    return f"{value:.6g}" if isinstance(value, float) else "" if value is None else str(value)


def sample_tables(found: Mapping[str, Any]) -> list[Table | str]:
    """Show everything about one sample."""
    place = f"row {found['row']} of shard {found['shard']}" if found["shard"] else "in no layer"
    values: list[list[Any]] = []
    for layer, held in found["layers"].items():
        if "first" in held and "draws" in held:
            values += [[layer, f"draw {i} of {held['draws']}", draw] for i, draw in enumerate(held["first"])]
        else:
            values += [[layer, name, _cell(value)] for name, value in held.items()]
    heads = ["pipeline", "outcome", "step", "reason", "score", "came through"]
    fates = [
        [
            *(pass_[head] for head in heads[:-1]),
            " → ".join(pass_["steps"]) + (f" (made {pass_['made']} rows)" if pass_["made"] is not None else ""),
        ]
        for pass_ in found["ledger"]
    ]
    title = f"{found['key']}: {place}"
    return [title, table("", ["layer", "column", "value"], values), table("Ledger", heads, fates)]


def operator_facts(page: Page) -> dict[str, Any]:
    """Return an operator's page JSON-able."""
    from dataclasses import asdict

    from reinforced.inspection import column_facts

    columns = {name: [column_facts(field) for field in getattr(page, name)] for name in ("reads", "writes")}
    return {name: value for name, value in asdict(page).items() if name not in columns} | columns
