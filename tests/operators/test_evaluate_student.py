import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from reinforced.dataset import open_dataset
from reinforced.errors import RequestError
from reinforced.operators.evaluate.student import EvaluateStudent
from reinforced.run import run

SMALL = ["source.shard_rows=600", "steps.2.draws=4", "sinks.0.steps=250", "sinks.0.seeds=1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("quickstart") / "digits"
    run("quickstart", [f"out={out}", *SMALL])
    return out


@pytest.fixture
def result(made: Path) -> dict[str, Any]:
    return json.loads((made / "evaluation.json").read_text())  # type: ignore[no-any-return]


def test_the_quickstart_shows_that_stored_labels_teach_better(result: dict[str, Any]) -> None:
    arms = {arm["arm"]: arm for arm in result["arms"]}
    assert arms["reinforced"]["accuracy"][0] > arms["hard labels"]["accuracy"][0] + 0.01
    assert arms["reinforced"]["nll"][0] < arms["hard labels"]["nll"][0]
    assert arms["reinforced"]["ece"][0] < arms["label smoothing 0.1"]["ece"][0]


def test_the_result_says_what_was_compared_and_what_the_teachers_know(result: dict[str, Any]) -> None:
    assert (result["train_images"], result["test_images"], result["draws"], result["steps"]) == (100, 451, 4, 250)
    assert result["teacher"]["accuracy"][0] > 0.98
    assert "train split" in result["teacher_saw"]
    assert 0.8 < result["stored_first_choice_is_label"] <= 1
    assert all(arm["seconds_per_epoch"] > 0 for arm in result["arms"])


def test_without_teachers_there_is_no_line_for_them_and_fewer_draws_are_used(made: Path) -> None:
    dataset = open_dataset(str(made))
    before = (made / "evaluation.json").read_bytes()
    EvaluateStudent(images=20, draws=2, steps=5, seeds=1).finish(dataset)
    result = json.loads((made / "evaluation.json").read_text())
    (made / "evaluation.json").write_bytes(before)
    assert result["teacher"] is None and result["draws"] == 2 and result["train_images"] == 20


def test_a_split_nobody_has_is_an_error_that_names_the_splits(made: Path) -> None:
    with pytest.raises(RequestError, match=r"whose split is 'validation'.*calibration, test, train"):
        EvaluateStudent(test="validation").finish(open_dataset(str(made)))


def test_another_column_of_parts_is_asked_for_by_its_own_name() -> None:
    assert EvaluateStudent(split="fold").inputs().names == ["key", "image", "label", "fold"]


def test_corruptions_another_student_and_fewer_test_images_are_a_matter_of_parameters(made: Path) -> None:
    dataset = open_dataset(str(made))
    before = (made / "evaluation.json").read_bytes()
    student = {"student": "resnet8", "arguments": {"width": 4}}
    corrupted = {"corruptions": ["contrast", "shot_noise"], "severities": [1, 5], "seed": 0}
    EvaluateStudent(images=20, test_images=50, draws=2, steps=3, seeds=2, **student, **corrupted).finish(dataset)
    result = json.loads((made / "evaluation.json").read_text())
    (made / "evaluation.json").write_bytes(before)
    assert (result["student"], result["test_images"]) == ("ResNet-8", 50)
    for arm in result["arms"]:
        assert [row["severity"] for row in arm["corrupted"]["each"]] == [1, 5, 1, 5]
        assert len(arm["corrupted"]["accuracy"]) == 2


def test_teachers_are_listed_one_by_one_as_well(result: dict[str, Any]) -> None:
    assert [teacher["arm"][:2] for teacher in result["teachers"]] == ["0:", "1:", "2:"]
    assert all(teacher["accuracy"][0] > 0.97 for teacher in result["teachers"])


def test_the_loaders_throughput_is_images_over_seconds(result: dict[str, Any]) -> None:
    assert [arm["images_per_second"] * arm["seconds_per_epoch"] for arm in result["arms"]] == pytest.approx([1797] * 3)


def test_more_test_images_than_there_are_is_an_error_with_their_number(made: Path) -> None:
    with pytest.raises(RequestError, match=r"needs 500 labelled images whose split is 'test', .* has 451"):
        EvaluateStudent(test_images=500).finish(open_dataset(str(made)))


def test_an_unknown_corruption_is_refused_before_the_run() -> None:
    with pytest.raises(ValidationError, match="'pixellate' is unknown; did you mean 'pixelate'"):
        EvaluateStudent(corruptions=["pixellate"])
    with pytest.raises(ValidationError, match="severity 7 must be from 1"):
        EvaluateStudent(corruptions="all", severities=[7])
