"""The JSON Schema of pipeline files: with it an editor completes operators and parameters and shows their help."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from inspect import isabstract
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from reinforced import catalog
from reinforced.operator import Operator
from reinforced.pipeline import PipelineSpec
from reinforced.registry import find_operator, operator_names

Schema = dict[str, Any]

PLACES = {"source": ("source",), "steps": ("transform", "filter", "generator", "global"), "sinks": ("sink",)}
"""The kinds of operators that may stand under each key."""

INTERPOLATION: Schema = {"type": "string", "pattern": r"\$\{.+\}", "description": "A value from elsewhere: ${seed}."}


def pipeline_schema() -> Schema:
    """Return the schema of a pipeline: its keys, and under `source`, `steps`, `sinks` one alternative an operator."""
    classes = {name: find_operator(name) for name in operator_names()}
    models: list[type[BaseModel]] = [*classes.values(), *_kinds(classes.values()), PipelineSpec]
    models = list(dict.fromkeys(models))
    references, together = models_json_schema([(model, "validation") for model in models])
    definitions: dict[str, Schema] = together["$defs"]
    place = {model: references[model, "validation"]["$ref"].rpartition("/")[2] for model in models}
    for model in models:
        if isabstract(model) and (kinds := [kind for kind in model.__subclasses__() if kind in place]):
            definitions[place[model]] = {"anyOf": [{"$ref": f"#/$defs/{place[kind]}"} for kind in kinds]}
    for definition in definitions.values():
        _allow_interpolation(definition)
    for name, cls in classes.items():
        definitions[place[cls]] = _step(name, cls, definitions[place[cls]])
    pipeline = definitions.pop(place[PipelineSpec])
    own = {"type": "string", "not": {"enum": list(classes)}, "pattern": r"\."}
    definitions["own_operator"] = {
        "description": "An operator of your own, by its dotted path.",
        "properties": {"op": own},
        "required": ["op"],
    }
    for key, allowed in PLACES.items():
        refs = [{"$ref": f"#/$defs/{place[cls]}"} for cls in classes.values() if cls.kind in allowed]
        one = {"type": "object", "required": ["op"], "oneOf": [*refs, {"$ref": "#/$defs/own_operator"}]}
        about = {"description": PipelineSpec.model_fields[key].description}
        pipeline["properties"][key] = about | (one if key == "source" else {"type": "array", "items": one})
    definitions["interpolation"] = INTERPOLATION
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **pipeline, "$defs": definitions}


def _kinds(classes: Iterable[type[Operator]]) -> Iterator[type[BaseModel]]:
    """Yield the models that stand below a model that operators name, such as the kinds of teachers."""
    for cls in classes:
        for field in cls.model_fields.values():
            for model in catalog.models(field.annotation):
                yield from [model, *model.__subclasses__()]


def _allow_interpolation(definition: Schema) -> None:
    """Let every value also be written as `${...}`."""
    for name, value in definition.get("properties", {}).items():
        kept = {key: value[key] for key in ("description", "default", "title") if key in value}
        definition["properties"][name] = kept | {"anyOf": [value, {"$ref": "#/$defs/interpolation"}]}


def _step(name: str, cls: type[Operator], definition: Schema) -> Schema:
    """Return an operator's schema as it stands in a pipeline: with its `op`."""
    op = {"const": name, "description": catalog.summary(cls)}
    properties = {"op": op} | definition.get("properties", {})
    required = ["op", *definition.get("required", [])]
    return definition | {"title": name, "properties": properties, "required": required, "additionalProperties": False}
