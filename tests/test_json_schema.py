"""The schema that editors read: it takes what the package takes, and refuses what it refuses."""

from __future__ import annotations

from importlib import resources
from typing import Any

import jsonschema
import pytest
import yaml

from reinforced.json_schema import pipeline_schema
from reinforced.pipeline import recipes
from reinforced.registry import find_operator, operator_names

VALIDATOR = jsonschema.Draft202012Validator(pipeline_schema())
HEAD = {"name": "a", "out": "a", "source": {"op": "read.digits"}}
TEACHER = {"factory": "reinforced.models.digit_cnn"}
REINFORCE = {"op": "reinforce", "draws": 2, "augment": {"size_px": 8}, "teachers": [TEACHER]}


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(VALIDATOR.schema)


@pytest.mark.parametrize("recipe", recipes())
def test_recipes_fit_the_schema(recipe: str) -> None:
    text = (resources.files("reinforced.pipelines") / f"{recipe}.yaml").read_text("utf-8")
    assert [error.message for error in VALIDATOR.iter_errors(yaml.safe_load(text))] == []


FITTING: list[dict[str, Any]] = [
    {},
    {"steps": [REINFORCE]},
    {"steps": [REINFORCE | {"draws": "${variables.draws}", "teachers": "${variables.teachers}"}]},
    {"steps": [{"op": "my.package.Operator", "anything": 1}]},
    {"source": {"op": "read.images", "path": "photos"}, "sinks": [{"op": "write.parquet", "path": "x"}]},
]

WRONG: list[dict[str, Any]] = [
    {"step": []},
    {"seed": "one"},
    {"source": {"op": "filter.image"}},
    {"source": {"op": "read.images"}},
    {"source": {"op": "read.imgaes", "path": "photos"}, "steps": [{}]},
    {"steps": [{"op": "filter.image", "min_side": 3}]},
    {"steps": [{"op": "filter.image", "min_side_px": "large"}]},
    {"steps": [{"op": "write.parquet", "path": "x"}]},
    {"steps": [REINFORCE | {"teachers": [{"fctory": "a.b"}]}]},
    {"steps": [REINFORCE | {"augment": {"size_px": 8, "rand_augment": {"operation": 1}}}]},
]


@pytest.mark.parametrize("keys", FITTING)
def test_a_right_pipeline_fits(keys: dict[str, Any]) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(HEAD | keys)] == []


@pytest.mark.parametrize("keys", WRONG)
def test_a_wrong_pipeline_does_not_fit(keys: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(HEAD | keys)


def test_every_operator_and_every_parameter_has_help_in_the_editor() -> None:
    definitions = VALIDATOR.schema["$defs"]
    by_name = {d["properties"]["op"].get("const"): d for d in definitions.values() if "op" in d.get("properties", {})}
    for name in operator_names():
        properties = by_name[name]["properties"]
        assert properties.keys() == {"op", *find_operator(name).model_fields}
        assert [p for p, about in properties.items() if not about.get("description")] == [], name
