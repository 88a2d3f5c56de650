from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from reinforced.errors import RequestError
from reinforced.operators.label.caption_noise import LabelCaptionNoise
from reinforced.operators.label.noise import LabelNoise

ROWS = 1000
LABELS = np.arange(ROWS) % 10
TABLE = pa.table(
    {
        "key": [f"{i:04d}" for i in range(ROWS)],
        "label": pa.array(LABELS, pa.int32()),
        "caption": [f"caption {i}" for i in range(ROWS)],
    }
)


def noisy(**parameters: Any) -> tuple[np.ndarray, np.ndarray]:
    found = LabelNoise(**parameters)(TABLE)
    assert found.column("label").to_pylist() == LABELS.tolist(), "the truth is kept"
    return found.column("noisy_label").to_numpy(), found.column("label_is_noisy").to_numpy()


@pytest.mark.parametrize("rate", [0, 0.05, 0.1, 0.2, 0.3, 1])
def test_exactly_the_share_of_labels_is_wrong(rate: float) -> None:
    labels, wrong = noisy(rate=rate, classes=10)
    assert (labels != LABELS).sum() == rate * ROWS
    assert ((labels != LABELS) == wrong).all()


def test_symmetric_noise_gives_every_other_class_alike() -> None:
    labels, _ = noisy(rate=1, classes=10)
    counts = Counter(((labels - LABELS) % 10).tolist())
    assert set(counts) == set(range(1, 10))
    assert max(abs(count - ROWS / 9) for count in counts.values()) < 45


def test_asymmetric_noise_flips_the_share_of_each_named_class_and_no_other() -> None:
    labels, wrong = noisy(rate=0.25, flips={3: 5, 9: 1})
    assert Counter(zip(LABELS[wrong].tolist(), labels[wrong].tolist(), strict=True)) == {(3, 5): 25, (9, 1): 25}


def test_more_noise_keeps_the_wrong_labels_of_less_noise() -> None:
    few, many = noisy(rate=0.1, classes=10), noisy(rate=0.3, classes=10)
    assert (few[0] == many[0])[few[1]].all()
    assert not np.array_equal(noisy(rate=0.1, classes=10, seed=1)[1], few[1])


def test_rows_without_a_label_stay_without_and_do_not_count() -> None:
    table = TABLE.slice(0, 4).set_column(1, "label", pa.array([1, None, 2, None], pa.int32()))
    found = LabelNoise(rate=0.5, classes=3)(table)
    assert found.column("label_is_noisy").to_pylist().count(True) == 1
    assert [found.column("noisy_label").to_pylist()[i] for i in (1, 3)] == [None, None]


def test_labels_beyond_the_classes_are_refused() -> None:
    with pytest.raises(RequestError, match="a label 9, but classes is 5"):
        noisy(rate=0.1, classes=5)
    with pytest.raises(ValueError, match="either classes"):
        LabelNoise(rate=0.1)
    with pytest.raises(ValueError, match="class 2 into itself"):
        LabelNoise(rate=0.1, flips={2: 2})


@pytest.mark.parametrize("rate", [0, 0.1, 0.5, 1])
def test_shuffled_captions_are_others_and_none_is_lost(rate: float) -> None:
    found = LabelCaptionNoise(rate=rate)(TABLE)
    before, after = (found.column(name).to_pylist() for name in ("caption", "noisy_caption"))
    assert sorted(before) == sorted(after)
    wrong = [one != other for one, other in zip(before, after, strict=True)]
    assert wrong == found.column("caption_is_noisy").to_pylist()
    assert sum(wrong) == rate * ROWS
