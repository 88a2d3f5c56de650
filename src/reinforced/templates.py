"""Sentences with alternatives: one line that says the same in many ways, and what it says of a row.

    (A|The) {age} (man|person)[ with {a hair} haircut] (walks|strolls) by.

`(a|b)` is one of its alternatives, `{name}` a value, `{a name}` a value after `a` or `an`; `[...]` is left out where a
value in it is missing. Parts nest. `\\` before a sign of these takes its meaning away.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from reinforced import counter

WORDS = 32
"""Random words that a template is filled with: the most alternatives one may have."""

_TOKEN = re.compile(r"\\(.)|([\[\](|)])|\{(a )?([^{}]*)\}|([^\\\[\](|){}]+)|(.)", re.DOTALL)


@dataclass(frozen=True)
class _Value:
    name: str
    article: bool


@dataclass(frozen=True)
class _Choice:
    number: int
    parts: tuple[_Parts, ...]


@dataclass(frozen=True)
class _Optional:
    parts: _Parts


_Parts = tuple["str | _Value | _Choice | _Optional", ...]


class Template:
    """A sentence with alternatives. Raises: ValueError, saying what is wrong, for one that is not well formed."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._choices = 0
        self._tokens: Iterator[re.Match[str]] = _TOKEN.finditer(text)
        self._parts = self._read("")[0]
        if self._choices > WORDS:
            raise ValueError(f"template '{text}' has {self._choices} alternatives, more than {WORDS}")

    @property
    def names(self) -> frozenset[str]:
        """The values it speaks of, optional ones included."""
        return frozenset(_names(self._parts, optional=True))

    @property
    def needed(self) -> frozenset[str]:
        """The values without which it cannot be filled."""
        return frozenset(_names(self._parts, optional=False))

    def fill(self, words: Sequence[int], values: Mapping[str, str | None]) -> str:
        """Return the sentence: each of its alternatives chosen by a word of its own of `WORDS` 32-bit words."""
        return " ".join(_fill(self._parts, words, values).split())

    def _read(self, end: str) -> tuple[_Parts, str]:
        parts: list[str | _Value | _Choice | _Optional] = []
        for token in self._tokens:
            escaped, sign, article, name, plain, wrong = token.groups()
            if sign is not None and sign in end:
                return tuple(parts), sign
            if sign == "(":
                parts.append(self._choice())
            elif sign == "[":
                parts.append(_Optional(self._read("]")[0]))
            elif name:
                parts.append(_Value(name.strip(), bool(article)))
            elif escaped or plain:
                parts.append(escaped or plain)
            else:
                raise ValueError(f"template '{self.text}': nothing is open at '{sign or wrong or token[0]}'")
        if end:
            raise ValueError(f"template '{self.text}' ends before '{end[-1]}'")
        return tuple(parts), ""

    def _choice(self) -> _Choice:
        number, parts, sign = self._choices, [], "|"
        self._choices += 1
        while sign == "|":
            part, sign = self._read("|)")
            parts.append(part)
        return _Choice(number, tuple(parts))


def _names(parts: _Parts, optional: bool) -> Iterator[str]:
    for part in parts:
        if isinstance(part, _Value):
            yield part.name
        elif isinstance(part, _Choice):
            for alternative in part.parts:
                yield from _names(alternative, optional)
        elif isinstance(part, _Optional) and optional:
            yield from _names(part.parts, optional)


def _fill(parts: _Parts, words: Sequence[int], values: Mapping[str, str | None]) -> str:
    said = ""
    for part in parts:
        if isinstance(part, str):
            said += part
        elif isinstance(part, _Value):
            value = values[part.name]
            assert value, f"{part.name} has no value: look at `needed` first"
            said += f"{'an' if value[0] in 'aeiouAEIOU' else 'a'} {value}" if part.article else value
        elif isinstance(part, _Choice):
            said += _fill(part.parts[words[part.number] * len(part.parts) >> 32], words, values)
        elif all(values.get(name) for name in _names(part.parts, optional=False)):
            said += _fill(part.parts, words, values)
    return said


def choose(templates: Sequence[Template], words: counter.U32, values: Mapping[str, str | None]) -> str | None:
    """Fill one of the templates whose values are there, by `WORDS` + 1 random words; None where there is none."""
    usable = [t for t in templates if all(values.get(name) for name in t.needed)]
    if not usable:
        return None
    first, *rest = (int(word) for word in words)
    return usable[first * len(usable) >> 32].fill(rest, values)
