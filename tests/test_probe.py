from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import reinforced
from reinforced.cli import main
from reinforced.dataset import Dataset
from reinforced.errors import RequestError
from reinforced.probe import Probed, every_fifth, linear, nearest_neighbours, probe
from reinforced.probe_report import probe_page
from reinforced.teachers import parse_teacher
from reinforced.teachers_cli import named_teachers

MLP: dict[str, Any] = {
    "factory": "reinforced.models.mlp",
    "arguments": {"inputs": 192, "hidden": 96},
    "mean": [0.327] * 3,
    "std": [0.346] * 3,
    "size_px": 8,
    "features": "2",
}
GOOD = MLP | {"weights": "package:weights/digits_0.safetensors"}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    out = tmp_path_factory.mktemp("digits") / "digits"
    return reinforced.run({"name": "digits", "out": str(out), "source": {"op": "read.digits"}}, workers=1).dataset


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The good teacher with its first layer's weights drowned in noise."""
    weights = load_file(reinforced.__path__[0] + "/weights/digits_0.safetensors")
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "spoilt.safetensors"
    weights["1.weight"] = 0.02 * weights["1.weight"] + torch.randn_like(weights["1.weight"])
    weights["1.weight"][8:] = 0  # and only eight units left to tell ten classes apart
    save_file(weights, path)
    return MLP | {"weights": str(path)}


def test_the_better_teacher_ranks_higher_on_real_digits(digits: Dataset, spoilt: dict[str, Any]) -> None:
    best, worst = probe(digits, [parse_teacher(spoilt), parse_teacher(GOOD)])
    assert (best.teacher, worst.teacher) == ("digits_0.safetensors", "spoilt.safetensors")
    assert best.linear_accuracy > 0.94 and best.knn_accuracy > 0.94
    assert worst.linear_accuracy < best.linear_accuracy - 0.05 and worst.knn_accuracy < best.knn_accuracy - 0.05
    assert best.dimensions == 96 and best.train_images + best.test_images < 1797
    assert best.seconds_per_image > 0 and 0 < best.linear_ece < 0.1


def test_fewer_images_can_be_looked_at(digits: Dataset) -> None:
    (found,) = probe(digits, [parse_teacher(GOOD)], images=120)
    assert (found.train_images, found.test_images) == (120, 120)


def test_the_classifiers_find_separate_clusters_and_not_labels_at_random() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 400)
    features = np.eye(4, dtype=np.float32)[labels] + 0.1 * random.normal(size=(400, 4)).astype(np.float32)
    for classify, setting in ((linear, 1.0), (nearest_neighbours, 5)):
        said = classify(setting, features[:300], labels[:300], features[300:], 6)
        assert said.shape == (100, 6)
        np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-5)
        assert (said.argmax(1) == labels[300:]).mean() > 0.99
        shuffled = random.permutation(labels[:300])
        assert (classify(setting, features[:300], shuffled, features[300:], 6).argmax(1) == labels[300:]).mean() < 0.5


def test_settings_are_chosen_on_every_fifth_image_of_each_class() -> None:
    held = every_fifth(np.array([0] * 10 + [1] * 4 + [2] * 5))
    assert np.flatnonzero(held).tolist() == [4, 9, 18]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"test": "validation"}, "split is 'validation'"),
        ({"split": "spilt"}, "no column 'spilt'"),
        ({"images": 10}, "5 training images of a class"),
        ({"size_px": (9, 8)}, r"digits_0.safetensors does not take images of \(9, 8\)"),
    ],
)
def test_a_probe_that_cannot_be_done_says_why(digits: Dataset, settings: dict[str, Any], message: str) -> None:
    teacher = parse_teacher({k: v for k, v in GOOD.items() if k != "size_px"})
    with pytest.raises(RequestError, match=message):
        probe(digits, [teacher], **{"size_px": (8, 8)} | settings)


def test_a_teacher_without_a_size_asks_for_one(digits: Dataset) -> None:
    with pytest.raises(RequestError, match="give size_px"):
        probe(digits, [parse_teacher({k: v for k, v in GOOD.items() if k != "size_px"})])


def test_the_command_prints_a_ranking_and_writes_json_and_a_plot(
    digits: Dataset, spoilt: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "teachers.yaml").write_text(yaml.safe_dump([spoilt, GOOD]))
    arguments = ["teachers", "probe", digits.path, "--teachers", f"{tmp_path}/teachers.yaml", "--images", "300"]
    assert main([*arguments, "--out", f"{tmp_path}/found"]) == 0
    printed = capsys.readouterr().out
    assert printed.index("digits_0.safetensors") < printed.index("spoilt.safetensors")
    assert main([*arguments, "--out", f"{tmp_path}/found", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["teacher"] for one in found] == ["digits_0.safetensors", "spoilt.safetensors"]
    assert json.loads((tmp_path / "found" / "probe.json").read_text()) == found
    page = (tmp_path / "found" / "probe.html").read_text()
    assert page.count("<circle") == 2 and "http" not in page


def test_a_name_from_a_file_stays_text_in_the_page() -> None:
    found = Probed("<script>x</script>", 3, 0.5, 0.1, 0.5, 0.1, 2e-3, "cpu", 1.0, 5, 10, 10)
    page = probe_page([found], "Teachers on a & b")
    assert "<script>" not in page and "a &amp; b" in page
    centre = re.search(r'<circle cx="([\d.]+)" cy="([\d.]+)"', page)
    assert centre is not None and 60 < float(centre[1]) < 660 and 60 <= float(centre[2]) <= 360


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "no YAML file"), ("3", "must hold a list"), ("[{timn: x}]", "exactly one of the keys"), ("[]", "list")],
)
def test_a_file_that_holds_no_teachers_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(RequestError, match=rf"t.yaml'.*{message}"):
        named_teachers(f"{tmp_path}/t.yaml")


def test_files_and_folders_are_teachers_by_themselves(tmp_path: Path) -> None:
    given = [str(tmp_path), "mine.pt2", "mine.onnx"]
    assert [type(teacher).__name__ for name in given for teacher in named_teachers(name)] == [
        "TransformersTeacher",
        "TorchExportTeacher",
        "OnnxTeacher",
    ]
