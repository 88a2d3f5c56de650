from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reinforced.cascade import cheaper_orders
from reinforced.operators.filter.image import FilterImage
from reinforced.operators.hash.pixels import HashPixels
from reinforced.pipeline import Step
from reinforced.record import StepCounts


def filters(*names: str) -> list[Step]:
    return [Step(name=name, operator=FilterImage(), at="") for name in names]


def counts(rows_in: int, dropped: int) -> StepCounts:
    return StepCounts(rows_in, rows_in - dropped, dropped)


def test_a_cheap_filter_that_drops_much_should_come_first() -> None:
    (found,) = cheaper_orders(
        filters("slow", "fast"), {"slow": counts(1000, 100), "fast": counts(900, 810)}, {"slow": 10.0, "fast": 0.9}
    )
    assert found.steps == ("fast", "slow")
    assert found.saved == pytest.approx(1 - (0.001 + 0.1 * 0.01) / (0.01 + 0.9 * 0.001))
    assert "fast, slow" in str(found)


def test_nothing_is_said_where_the_order_is_good_or_nothing_was_measured() -> None:
    found = {"a": counts(1000, 900), "b": counts(100, 10)}
    assert list(cheaper_orders(filters("a", "b"), found, {"a": 1.0, "b": 5.0})) == []
    assert list(cheaper_orders(filters("b", "a"), found, {})) == []


def test_filters_on_both_sides_of_another_step_stay_there() -> None:
    between = Step(name="hash", operator=HashPixels(), at="")
    steps = [*filters("slow"), between, *filters("fast")]
    found = {"slow": counts(1000, 0), "hash": counts(1000, 0), "fast": counts(1000, 990)}
    assert list(cheaper_orders(steps, found, {"slow": 9.0, "hash": 1.0, "fast": 0.1})) == []


@given(st.lists(st.tuples(st.floats(0.1, 10), st.integers(0, 100)), min_size=2, max_size=4))
def test_no_other_order_is_cheaper(measured: list[tuple[float, int]]) -> None:
    cost = {str(i): seconds for i, (seconds, _) in enumerate(measured)}
    kept = {str(i): 1 - dropped / 100 for i, (_, dropped) in enumerate(measured)}

    def time(order: tuple[str, ...]) -> float:
        left, total = 1.0, 0.0
        for name in order:
            total, left = total + left * cost[name], left * kept[name]
        return total

    names = tuple(cost)
    found = {str(i): counts(100, dropped) for i, (_, dropped) in enumerate(measured)}
    orders = list(cheaper_orders(filters(*names), found, cost))
    least, before = min(map(time, itertools.permutations(names))), time(names)
    if orders:
        assert time(orders[0].steps) == pytest.approx(least)
    else:
        assert before - least <= 0.2 * before + 1e-9
