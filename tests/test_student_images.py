from pathlib import Path

import numpy as np
import pytest
from reinforced_dataset import write_dataset

from reinforced.comparison import HARD, REINFORCED, SMOOTHED
from reinforced.dataset import open_dataset
from reinforced.epoch import EpochReader
from reinforced.errors import RequestError
from reinforced.student_images import Row, Views, chosen_rows, held_out, stored_views


def test_every_arm_is_taught_probabilities_of_its_own() -> None:
    views = Views(np.zeros((1, 2, 2, 3), np.uint8), np.array([2]), np.array([[0.1, 0.2, 0.7]], np.float32))
    np.testing.assert_allclose(views.targets(HARD), [[0, 0, 1]])
    np.testing.assert_allclose(views.targets(SMOOTHED), [[0.1 / 3, 0.1 / 3, 0.9 + 0.1 / 3]], rtol=1e-6)
    np.testing.assert_allclose(views.targets(REINFORCED), [[0.1, 0.2, 0.7]], rtol=1e-6)


def test_a_label_the_teachers_do_not_know_is_said_before_training() -> None:
    with pytest.raises(RequestError, match="the teachers know 3 classes, the training images have labels 0 to 3"):
        Views(np.zeros((2, 2, 2, 3), np.uint8), np.array([0, 3]), np.zeros((2, 3), np.float32)).lessons()


def test_replayed_views_are_the_loaders_and_skip_rows_that_were_dropped(tmp_path: Path) -> None:
    dataset = open_dataset(str(write_dataset(tmp_path / "d", rows=(4, 3), dropped=[(0, 1)])))
    reader = EpochReader(dataset, shuffle=False)
    rows = [Row(0, 1, 2, "0/2"), Row(1, 0, 100, "1/0")]  # the second kept row of the first shard has label 2
    views = stored_views(reader, rows, 2)
    assert views.labels.tolist() == [2, 100, 2, 100]
    for epoch in range(2):
        expected = reader.load(1, epoch).sample(0)
        np.testing.assert_array_equal(views.pixels[2 * epoch + 1], expected.pixels)
        assert views.teacher[2 * epoch + 1].argmax() == expected.classes[0]
    np.testing.assert_allclose(views.teacher.sum(1), 1, rtol=1e-5)
    found = held_out(dataset, rows, (5, 6))
    assert found.pixels.shape == (2, 6, 5, 3)
    assert (found.labels.tolist(), list(found.keys)) == ([2, 100], ["0/2", "1/0"])


def test_a_split_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    dataset = open_dataset(str(write_dataset(tmp_path / "d", rows=(3,))))
    with pytest.raises(RequestError, match=r"some labelled images whose key is 'nowhere'.* it has key: 0/0, 0/1, 0/2"):
        chosen_rows(dataset, "key", "nowhere")
    with pytest.raises(RequestError, match="needs 2 labelled images"):
        chosen_rows(dataset, "key", "0/1", 2)
    assert chosen_rows(dataset, "key", "0/1") == [Row(0, 1, 1, "0/1")]
