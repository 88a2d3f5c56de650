import io
from pathlib import Path

import numpy as np
import pytest
import torch
from reinforced_dataset import write_dataset
from rich.console import Console

from reinforced.comparison import HARD, REINFORCED, SMOOTHED, spread, student_table
from reinforced.dataset import open_dataset
from reinforced.epoch import EpochReader
from reinforced.errors import RequestError
from reinforced.student import Schedule, Views, chosen_rows, clean_images, compare, predict, stored_views, train

FAST = Schedule(steps=150, batch_size=32, hidden=8, learning_rate=0.01, seeds=2)


def two_kinds(count: int, wrong: float, seed: int = 0) -> Views:
    """Bright left or bright right halves with noise; a share of the hard labels is wrong, the teacher's are right."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 2, count)
    pixels = random.integers(0, 90, (count, 4, 4, 3)).astype(np.uint8)
    for row, kind in enumerate(truth):
        pixels[row, :, 2 * kind : 2 * kind + 2] += 120
    labels = np.where(random.random(count) < wrong, 1 - truth, truth)
    return Views(pixels, labels, np.eye(2, dtype=np.float32)[truth] * 0.9 + 0.05)


def test_every_arm_is_taught_probabilities_of_its_own() -> None:
    views = Views(np.zeros((1, 2, 2, 3), np.uint8), np.array([2]), np.array([[0.1, 0.2, 0.7]], np.float32))
    np.testing.assert_allclose(views.targets(HARD), [[0, 0, 1]])
    np.testing.assert_allclose(views.targets(SMOOTHED), [[0.1 / 3, 0.1 / 3, 0.9 + 0.1 / 3]], rtol=1e-6)
    np.testing.assert_allclose(views.targets(REINFORCED), [[0.1, 0.2, 0.7]], rtol=1e-6)


def test_a_better_teacher_than_the_labels_shows_in_the_scores() -> None:
    views, test = two_kinds(60, wrong=0.4), two_kinds(200, wrong=0, seed=1)
    arms = {arm["arm"]: arm for arm in compare(views, test.pixels, test.labels, FAST)}
    assert list(arms) == [HARD, SMOOTHED, REINFORCED]
    assert np.mean(arms[REINFORCED]["accuracy"]) > np.mean(arms[HARD]["accuracy"]) + 0.05
    assert np.mean(arms[REINFORCED]["nll"]) < np.mean(arms[HARD]["nll"])
    assert all(len(arm["ece_equal_mass"]) == FAST.seeds for arm in arms.values())


def test_a_student_trained_twice_with_one_seed_is_the_same_and_leaves_torch_as_it_was() -> None:
    views = two_kinds(40, wrong=0)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    models = [train(views.pixels, views.targets(HARD), FAST, seed) for seed in (1, 1, 2)]
    assert torch.equal(before, torch.random.get_rng_state())
    first, again, other = (predict(model, views.pixels, views.pixels) for model in models)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_replayed_views_are_the_loaders_and_skip_rows_that_were_dropped(tmp_path: Path) -> None:
    dataset = open_dataset(str(write_dataset(tmp_path / "d", rows=(4, 3), dropped=[(0, 1)])))
    reader = EpochReader(dataset, shuffle=False)
    rows = [(0, 1, 2), (1, 0, 100)]  # the second kept row of the first shard has label 2
    views = stored_views(reader, rows, 2)
    assert views.labels.tolist() == [2, 100, 2, 100]
    for epoch in range(2):
        expected = reader.load(1, epoch).sample(0)
        np.testing.assert_array_equal(views.pixels[2 * epoch + 1], expected.pixels)
        assert views.teacher[2 * epoch + 1].argmax() == expected.classes[0]
    np.testing.assert_allclose(views.teacher.sum(1), 1, rtol=1e-5)
    assert clean_images(dataset, rows, (5, 6)).shape == (2, 6, 5, 3)


def test_a_split_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    dataset = open_dataset(str(write_dataset(tmp_path / "d", rows=(3,))))
    with pytest.raises(RequestError, match=r"some labelled images whose key is 'nowhere'.* it has key: 0/0, 0/1, 0/2"):
        chosen_rows(dataset, "key", "nowhere")
    with pytest.raises(RequestError, match="needs 2 labelled images"):
        chosen_rows(dataset, "key", "0/1", 2)
    assert chosen_rows(dataset, "key", "0/1") == [(0, 1, 1)]


def test_measurements_are_written_with_their_spread() -> None:
    assert spread([0.5, 0.7], 100) == "60.0 ± 14.1"
    assert spread([0.5], digits=2) == "0.50"


def test_the_table_shows_every_arm_and_what_the_teachers_saw() -> None:
    arm = {"accuracy": [0.9, 0.8], "ece": [0.1, 0.2], "nll": [0.3, 0.4], "seconds_per_epoch": 0.25}
    teacher = {"accuracy": [0.99], "ece": [0.01], "nll": [0.02]}
    result = {"student": "MLP-8", "train_images": 7, "test_images": 9, "teacher": teacher, "teacher_saw": "half of it"}
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(student_table({**result, "arms": [{"arm": name, **arm} for name in (HARD, REINFORCED)]}))
    text = console.export_text()
    assert "85.0 ± 7.1 %" in text and "99.0 %" in text and "0.25" in text
    assert "the teachers saw half of it" in " ".join(text.split())
