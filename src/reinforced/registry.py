"""Find operators by name: the files of `operators/`, or a user's own by its dotted path; none is imported before."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from reinforced.errors import RequestError, nearest
from reinforced.operator import Operator


def operator_names() -> list[str]:
    """Return the names of all operators that ship with the package, found as files of `operators/`, none imported."""
    return sorted(_walk(resources.files("reinforced.operators"), ""))


def _walk(folder: Traversable, prefix: str) -> Iterator[str]:
    for entry in folder.iterdir():
        if entry.name.startswith(("_", ".")):
            continue
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}.")
        elif entry.name.endswith(".py"):
            yield prefix + entry.name.removesuffix(".py")


def find_operator(name: str) -> type[Operator]:
    """Return the operator class for a name in YAML: a shipped operator, or a user's own by its dotted path.

    Raises: RequestError with the nearest name for an unknown one.
    """
    known = operator_names()
    if name in known:
        return _only_operator(importlib.import_module(f"reinforced.operators.{name}"), name)
    module_path, _, attribute = name.rpartition(".")
    for path, wanted in ((name, None), (module_path, attribute)):
        try:
            module = importlib.import_module(path) if path else None
        except ModuleNotFoundError as error:
            if error.name and not (path == error.name or path.startswith(error.name + ".")):
                raise RequestError(f"operator '{name}' cannot be imported: {error}") from error
            continue
        if module is None or (wanted is not None and not hasattr(module, wanted)):
            continue
        found = _only_operator(module, name) if wanted is None else getattr(module, wanted)
        if inspect.isclass(found) and issubclass(found, Operator):
            return found
    raise RequestError(f"operator '{name}' is unknown{nearest(name, known)}")


def _only_operator(module: Any, name: str) -> type[Operator]:
    found = [
        member
        for member in vars(module).values()
        if inspect.isclass(member) and issubclass(member, Operator) and member.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise RequestError(
            f"operator '{name}': {module.__name__} must define exactly one operator, it has {len(found)}"
        )
    return found[0]
