"""Which language model a pipeline means, and answers that must be JSON objects of a given form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from reinforced.endpoint import Endpoint
from reinforced.language_model import LanguageModel, Text
from reinforced.local_language_model import LocalLanguageModel

KINDS: dict[str, type[LanguageModel]] = {"endpoint": Endpoint, "transformers": LocalLanguageModel}


def parse_model(given: Any) -> LanguageModel:
    """Turn a mapping into the model that one of its keys names. Raises: ValueError if none does."""
    if isinstance(given, LanguageModel):
        return given
    kinds = [kind for kind in KINDS if isinstance(given, Mapping) and kind in given]
    if len(kinds) != 1:
        raise ValueError(
            f"a language model is one of {', '.join(KINDS)}, such as "
            "{endpoint: http://localhost:8000/v1, name: qwen}, not " + json.dumps(given, default=str)[:100]
        )
    return KINDS[kinds[0]].model_validate(given)


AnyModel = Annotated[SerializeAsAny[LanguageModel], BeforeValidator(parse_model)]


def check_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Check the JSON Schema of answers. Raises: ValueError if it is none, or asks for no string `caption`."""
    import jsonschema

    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise ValueError(f"is no JSON Schema: {error.message}") from error
    caption = schema.get("properties", {}).get("caption", {})
    if caption.get("type") != "string" or "caption" not in schema.get("required", []):
        raise ValueError("must require a property `caption` of type string")
    return schema


def as_object(text: str, schema: Mapping[str, Any] | None) -> tuple[dict[str, Any], Text | None]:
    """Return the JSON object in an answer, and why it does not follow the schema, if it does not."""
    import jsonschema

    assert schema is not None
    try:
        found = json.loads(text)
    except ValueError as error:
        return {}, f"schema: no JSON: {error}"
    wrong = next(jsonschema.Draft202012Validator(schema).iter_errors(found), None)
    return (found, None) if wrong is None else ({}, f"schema: {wrong.message[:200]}")
