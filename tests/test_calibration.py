from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import reinforced
from reinforced.calibration import calibrate, fit_temperature, held_out, held_out_accuracy
from reinforced.dataset import Dataset
from reinforced.errors import RequestError
from reinforced.metrics import expected_calibration_error, negative_log_likelihood
from reinforced.registry import find_operator
from reinforced.reinforcement import Reinforcement
from reinforced.teachers import Ensemble, parse_teacher
from reinforced.weights import greedy_soup

SIZE = (8, 8)
MEAN = {"mean": [0.327] * 3, "std": [0.346] * 3}
TEACHERS: list[dict[str, Any]] = [
    {
        "factory": "reinforced.models.mlp",
        "arguments": {"inputs": 192, "hidden": hidden},
        "weights": f"package:weights/digits_{i}.safetensors",
        **MEAN,
    }
    for i, hidden in enumerate((96, 128))
]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    out = tmp_path_factory.mktemp("digits") / "digits"
    return reinforced.run({"name": "digits", "out": str(out), "source": {"op": "read.digits"}}, workers=1).dataset


@pytest.mark.parametrize("true", [0.2, 1.0, 7.0])
def test_the_temperature_that_labels_were_drawn_at_is_found(true: float) -> None:
    random = np.random.default_rng(0)
    logits = 3 * random.normal(size=(20_000, 6))
    labels = (logits / true + random.gumbel(size=logits.shape)).argmax(axis=1)
    assert fit_temperature(logits, labels) == pytest.approx(true, rel=0.05)


def test_the_fitted_temperature_has_the_least_log_loss() -> None:
    random = np.random.default_rng(1)
    logits, labels = random.normal(size=(300, 4)), random.integers(0, 4, 300)

    def loss(temperature: float) -> float:
        powers = np.exp(logits / temperature)
        return negative_log_likelihood(powers / powers.sum(axis=1, keepdims=True), labels)

    found = fit_temperature(logits, labels)
    assert all(loss(found) <= loss(other) + 1e-9 for other in np.geomspace(0.01, 100, 300))


def test_logits_that_are_not_finite_have_no_temperature() -> None:
    with pytest.raises(ValueError, match="finite"):
        fit_temperature(np.array([[np.nan, 1.0]]), np.array([0]))


def test_calibrated_teachers_are_more_honest_and_say_how_good_they_are(digits: Dataset) -> None:
    made = calibrate(digits, TEACHERS, size_px=SIZE)
    pixels, labels = held_out(digits, SIZE, "split", "test")
    before = Ensemble([parse_teacher(t) for t in TEACHERS], SIZE).probabilities(pixels)
    after = Ensemble([parse_teacher(t) for t in made], SIZE).probabilities(pixels)
    assert expected_calibration_error(after, labels) < 0.5 * expected_calibration_error(before, labels)
    assert negative_log_likelihood(after, labels) < negative_log_likelihood(before, labels)
    for given, found in zip(TEACHERS, made, strict=True):
        alone = Ensemble([parse_teacher(found)], SIZE).probabilities(pixels)
        measured = found["measured"]
        assert (measured["split"], measured["images"]) == ("test", len(labels))
        assert measured["accuracy"] == round((alone.argmax(1) == labels).mean(), 4)
        assert measured["ece"] == round(expected_calibration_error(alone, labels), 4)
        assert {k: v for k, v in found.items() if k not in ("temperature", "measured")} == given


def test_what_was_measured_stays_with_the_layer(digits: Dataset) -> None:
    made = calibrate(digits, TEACHERS[:1], size_px=SIZE)
    operator = find_operator("reinforce")(draws=1, top_k=3, augment={"size_px": 8}, teachers=made)
    (teacher,) = Reinforcement.parse(operator.metadata(), "here").teachers
    assert teacher.temperature == made[0]["temperature"]
    assert teacher.measured is not None
    assert teacher.measured.model_dump() == made[0]["measured"]


def test_one_teacher_gets_the_temperature_of_its_own_logits(digits: Dataset) -> None:
    (made,) = calibrate(digits, TEACHERS[:1], size_px=SIZE)
    pixels, labels = held_out(digits, SIZE, "split", "calibration")
    logits = Ensemble([parse_teacher(TEACHERS[0])], SIZE).logits(0, pixels)
    assert made["temperature"] == pytest.approx(fit_temperature(logits, labels), rel=1e-3)


def test_teachers_that_do_not_know_the_labels_are_refused(digits: Dataset) -> None:
    with pytest.raises(RequestError, match=r"know 3 classes, .* has labels 0 to 9 where split is 'calibration'"):
        calibrate(digits, [{"factory": "small_teachers.Means"}], size_px=SIZE)


def test_a_part_that_is_not_there_is_named(digits: Dataset) -> None:
    with pytest.raises(RequestError, match="split is 'validation'"):
        calibrate(digits, TEACHERS, size_px=SIZE, calibration="validation")


def test_a_greedy_soup_of_a_dataset_leaves_out_what_spoils_it(digits: Dataset, tmp_path: Path) -> None:
    good = load_file(reinforced.__path__[0] + "/weights/digits_0.safetensors")
    torch.manual_seed(0)
    for name, noise in (("good", 0.0), ("near", 0.001), ("spoilt", 3.0)):
        weights = {n: t + noise * torch.randn_like(t) for n, t in good.items()}
        save_file(weights, tmp_path / f"{name}.safetensors")
    files = [f"{tmp_path}/{name}.safetensors" for name in ("spoilt", "near", "good")]
    score = held_out_accuracy(digits, TEACHERS[0], size_px=SIZE)
    chosen = greedy_soup(files, score)
    assert set(chosen) == set(files[1:])
    assert score(chosen) >= score((files[2],)) > score((files[0],))
