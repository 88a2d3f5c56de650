from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from reinforced.comparison import HARD, REINFORCED, SMOOTHED
from reinforced.errors import RequestError
from reinforced.scoring import HeldOut
from reinforced.student import Schedule, build, evaluate, train
from reinforced.student_images import Views

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


def held_out(views: Views, **corrupted: object) -> HeldOut:
    return HeldOut(views.pixels, views.labels, [f"{i}" for i in range(len(views.labels))], **corrupted)  # type: ignore[arg-type]


def too_many(classes: int, more: int = 2) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, classes + more))


def test_a_better_teacher_than_the_labels_shows_in_the_scores() -> None:
    views, test = two_kinds(60, wrong=0.4), two_kinds(200, wrong=0, seed=1)
    arms = {arm["arm"]: arm for arm in evaluate(views.lessons(), held_out(test), FAST)}
    assert list(arms) == [HARD, SMOOTHED, REINFORCED]
    assert np.mean(arms[REINFORCED]["accuracy"]) > np.mean(arms[HARD]["accuracy"]) + 0.05
    assert np.mean(arms[REINFORCED]["nll"]) < np.mean(arms[HARD]["nll"])
    assert all(len(arm["ece_equal_mass"]) == FAST.seeds for arm in arms.values())


def test_a_student_trained_twice_with_one_seed_is_the_same_and_leaves_torch_as_it_was() -> None:
    views = two_kinds(40, wrong=0)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (train(views.lessons()[HARD], FAST, seed).probabilities(views.pixels) for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_other_arms_than_those_of_a_dataset_can_be_compared() -> None:
    good, bad = two_kinds(60, wrong=0), two_kinds(60, wrong=0.5)
    arms = {"right": good.lessons()[HARD], "wrong": bad.lessons()[HARD]}
    right, wrong = evaluate(arms, held_out(two_kinds(100, wrong=0, seed=1)), FAST)
    assert (right["arm"], wrong["arm"]) == ("right", "wrong")
    assert min(right["accuracy"]) > max(wrong["accuracy"])


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_residual_network_can_be_the_student(optimizer: str) -> None:
    views = two_kinds(40, wrong=0)
    network: Any = {"student": "resnet8", "arguments": {"width": 4}, "optimizer": optimizer}
    small = Schedule(25, 16, learning_rate=0.01, seeds=1, **network)
    (arm,) = evaluate({HARD: views.lessons()[HARD]}, held_out(views), small)
    assert arm["accuracy"][0] > 0.8
    assert small.name == "ResNet-8"


def test_more_images_than_are_asked_about_at_once_are_all_answered() -> None:
    views, many = two_kinds(40, wrong=0), two_kinds(1030, wrong=0)
    student = train(views.lessons()[HARD], FAST, 0)
    answers = student.probabilities(many.pixels)
    assert answers.shape == (1030, 2)
    np.testing.assert_allclose(answers[1020:], student.probabilities(many.pixels[1020:]), rtol=1e-4)


def test_a_student_of_other_classes_is_refused_before_it_is_trained() -> None:
    with pytest.raises(
        RequestError, match=r"'test_student.too_many' answers \(2, 12\) to 2 images, there are 10 classes"
    ):
        build(Schedule(student="test_student.too_many"), (8, 8), 10)
    assert build(Schedule(student="test_student.too_many", arguments={"more": 0}), (8, 8), 10)


@pytest.mark.parametrize(
    ("student", "reason"),
    [
        ("mpl", "'mpl' is unknown; did you mean 'mlp'"),
        ("resnet9", "6n \\+ 2"),
        ("reinforced.models.nothing", "cannot be imported"),
        ("nowhere.nothing", "cannot be imported"),
        ("reinforced.models.mlp", "inputs"),
    ],
)
def test_a_student_that_cannot_be_built_says_why(student: str, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        build(Schedule(student=student), (8, 8), 10)
