import io

from rich.console import Console

from reinforced.comparison import HARD, REINFORCED, spread, student_table


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
