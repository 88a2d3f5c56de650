from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reinforced.columns import column, known_column, layer_schemas, parse_type, resolve

LAYERS = layer_schemas()


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_and_every_column_says_what_it_means(layer: str) -> None:
    schema = LAYERS[layer]
    assert schema.version >= 1
    assert schema.description.endswith(".")
    assert schema.fields
    for field in schema.fields.values():
        assert field.metadata[b"description"].decode().rstrip().endswith("."), f"{layer}.{field.name}"


def test_a_column_of_one_name_has_one_meaning() -> None:
    seen: dict[str, pa.Field] = {}
    for schema in LAYERS.values():
        for name, field in schema.fields.items():
            assert seen.setdefault(name, field).type == field.type, f"{schema.name}.{name} has another type elsewhere"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("string", pa.string()),
        ("list<string>", pa.list_(pa.string())),
        ("uint16[10]", pa.list_(pa.uint16(), 10)),
        ("list<float32[4]>", pa.list_(pa.list_(pa.float32(), 4))),
    ],
)
def test_types_are_read_as_they_are_written(text: str, expected: pa.DataType) -> None:
    assert parse_type(text) == expected


def test_a_mistyped_type_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="'flaot32' is unknown; did you mean 'float32'"):
        parse_type("flaot32")


@given(st.text(max_size=20))
def test_any_text_is_a_type_or_a_clear_error(text: str) -> None:
    try:
        assert isinstance(parse_type(text), pa.DataType)
    except ValueError as error:
        assert "is unknown" in str(error)


def test_description_and_unit_travel_with_the_field() -> None:
    field = column("height_mm", "float32", "Height of the print.", "mm")
    assert field.metadata == {b"description": b"Height of the print.", b"unit": b"mm"}
    assert known_column("width").metadata[b"unit"] == b"px"


def test_names_and_described_columns_resolve_in_order() -> None:
    mine = column("mine", "int8", "Mine.")
    assert resolve(["width", mine]).names == ["width", "mine"]


def test_a_column_that_nobody_describes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"column 'wdith' is in no schemas/\*\.yaml: describe it there"):
        resolve(["wdith"])


def test_a_layer_selects_its_columns_in_the_order_asked() -> None:
    assert LAYERS["samples"].select(["sha256", "key"]).names == ["sha256", "key"]
