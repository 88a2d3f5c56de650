"""What every shipped operator promises, whoever writes it: found by name, run on its own `examples`."""

from __future__ import annotations

import contextlib
import inspect
import pickle
import random
from collections.abc import Iterator
from typing import Any, get_args

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.types as types
import pytest
from pydantic import BaseModel
from standard_table import standard_table

from reinforced.batch import Batch
from reinforced.columns import resolve
from reinforced.operator import KINDS, Filter, Generator, Global, Operator, Sink, Source, Transform
from reinforced.registry import find_operator, operator_names


def importable() -> dict[str, type[Operator]]:
    """Return the operators that can be imported: one that cannot fails a test of its own and hides no other."""
    found = {}
    for name in operator_names():
        with contextlib.suppress(Exception):
            found[name] = find_operator(name)
    return found


CLASSES = importable()


def made(cls: type[Operator]) -> list[Operator]:
    """Return the operator with each of its example parameters; sources and sinks get any path."""
    required = [name for name, field in cls.model_fields.items() if field.is_required()]
    if issubclass(cls, (Source, Sink)) and cls.examples in ((), ({},)):
        return [cls(**dict.fromkeys(required, "somewhere"))]
    assert cls.examples != ({},) or not required, f"{cls.name()} needs {required}: give it `examples`, see Operator"
    return [cls(**example) for example in cls.examples]


def cases(*kinds: type[Operator]) -> list[tuple[str, int]]:
    """Return the operators of these kinds, each with the number of one of its examples."""
    return [(name, i) for name, cls in CLASSES.items() if issubclass(cls, kinds) for i in range(len(cls.examples))]


def example(name: str, number: int) -> Operator:
    """Return an operator set up as on a worker."""
    operator = made(CLASSES[name])[number]
    operator.setup()
    return operator


def invented(field: pa.Field, rows: int) -> list[Any]:
    """Return values of a type for a column that the standard table does not have; every value differs."""

    def one(type: pa.DataType, seed: int) -> Any:
        numbers = np.random.default_rng(seed)
        if types.is_list(type) or types.is_fixed_size_list(type):
            size = type.list_size if types.is_fixed_size_list(type) else 8
            return [one(type.value_type, 1000 * seed + i) for i in range(size)]
        if types.is_floating(type):
            return float(numbers.normal())
        if types.is_integer(type):
            return int(numbers.integers(0, 8))
        if types.is_boolean(type):
            return bool(seed % 2)
        text = f"a photo of thing number {seed}"
        return text.encode() if types.is_binary(type) else text

    return [one(field.type, row) for row in range(rows)]


def table_for(operator: Operator) -> pa.Table:
    table = standard_table()
    for field in operator.inputs():
        if field.name not in table.column_names:
            table = table.append_column(field, pa.array(invented(field, table.num_rows), field.type))
    return table


def run(operator: Operator, table: pa.Table) -> pa.Table:
    """Return what the operator makes of a table, before anything is merged, sorted or dropped."""
    batch = Batch(table)
    if isinstance(operator, Transform):
        return operator.apply(batch).table
    if isinstance(operator, Filter):
        verdicts = operator.judge(batch)
        scores = [None] * len(batch) if verdicts.scores is None else list(verdicts.scores)
        assert len(verdicts.reasons) == len(scores) == len(batch)
        return pa.table(
            {
                "key": batch.keys,
                "reason": pa.array(verdicts.reasons, pa.string()),
                "score": pa.array(scores, pa.float64()),
            }
        )
    if isinstance(operator, Generator):
        return operator.generate(batch)
    assert isinstance(operator, Global)
    schema, found = operator.sketch_schema(), operator.sketch(batch)
    assert set(found) == set(schema.names)
    return pa.table([pa.array(batch.keys), *(pa.array(found[f.name], f.type) for f in schema)], ["key", *schema.names])


def pieces(operator: Operator, table: pa.Table, sizes: list[int]) -> Iterator[pa.Table]:
    start = 0
    for size in sizes:
        piece = run(operator, table.slice(start, size))
        if "_parent" in piece.column_names:  # counts from the batch's first row
            moved = pa.array([parent + start for parent in piece.column("_parent").to_pylist()], pa.int64())
            piece = piece.set_column(piece.column_names.index("_parent"), "_parent", moved)
        yield piece
        start += size


@pytest.mark.parametrize("name", operator_names())
def test_every_operator_can_be_imported(name: str) -> None:
    assert issubclass(find_operator(name), Operator)


@pytest.mark.parametrize("name", CLASSES)
def test_every_operator_says_what_it_does(name: str) -> None:
    cls = CLASSES[name]
    assert cls.kind in KINDS
    assert cls.name() == name
    assert len(inspect.cleandoc(cls.__dict__.get("__doc__") or "")) > 30, "the class needs a docstring"
    assert not inspect.isabstract(cls)


def undescribed(model: type[BaseModel], path: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if not field.description:
            yield f"{path}.{name}"
        for inner in (field.annotation, *get_args(field.annotation)):
            if inspect.isclass(inner) and issubclass(inner, BaseModel):
                yield from undescribed(inner, f"{path}.{name}")


@pytest.mark.parametrize("name", CLASSES)
def test_every_parameter_says_what_it_means(name: str) -> None:
    assert list(undescribed(CLASSES[name], name)) == []


@pytest.mark.parametrize("name", CLASSES)
def test_every_column_an_operator_names_is_described(name: str) -> None:
    cls = CLASSES[name]
    named = [*resolve(cls.writes)]
    if not issubclass(cls, (Source, Sink)):
        named += [field for operator in made(cls) for field in operator.outputs()]
    assert [field.name for field in named if not (field.metadata or {}).get(b"description")] == []


@pytest.mark.parametrize("name", CLASSES)
def test_every_operator_survives_the_way_to_a_worker(name: str) -> None:
    for operator in made(CLASSES[name]):
        again = pickle.loads(pickle.dumps(operator))
        assert again == operator
        assert type(operator)(**operator.model_dump()) == operator


@pytest.mark.parametrize(("name", "number"), cases(Transform, Filter, Generator, Global))
def test_an_operator_adds_what_it_declares_and_nothing_else(name: str, number: int) -> None:
    operator = example(name, number)
    table = table_for(operator)
    operator.check(table.schema)
    result = run(operator, table)
    if isinstance(operator, Transform) and operator.rows_per_sample is not None:
        assert result.schema.equals(operator.outputs(), check_metadata=True)
        assert result.num_rows == operator.rows_per_sample * table.num_rows
    elif isinstance(operator, Transform):
        assert operator.layer or operator.into
        assert result.column_names == [*table.column_names, *operator.outputs().names]
        assert result.select(table.column_names).equals(table)
        for field in operator.outputs():
            assert result.schema.field(field.name).equals(field, check_metadata=True)
    elif isinstance(operator, Filter):
        assert all(reason is None or reason.strip() for reason in result.column("reason").to_pylist())
    elif isinstance(operator, Generator):
        parents = result.column("_parent").to_pylist()
        assert parents == sorted(parents)
        assert set(parents) <= set(range(table.num_rows))
        assert set(result.column_names) >= {"key", "image", *operator.outputs().names}
        assert len(set(result.column("key").to_pylist())) == result.num_rows
    kept = operator(table)
    if not isinstance(operator, Generator) and "key" in kept.column_names:
        keys, before = kept.column("key").to_pylist(), table.column("key").to_pylist()
        assert keys == [key for key in before if key in set(keys)], "keys change or move"


@pytest.mark.parametrize(("name", "number"), cases(Transform, Filter, Generator, Global))
def test_the_result_is_the_same_however_the_batch_is_split(name: str, number: int) -> None:
    operator = example(name, number)
    table = table_for(operator)
    whole, rows = run(operator, table), table.num_rows
    for sizes in ([1, 3, rows - 4], [rows - 1, 1], [1] * rows):
        split = pa.concat_tables(pieces(operator, table, sizes))
        if not operator.alone:
            assert split.equals(whole), f"in batches of {sizes}"
            continue
        for field in whole.schema:  # a model's last bits may depend on the batch; the engine keeps batches as they are
            if types.is_floating(field.type):
                values = (t.column(field.name).to_numpy() for t in (split, whole))
                np.testing.assert_allclose(*values, rtol=1e-2, atol=1e-3)
        assert split.num_rows == whole.num_rows


@pytest.mark.parametrize(("name", "number"), cases(Global))
def test_a_global_decision_does_not_depend_on_the_order_in_which_shards_finish(name: str, number: int) -> None:
    operator = example(name, number)
    assert isinstance(operator, Global)
    table = run(operator, table_for(operator))
    places = pa.table(
        {"shard": [f"{i // 5:05d}" for i in range(table.num_rows)], "row": [i % 5 for i in range(table.num_rows)]}
    )
    for name in table.column_names:
        places = places.append_column(name, table.column(name))
    decisions = set()
    for seed in range(4):
        order = list(range(places.num_rows))
        random.Random(seed).shuffle(order)
        with duckdb.connect() as connection:
            dropped = operator.reduce(connection.from_arrow(places.take(pa.array(order))))
            assert dropped.columns == ["shard", "row", "reason", "score", *operator.outputs().names]
            rows = sorted(dropped.fetchall(), key=lambda row: row[:2])
        assert len({(shard, row) for shard, row, *_ in rows}) == len(rows), "a row is dropped twice"
        assert operator.layer or all(reason for _, _, reason, *_ in rows)
        decisions.add(tuple(rows))
    assert len(decisions) == 1
