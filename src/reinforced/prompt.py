"""Prompt templates: text with the names of columns in braces."""

from __future__ import annotations

import functools
import string
from collections.abc import Mapping
from typing import Any


@functools.cache
def columns_of(template: str) -> tuple[str, ...]:
    """Return the columns that a template names, such as label_name in `a photo of {label_name}`, in order.

    Double braces stand for themselves. Raises: ValueError for braces that do not match, or hold more than a name.
    """
    try:
        fields = [(name, form, turn) for _, name, form, turn in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise ValueError(f"'{template}': {error}; write {{{{ and }}}} for braces themselves") from error
    for name, form, turn in fields:
        if not name.isidentifier() or form or turn:
            raise ValueError(f"'{template}': {{{name}}} is no column's name; write {{{{ and }}}} for braces themselves")
    return tuple(dict.fromkeys(name for name, _, _ in fields))


def fill(template: str, row: Mapping[str, Any]) -> str:
    """Put a row's values into a template. Raises: ValueError where a value is null."""
    values = {name: row[name] for name in columns_of(template)}
    if lacking := [name for name, value in values.items() if value is None]:
        raise ValueError(f"null: {lacking[0]}")
    return template.format(**values)
