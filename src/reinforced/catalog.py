"""What there is to say about every operator: its parameters, its columns, an example; for `ops`, the docs, editors."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pyarrow as pa
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from reinforced import columns
from reinforced.operator import Operator, Source
from reinforced.registry import find_operator, operator_names


@dataclass(frozen=True)
class Parameter:
    """A parameter as a person writes it: dotted name, type in words, default as YAML (None if it must be given)."""

    name: str
    type: str
    default: str | None
    description: str


@dataclass(frozen=True)
class Page:
    """All there is to say about an operator."""

    name: str
    kind: str
    summary: str
    text: str
    layer: str
    parameters: list[Parameter]
    reads: list[pa.Field]
    writes: list[pa.Field]
    example: str


def describe(name: str) -> Page:
    """Describe an operator. Raises: RequestError for an unknown one."""
    cls = find_operator(name)
    text = inspect.cleandoc(cls.__doc__ or "")
    reads, writes = _columns(cls)
    return Page(
        name=name,
        kind=cls.kind,
        summary=summary(cls),
        text=text,
        layer=cls.layer,
        parameters=list(parameters(cls)),
        reads=reads,
        writes=writes,
        example=_example(name, cls),
    )


def summaries() -> dict[str, tuple[str, str]]:
    """Return the kind and the first sentence of every operator that ships with the package, by name."""
    found = {name: find_operator(name) for name in operator_names()}
    return {name: (cls.kind, summary(cls)) for name, cls in found.items()}


def summary(cls: type[Operator]) -> str:
    """Return the first paragraph of an operator's docstring on one line."""
    return " ".join(inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0].split())


def parameters(model: type[BaseModel], prefix: str = "") -> Iterator[Parameter]:
    """Yield the parameters of a model, those of nested models after the one that holds them; `resources` last."""
    fields = model.model_fields
    for name in sorted(fields, key=lambda n: n == "resources"):
        info, dotted = fields[name], f"{prefix}{fields[name].alias or name}"
        yield Parameter(dotted, type_words(info.annotation), _default(info), info.description or "")
        seen: set[str] = set()
        for nested, within in _nested(info.annotation, dotted):
            for parameter in parameters(nested, f"{within}."):
                if parameter.name not in seen:
                    yield parameter
                seen.add(parameter.name)


def type_words(annotation: Any) -> str:
    """Return a type in words: `int`, `list of str`, `one of bytes, pixels`, `[int, int]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_words(inner[0])
    if origin is Literal:
        return "one of " + ", ".join(str(value) for value in inner) if len(inner) > 1 else str(inner[0])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(type_words(part) for part in inner if part is not type(None)))
    if origin is tuple and Ellipsis not in inner:
        return f"[{', '.join(type_words(part) for part in inner)}]"
    if origin in (list, tuple, set, frozenset):
        return f"list of {type_words(inner[0])}"
    if origin is dict:
        return f"mapping of {type_words(inner[1])}"
    return {"NoneType": "null", "Any": "any", "Path": "str"}.get(getattr(annotation, "__name__", ""), "") or str(
        getattr(annotation, "__name__", annotation)
    )


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that a type holds."""
    yield from dict.fromkeys(model for model, _ in _held(annotation, ""))


def _nested(annotation: Any, within: str) -> Iterator[tuple[type[BaseModel], str]]:
    """Yield the models that a type holds, each with the dotted place of its fields; a base stands for its kinds."""
    for model, place in _held(annotation, within):
        yield from ((kind, place) for kind in model.__subclasses__() or [model])


def _held(annotation: Any, within: str) -> Iterator[tuple[type[BaseModel], str]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, within
    elif get_origin(annotation) is not Literal:
        many = get_origin(annotation) in (list, tuple)
        for part in get_args(annotation):
            yield from _held(part, f"{within}[]" if many else within)


def _default(info: FieldInfo) -> str | None:
    if info.is_required():
        return None
    value = info.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(_plain(value), default_flow_style=True, width=200).removesuffix("...\n").strip()


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def _columns(cls: type[Operator]) -> tuple[list[pa.Field], list[pa.Field]]:
    """Return the columns read and written, by the first example where they may depend on the parameters."""
    if cls.examples and not issubclass(cls, Source):  # a source looks at what it reads, which is not here
        made = cls.model_validate(cls.examples[0])
        return list(made.inputs()), list(made.outputs())
    return list(columns.resolve(n for n in cls.reads if n != "pixels")), list(columns.resolve(cls.writes))


def _example(name: str, cls: type[Operator]) -> str:
    """Return the operator as it stands in a pipeline: its first example, with names for values it must be given."""
    needed = {n: n.upper() for n, info in cls.model_fields.items() if info.is_required()}
    step = {"op": name} | needed | (dict(cls.examples[0]) if cls.examples else {})
    place = {"source": "source", "sink": "sinks"}.get(cls.kind, "steps")
    text = yaml.safe_dump(step, default_flow_style=True, sort_keys=False, width=1000).strip()
    return f"{place}: {text}" if place == "source" else f"{place}:\n  - {text}"
