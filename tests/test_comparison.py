import io

import pytest
from rich.console import Console

from reinforced.comparison import HARD, REINFORCED, by_corruption, spread, student_table


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


def test_the_table_shows_how_the_arms_hold_up_where_images_were_corrupted() -> None:
    arm = {"arm": HARD, "accuracy": [0.9], "ece": [0.1], "nll": [0.3], "seconds_per_epoch": 0.25}
    arm["corrupted"] = {"accuracy": [0.6, 0.62], "ece": [0.3], "each": []}
    result = {
        "student": "MLP-8",
        "train_images": 7,
        "test_images": 9,
        "teacher": None,
        "teacher_saw": "",
        "arms": [arm],
    }
    console = Console(width=140, file=io.StringIO(), record=True)
    console.print(student_table(result))
    text = console.export_text()
    assert "61.0 ± 1.4 %" in text and "30.0 %" in text


def test_the_accuracy_under_a_corruption_is_the_mean_of_its_severities_and_seeds() -> None:
    rows = [{"corruption": "fog", "accuracy": [0.5, 0.7]}, {"corruption": "fog", "accuracy": [0.1, 0.3]}]
    arm = {"corrupted": {"each": [*rows, {"corruption": "contrast", "accuracy": [1, 0]}]}}
    assert by_corruption({"arms": [arm], "teacher": None}) == [("fog", [pytest.approx(0.4)]), ("contrast", [0.5])]
    assert by_corruption({"arms": [{}], "teacher": None}) == []
