"""The reference as Markdown, written from the code: operators, columns, recipes, commands."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import pyarrow as pa

from reinforced import catalog
from reinforced.columns import layer_schemas
from reinforced.operator import Resources
from reinforced.pipeline import recipes


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    cells = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in row) + " |" for row in cells)


def parameter_table(parameters: Iterable[catalog.Parameter]) -> str:
    """Return parameters as a table."""
    rows = [
        [f"`{p.name}`", p.type, "required" if p.default is None else f"`{p.default}`", p.description]
        for p in parameters
    ]
    return table(["parameter", "type", "default", "meaning"], rows) if rows else "No parameters of its own."


def column_table(columns: Iterable[pa.Field]) -> str:
    """Return columns as a table; description and unit are in the field's metadata."""
    rows = [[f"`{f.name}`", f"`{f.type}`", _said(f, "unit"), _said(f, "description")] for f in columns]
    return table(["column", "type", "unit", "meaning"], rows)


def _said(column: pa.Field, name: str) -> str:
    return str((column.metadata or {}).get(name.encode(), b"").decode())


def operators_page() -> str:
    """Return the page of all operators."""
    rows = [[f"[`{n}`](#{anchor(n)})", kind, words] for n, (kind, words) in catalog.summaries().items()]
    parts = [
        "# Operators",
        "Every parameter is a key beside `op` in the pipeline; an unknown one is refused. Sources take their columns "
        "from what they read.",
        table(["operator", "kind", "what it does"], rows),
        "## Parameters of every operator",
        "`resources` is a mapping that says what one worker of the step needs. Transforms also have `into`, the name "
        "of the layer to write instead of their own.",
        parameter_table(catalog.parameters(Resources)),
    ]
    return "\n\n".join([*parts, *(_operator(catalog.describe(name)) for name in catalog.summaries())]) + "\n"


def _operator(page: catalog.Page) -> str:
    layer = f", writes the layer `{page.layer}`" if page.layer else ""
    own = [p for p in page.parameters if p.name.partition(".")[0] not in ("resources", "into")]
    parts = [f"## {page.name} {{ #{anchor(page.name)} }}", f"Kind: {page.kind}{layer}.", page.text]
    parts.append(parameter_table(own))
    if page.reads:
        parts.append("Reads " + ", ".join(f"`{column.name}`" for column in page.reads) + ".")
    if page.writes:
        parts += ["Adds these columns:", column_table(page.writes)]
    return "\n\n".join([*parts, f"```yaml\n{page.example}\n```"])


def anchor(name: str) -> str:
    """Return the name of a heading's anchor."""
    return name.replace(".", "-")


def schemas_page() -> str:
    """Return the page of all layers and their columns."""
    parts = [
        "# Schemas",
        "The columns of every layer that ships with the package, from `schemas/*.yaml`. Descriptions and units travel "
        "in the metadata of the Parquet files.",
    ]
    for name, schema in layer_schemas().items():
        parts += [f"## {name}", f"Version {schema.version}. {schema.description}", column_table(schema.fields.values())]
    return "\n\n".join(parts) + "\n"


def recipes_page() -> str:
    """Return the page of all recipes."""
    parts = ["# Recipes", "Pipelines that ship with the package; each runs by its name."]
    folder = resources.files("reinforced.pipelines")
    for name, comment in recipes().items():
        text = (folder / f"{name}.yaml").read_text("utf-8").strip()
        parts += [f"## {name}", comment, f"```sh\nreinforced run {name}\n```", f"```yaml\n{text}\n```"]
    return "\n\n".join(parts) + "\n"


@dataclass(frozen=True)
class Option:
    """An argument or option of a command, its names as typed."""

    names: tuple[str, ...]
    default: str
    description: str


def commands() -> dict[str, tuple[str, list[Option]]]:
    """Return every command with its words and its options, also those of groups; the empty name is `reinforced`."""
    import typer

    from reinforced.cli import app

    group: Any = typer.main.get_command(app)
    every = {"": group} | dict(group.commands)
    for name, found in group.commands.items():
        every |= {f"{name} {inner}": command for inner, command in getattr(found, "commands", {}).items()}
    return {name: (inspect.cleandoc(command.help or ""), _options(command)) for name, command in every.items()}


def _options(command: Any) -> list[Option]:
    return [
        Option(
            (*p.opts, *p.secondary_opts) if p.opts[0].startswith("-") else (p.metavar or p.name.upper(),),
            _default(p),
            p.help or "",
        )
        for p in command.params
        if not p.hidden
    ]


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    default = parameter.default
    return "" if default in (None, False, ()) or callable(default) else f"`{default}`"


def commands_page() -> str:
    """Return the page of all commands and their options."""
    parts = ["# Commands", "Exit codes: 0 done, 1 failed, 2 the request was wrong, 130 interrupted."]
    for name, (words, options) in commands().items():
        parts += [f"## reinforced {name}".rstrip(), words]
        rows = [[" ".join(f"`{n}`" for n in o.names), o.default, o.description] for o in options]
        parts += [table(["argument or option", "default", "meaning"], rows)] if rows else []
    return "\n\n".join(parts) + "\n"
