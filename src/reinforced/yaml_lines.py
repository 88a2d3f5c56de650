"""Where each value of a pipeline stands in its YAML text, so that an error can name the line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import yaml

from reinforced.errors import RequestError

Trail = tuple[str | int, ...]
"""The way to a value: keys of mappings and places in lists."""


class Lines:
    """Where each value stands in the YAML text, or which override has set it."""

    def __init__(self, text: str, where: str, overrides: Sequence[str]) -> None:
        self.where = where
        self._overrides = {trail_of(item.partition("=")[0]): item for item in overrides}
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            raise not_yaml(where, error) from None
        if not isinstance(root, yaml.MappingNode):
            raise RequestError(f"{where}: a pipeline is a mapping with the keys name, out, source, steps")
        self._lines = dict(self._walk(root, (), ()))

    def _walk(self, node: yaml.Node, trail: Trail, around: tuple[yaml.Node, ...]) -> Iterator[tuple[Trail, int]]:
        line = node.start_mark.line + 1
        if node in around:
            raise RequestError(f"{self.where}:{line}: the value holds itself; write it out")
        yield trail, line
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                self._check_key(key, seen)
                seen.add(key.value)
                inner = (*trail, key.value)
                yield inner, key.start_mark.line + 1
                yield from ((t, n) for t, n in self._walk(value, inner, (*around, node)) if t != inner)
        elif isinstance(node, yaml.SequenceNode):
            for i, value in enumerate(node.value):
                yield from self._walk(value, (*trail, i), (*around, node))

    def _check_key(self, key: yaml.Node, seen: set[str]) -> None:
        at = f"{self.where}:{key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            raise RequestError(f"{at}: a key is a name, not a list or mapping")
        if key.tag == "tag:yaml.org,2002:bool":
            raise RequestError(f"{at}: the key {key.value} is a boolean in YAML; write it in quotes: '{key.value}'")
        if key.value in seen:
            raise RequestError(f"{at}: '{key.value}' is given twice")

    def at(self, trail: Trail) -> str:
        """Return `file:line` of the value, or of the nearest one around it, or the override that has set it."""
        while trail and trail not in self._lines and trail not in self._overrides:
            trail = trail[:-1]
        if trail in self._overrides:
            return f"override '{self._overrides[trail]}'"
        return f"{self.where}:{self._lines[trail]}"


def not_yaml(where: str, error: yaml.YAMLError) -> RequestError:
    """Return the error to raise for text that is no YAML."""
    mark = getattr(error, "problem_mark", None)
    parts = [part for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part]
    line = f":{mark.line + 1}" if mark else ""
    return RequestError(f"{where}{line}: not YAML: {', '.join(parts) or ' '.join(str(error).split())}")


def trail_of(key: str) -> Trail:
    """Turn `steps.0.min_std` or `steps[0].min_std` into its parts."""
    parts = key.replace("[", ".").replace("]", "").split(".")
    return tuple(int(part) if part.isdigit() else part for part in parts if part)
