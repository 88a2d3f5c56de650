"""Read a pipeline: YAML with interpolation and overrides, validated, every error with its file and line."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reinforced.errors import RequestError, nearest
from reinforced.operator import Operator
from reinforced.registry import find_operator
from reinforced.yaml_lines import Lines, Trail, not_yaml, trail_of


class PipelineSpec(BaseModel):
    """The keys of a pipeline file."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the dataset it makes.")]
    out: Annotated[str, Field(description="Folder or fsspec URL of the dataset.")]
    seed: Annotated[int, Field(ge=0, lt=2**63, description="Seed of every random choice.")] = 0
    source: Annotated[dict[str, Any], Field(description="Where samples come from: an operator of kind source.")]
    steps: Annotated[list[dict[str, Any]], Field(description="What is done to them, in order.")] = []
    sinks: Annotated[list[dict[str, Any]], Field(description="What the finished dataset is also written as.")] = []
    max_failure_rate: Annotated[
        float, Field(ge=0, le=1, description="Share of rows that may fail before the run stops.")
    ] = 0.1
    compact: Annotated[
        bool | None,
        Field(description="Rewrite shards without their dropped rows at the end; default: when it builds a dataset."),
    ] = None
    variables: Annotated[dict[str, Any], Field(description="Values to refer to as ${variables.NAME}.")] = {}


@dataclass(frozen=True)
class Step:
    """One step with its operator; `name` is unique in the pipeline and is what the ledger calls it."""

    name: str
    operator: Operator
    at: str = field(default="", compare=False)
    """Where it stands: file and line."""


@dataclass(frozen=True)
class Pipeline:
    """A pipeline whose operators are found and whose parameters are valid."""

    spec: PipelineSpec
    source: Step
    steps: list[Step]
    sinks: list[Step]
    text: str
    """The YAML as written, before interpolation: what is kept with the run (so secrets of the environment are not)."""
    overrides: list[str] = field(default_factory=list)
    where: str = "pipeline"


def recipes() -> dict[str, str]:
    """Return the recipes that ship with the package: name to the comment on the first line."""
    folder = importlib.resources.files("reinforced.pipelines")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    return {f.name.removesuffix(".yaml"): f.read_text("utf-8").partition("\n")[0].lstrip("# ") for f in files}


def load(pipeline: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Pipeline:
    """Load a pipeline from a file, a recipe's name or a mapping, with `key=value` overrides.

    Raises: RequestError that names file, line, what was found and what is allowed.
    """
    if isinstance(pipeline, Mapping):
        text, where = yaml.safe_dump(dict(pipeline), sort_keys=False), "pipeline"
    else:
        text, where = _read(str(pipeline))
    lines = Lines(text, where, overrides)
    raw = _override(lines, text, overrides)
    try:
        spec = PipelineSpec.model_validate(raw)
    except ValidationError as error:
        raise RequestError(_describe(error, lines, (), "the pipeline", PipelineSpec)) from None
    names: dict[str, int] = {}
    source = _step(spec.source, ("source",), lines, spec.seed, names, {"source"})
    steps = [
        _step(raw_step, ("steps", i), lines, spec.seed, names, {"transform", "filter", "generator", "global"})
        for i, raw_step in enumerate(spec.steps)
    ]
    sinks = [_step(raw_sink, ("sinks", i), lines, spec.seed, names, {"sink"}) for i, raw_sink in enumerate(spec.sinks)]
    return Pipeline(spec, source, steps, sinks, text, list(overrides), where)


def _read(name: str) -> tuple[str, str]:
    path = Path(name)
    if path.is_file():
        try:
            return path.read_text("utf-8"), name
        except UnicodeDecodeError:
            raise RequestError(f"{name}: is no text in UTF-8, so no pipeline") from None
    if name in recipes():
        recipe = importlib.resources.files("reinforced.pipelines") / f"{name}.yaml"
        return recipe.read_text("utf-8"), f"recipe {name}"
    raise RequestError(f"pipeline '{name}' is neither a file nor a recipe{nearest(name, recipes())}")


def _override(lines: Lines, text: str, overrides: Sequence[str]) -> dict[str, Any]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for item in overrides:
        if "=" not in item.lstrip("="):
            raise RequestError(f"override '{item}' is not key=value, such as seed=1 or source.path=photos/")
    try:
        config = OmegaConf.create(yaml.safe_load(text))
        for item in overrides:
            key, _, value = item.partition("=")
            _check_key(config, key, item)
            OmegaConf.update(config, key, _parse(value, item), merge=True)
        resolved = OmegaConf.to_container(config, resolve=True)
    except yaml.YAMLError as error:
        raise not_yaml(lines.where, error) from None
    except OmegaConfBaseException as error:
        at = lines.at(trail_of(getattr(error, "full_key", None) or ""))
        said = str(error).splitlines()[0].partition("raised while resolving interpolation: ")
        raise RequestError(
            f"{at}: {said[2] or said[0]}; ${{...}} names a value of the pipeline, such as ${{variables.NAME}} or "
            "${seed}, or of the environment: ${oc.env:NAME}"
        ) from None
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def _parse(value: str, item: str) -> Any:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise not_yaml(f"override '{item}'", error) from None


def _check_key(config: Any, key: str, item: str) -> None:
    """Refuse an override of a top-level key or a list item that the pipeline cannot have."""
    first, *rest = key.split(".")
    if first not in PipelineSpec.model_fields:
        raise RequestError(
            f"override '{item}': '{first}' is no key of a pipeline{nearest(first, PipelineSpec.model_fields)}"
        )
    if first in ("steps", "sinks") and rest:
        count = len(config.get(first) or [])
        if not rest[0].isdigit() or int(rest[0]) >= count:
            allowed = {0: "none to set", 1: f"one: {first}.0"}.get(count, f"{count}: {first}.0 to {first}.{count - 1}")
            raise RequestError(f"override '{item}': of {first} the pipeline has {allowed}")


def _step(raw: dict[str, Any], trail: Trail, lines: Lines, seed: int, names: dict[str, int], kinds: set[str]) -> Step:
    parameters = dict(raw)
    name = parameters.pop("op", None)
    if not isinstance(name, str):
        raise RequestError(f"{lines.at(trail)}: a step needs an operator, such as op: filter.image")
    try:
        cls = find_operator(name)
    except RequestError as error:
        raise RequestError(f"{lines.at((*trail, 'op'))}: {error}") from error
    if cls.kind not in kinds:
        place = {"source": "source:", "sink": "sinks:"}.get(cls.kind, "steps:")
        raise RequestError(f"{lines.at((*trail, 'op'))}: {name} is a {cls.kind}; it belongs under {place}")
    if "seed" in cls.model_fields:
        parameters.setdefault("seed", seed)
    try:
        operator = cls.model_validate(parameters)
    except ValidationError as error:
        raise RequestError(_describe(error, lines, trail, name, cls)) from None
    names[name] = names.get(name, 0) + 1
    return Step(name if names[name] == 1 else f"{name}#{names[name]}", operator, lines.at(trail))


def _describe(error: ValidationError, lines: Lines, trail: Trail, who: str, model: type[BaseModel]) -> str:
    """Say the first of pydantic's complaints in one line: where, who, what it got, what is allowed."""
    first = error.errors(include_url=False)[0]
    place = tuple(first["loc"])
    dotted = ".".join(str(p) for p in place)
    at = lines.at((*trail, *place))
    if first["type"] == "extra_forbidden":
        allowed = _fields(model, place[:-1])
        what = "key" if model is PipelineSpec else "parameter"
        return f"{at}: {who} has no {what} '{dotted}'{nearest(str(place[-1]), allowed)}"
    if first["type"] == "missing":
        return f"{at}: {who} needs '{dotted}': {_help(model, place)}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "dict_type":
        message = "must be a mapping, such as {op: filter.image}"
    elif first["type"] == "list_type":
        message = "must be a list, such as [{op: filter.image}]" if model is PipelineSpec else "must be a list"
    got = "" if isinstance(first["input"], (dict, list)) else f", got {first['input']!r}"
    if isinstance(first["input"], bool):
        got += "; yes, no, on and off are booleans in YAML: to mean the word, write it in quotes"
    return f"{at}: {who}: {dotted + ': ' if dotted else ''}{message}{got}"


def _fields(model: type[BaseModel], place: Trail) -> list[str]:
    """Return the parameter names at a place inside a model, following nested models."""
    for part in place:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        nested = [t for t in _types(annotation) if isinstance(t, type) and issubclass(t, BaseModel)]
        if not nested:
            return []
        model = nested[0]
    return [name for name in model.model_fields if not name.startswith("_")]


def _types(annotation: Any) -> Iterator[Any]:
    yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _types(inner)


def _help(model: type[BaseModel], place: Trail) -> str:
    found = model.model_fields.get(str(place[0])) if place else None
    return (found.description or "") if found else ""
