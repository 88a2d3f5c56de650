"""Pages that MkDocs builds without a file: the reference from the code, and the files at the top of the repository."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel

from reinforced import catalog, reference

GENERATED = {
    "reference/operators.md": reference.operators_page,
    "reference/schemas.md": reference.schemas_page,
    "reference/recipes.md": reference.recipes_page,
    "reference/commands.md": reference.commands_page,
}
TOP = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
HERE = Path(__file__).parent
LINE = 80


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not files in this folder."""
    for path, page in GENERATED.items():
        files.append(File.generated(config, path, content=page()))
    for name, path in TOP.items():
        files.append(File.generated(config, path, content=moved((HERE.parent / name).read_text("utf-8"))))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the words of the code in the place of lines such as `::: reinforced.open`."""
    return re.sub(r"^::: (\S+)$", lambda match: describe(match[1]), markdown, flags=re.MULTILINE)


def moved(markdown: str) -> str:
    """Return a page of the top folder with its links as they are from inside `docs/`."""
    for name, path in TOP.items():
        markdown = markdown.replace(f"]({name})", f"]({path})")
    return re.sub(r"(\]\(|src=\")docs/", r"\1", markdown)


def describe(name: str) -> str:
    """Return Markdown for a dotted name: a pydantic model's parameters, else signature, docstring and members."""
    module, _, attribute = name.rpartition(".")
    thing = getattr(importlib.import_module(module), attribute)
    if inspect.isclass(thing) and issubclass(thing, BaseModel):
        return reference.parameter_table(catalog.parameters(thing))
    parts = [f"### {name} {{ #{reference.anchor(name)} }}"]
    if not (inspect.isclass(thing) and issubclass(thing, Exception)):
        parts.append(f"```python\n{_signature(attribute, thing)}\n```")
    parts.append(inspect.getdoc(thing) or "")
    if inspect.isclass(thing):
        parts += [f"- `{_member(m, value)}` — {_words(value)}" for m, value in _members(thing)]
    return "\n\n".join(parts)


def _members(thing: type) -> Iterator[tuple[str, Any]]:
    for name, value in vars(thing).items():
        value = value.func if hasattr(value, "func") else value  # cached_property
        documented = inspect.isfunction(value) or isinstance(value, property)
        if documented and not name.startswith("_") and inspect.getdoc(value):
            yield name, value


def _member(name: str, value: Any) -> str:
    takes = [p for p in inspect.signature(value).parameters if p != "self"] if inspect.isfunction(value) else []
    return f"{name}({', '.join(takes)})" if inspect.isfunction(value) else name


def _words(thing: Any) -> str:
    return " ".join((inspect.getdoc(thing) or "").split())


class _Raw:
    """An annotation that shows as it is written."""

    def __init__(self, text: object) -> None:
        self.text = str(text)

    def __repr__(self) -> str:
        return self.text


def _signature(name: str, thing: Any) -> str:
    signature = inspect.signature(thing)
    taken = [
        p.replace(annotation=p.annotation if p.annotation is p.empty else _Raw(p.annotation))
        for p in signature.parameters.values()
    ]
    returned = signature.return_annotation
    returns = "" if returned in (None, "None", signature.empty) or inspect.isclass(thing) else f" -> {returned}"
    text = f"{name}{signature.replace(parameters=taken, return_annotation=signature.empty)}{returns}"
    if len(text) <= LINE:
        return text
    stars = [i for i, p in enumerate(taken) if p.kind is p.KEYWORD_ONLY][:1]
    lines = [str(p) for p in taken]
    for i in stars:
        lines.insert(i, "*")
    return f"{name}(\n" + "".join(f"    {line},\n" for line in lines) + f"){returns}"
