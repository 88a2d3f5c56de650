from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reinforced.errors import RequestError
from reinforced.label_adapters import LabelMap, LabelMetric, parse_adapter
from reinforced.teachers import Ensemble, parse_teacher

ANSWERS = np.array([[0.5, 0.3, 0.2], [0.0, 0.0, 1.0]], np.float32)
MEANS: dict[str, Any] = {"factory": "small_teachers.Means"}
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)


def adapted(adapter: LabelMap | LabelMetric, answers: np.ndarray = ANSWERS) -> list[list[float]]:
    return np.round(adapter.apply(answers, adapter.matrix()), 6).tolist()  # type: ignore[no-any-return]


def metric(folder: Path, distances: Any, softness: float = 0.0) -> LabelMetric:
    np.save(folder / "metric.npy", np.array(distances))
    return LabelMetric(metric=f"{folder}/metric.npy", softness=softness)


def test_subclasses_of_a_label_add_up() -> None:
    np.testing.assert_allclose(adapted(LabelMap(map=(1, 0, 1))), [[0.3, 0.7], [0, 1]])


def test_a_superclass_is_divided_evenly_between_its_labels() -> None:
    assert adapted(LabelMap(map=((0, 1), 2, (1, 3))))[0] == pytest.approx([0.25, 0.35, 0.3, 0.1])


def test_classes_without_a_label_leave_their_share_to_the_others() -> None:
    np.testing.assert_allclose(adapted(LabelMap(map=(0, 1, None))), [[0.625, 0.375], [0.5, 0.5]])


def test_labels_no_class_has_are_there_if_counted() -> None:
    assert adapted(LabelMap(map=(0, 1, 1), count=4))[0] == pytest.approx([0.5, 0.5, 0, 0])


@given(
    arrays(np.float32, (4, 3), elements=st.floats(0, 1, width=32)),
    st.lists(st.none() | st.integers(0, 4), min_size=3, max_size=3),
)
def test_whatever_the_map_the_result_is_a_distribution(raw: np.ndarray, entries: list[int | None]) -> None:
    answers = (raw + 1e-6) / (raw + 1e-6).sum(axis=1, keepdims=True)
    if any(entry is not None for entry in entries):
        adapter = LabelMap(map=tuple(entries))
        found = adapter.apply(answers, adapter.matrix())
        assert (found >= 0).all()
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_a_metric_finds_the_label_between_the_classes_a_teacher_is_torn_between(tmp_path: Path) -> None:
    classes, labels = np.array([0.0, 2.0, 10.0]), np.array([0.0, 1.0, 2.0, 6.0, 10.0])
    distances = np.abs(classes[:, None] - labels)
    answers = np.array([[0.5, 0.5, 0.0], [0.9, 0.1, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]], np.float32)
    found = metric(tmp_path, distances)
    assert np.argmax(adapted(found, answers), axis=1).tolist() == [1, 0, 3, 4]
    by_hand = [[sum(p * d**2 for p, d in zip(row, distances[:, y], strict=True)) for y in range(5)] for row in answers]
    assert np.argmax(adapted(found, answers), axis=1).tolist() == np.argmin(by_hand, axis=1).tolist()
    assert np.sum(adapted(found, answers), axis=1).tolist() == [1, 1, 1, 1]


def test_a_soft_metric_keeps_the_order_and_some_doubt(tmp_path: Path) -> None:
    distances = [[0, 1, 2], [1, 0, 1], [2, 1, 0]]
    soft = np.array(adapted(metric(tmp_path, distances, softness=0.5)))
    assert soft[0].argmax() == np.argmax(adapted(metric(tmp_path, distances))[0])
    means = ANSWERS[0] @ np.square(np.array(distances, float))
    np.testing.assert_allclose(soft[0], np.exp(-means / 0.5) / np.exp(-means / 0.5).sum(), atol=1e-5)


def test_a_teachers_classes_become_labels_before_they_are_averaged(tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text(json.dumps([0, 1, 1]))
    mapped = MEANS | {"labels": {"map": f"{tmp_path}/map.json"}}
    two = MEANS | {"arguments": {"outputs": 2}}
    asked = Ensemble([parse_teacher(mapped), parse_teacher(two)], (8, 8), classes=2)
    raw = Ensemble([parse_teacher(MEANS)], (8, 8)).probabilities(IMAGES)
    other = Ensemble([parse_teacher(two)], (8, 8)).probabilities(IMAGES)
    expected = (np.stack([raw[:, 0], raw[:, 1] + raw[:, 2]], axis=1) + other) / 2
    np.testing.assert_allclose(asked.probabilities(IMAGES), expected, atol=1e-6)


def test_a_change_of_the_map_is_seen(tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text("[0, 1, 1]")
    teacher = parse_teacher(MEANS | {"labels": {"map": f"{tmp_path}/map.json"}})
    before = teacher.content_hash()
    (tmp_path / "map.json").write_text("[0, 1, 0]")
    assert teacher.content_hash() != before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "must be a JSON list"),
        ("[0, 'a']", "must be a JSON list"),
        ("[0, 1.5]", "must be a JSON list"),
        ("[0, -1]", "must be 0 to"),
        ("[null, null]", "must be 0 to"),
        ("[0, 1]", "knows 3 classes, its `labels` are for 2"),
    ],
)
def test_a_map_that_fits_nothing_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text(content)
    with pytest.raises(RequestError, match=message):
        Ensemble([parse_teacher(MEANS | {"labels": {"map": f"{tmp_path}/map.json"}})], (8, 8))


@pytest.mark.parametrize(
    ("distances", "message"),
    [
        ([1.0, 2.0], "table of numbers"),
        ([["a"]], "table of numbers"),
        ([[-1.0]], "negative"),
        ([[np.nan]], "not finite"),
    ],
)
def test_distances_that_are_none_are_refused(distances: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=message):
        metric(tmp_path, distances).matrix()


def test_distances_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "metric.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(RequestError, match=r"no \.npy file of numbers"):
        LabelMetric(metric=f"{tmp_path}/metric.npy").matrix()


@pytest.mark.parametrize("given", [{"mp": [0]}, {"map": [0], "metric": "x"}, {}, [0, 1]])
def test_an_adapter_has_one_kind(given: Any) -> None:
    with pytest.raises(ValueError, match="exactly one of the keys map, metric"):
        parse_adapter(given)
