from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from reinforced.batch import Batch
from reinforced.errors import RequestError
from reinforced.operators.label.teacher import LabelTeacher
from reinforced.operators.score.nsfw import ScoreNsfw

COLOURS = np.zeros((3, 20, 30, 3), np.uint8)
for i in range(3):
    COLOURS[i, ..., i] = 255
TEACHER = {"factory": "small_teachers.Means", "temperature": 0.5}


def asked(operator: Any) -> dict[str, Any]:
    operator.setup()
    return dict(operator.transform(Batch(pa.table({"key": list("rgb")}), list(COLOURS))))


def test_the_most_probable_classes_come_first_with_their_probabilities() -> None:
    found = asked(LabelTeacher(teachers=[TEACHER], top_k=2, size_px=8))
    assert [list(row) for row in found["teacher_classes"]] == [[0, 1], [1, 0], [2, 0]]
    share = np.exp(2) / (np.exp(2) + 2)
    expected = np.tile([share, (1 - share) / 2], (3, 1))
    np.testing.assert_allclose(np.array(found["teacher_probabilities"]), expected, rtol=1e-5)


def test_without_top_k_the_probabilities_of_all_classes_add_up_to_one() -> None:
    found = asked(LabelTeacher(teachers=[TEACHER], size_px=8))
    assert np.sum(found["teacher_probabilities"], axis=1) == pytest.approx([1, 1, 1])


def test_the_unsafe_classes_are_added_up() -> None:
    share = np.exp(2) / (np.exp(2) + 2)
    rest = (1 - share) / 2
    found = asked(ScoreNsfw(teachers=[TEACHER], size_px=8, unsafe_classes=[0, 2]))
    assert list(found["nsfw_score"]) == pytest.approx([share + rest, 2 * rest, share + rest])


def test_a_class_that_the_classifier_does_not_know_is_refused() -> None:
    with pytest.raises(RequestError, match="names class 3, the classifiers know 0 to 2"):
        ScoreNsfw(teachers=[TEACHER], unsafe_classes=[3]).setup()
