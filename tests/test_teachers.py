from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_teachers import cnn

from reinforced.errors import RequestError
from reinforced.teacher_kinds.factory import FactoryTeacher
from reinforced.teacher_kinds.torch_export import TorchExportTeacher
from reinforced.teachers import Ensemble, parse_teacher
from reinforced.weight_files import read_file

CNN = {"factory": "small_teachers.cnn", "arguments": {"width": 4}}
IMAGES = np.random.default_rng(0).integers(0, 256, (11, 8, 8, 3), np.uint8)


MEANS = {"factory": "small_teachers.Means"}


def ensemble(*teachers: dict[str, Any], **settings: Any) -> Ensemble:
    return Ensemble([parse_teacher(teacher) for teacher in teachers], (8, 8), **{"batch_size": 4} | settings)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def exported(path: Path, batch: int = 4) -> str:
    torch.manual_seed(1)
    program = torch.export.export(cnn(width=4).eval(), (torch.zeros(batch, 3, 8, 8),))
    torch.export.save(program, path)
    return str(path)


def test_pixels_are_normalized_and_logits_divided_by_the_temperature() -> None:
    teacher = MEANS | {"mean": [0.1, 0.2, 0.3], "std": [0.5, 1.0, 2.0], "temperature": 0.25}
    found = ensemble(teacher).probabilities(IMAGES)
    logits = (IMAGES.mean(axis=(1, 2)) / 255 - [0.1, 0.2, 0.3]) / [0.5, 1.0, 2.0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, softmax(logits / 0.25), atol=1e-5)


def test_an_ensemble_is_the_weighted_mean_of_probabilities() -> None:
    sharp, flat = MEANS | {"temperature": 0.1, "weight": 3.0}, MEANS | {"temperature": 2.0}
    both = ensemble(sharp, flat).probabilities(IMAGES)
    expected = 0.75 * ensemble(sharp).probabilities(IMAGES) + 0.25 * ensemble(flat).probabilities(IMAGES)
    np.testing.assert_allclose(both, expected, atol=1e-6)


def test_answers_do_not_depend_on_what_shares_the_batch() -> None:
    asked = ensemble(CNN)
    whole = asked.probabilities(IMAGES)
    for cut in (1, 3, 6, 10):
        parts = np.concatenate([asked.probabilities(IMAGES[:cut]), asked.probabilities(IMAGES[cut:])])
        np.testing.assert_array_equal(parts, whole)
    assert asked.probabilities(IMAGES[:0]).shape == (0, 10)


def test_whoever_lacks_a_teachers_weights_is_told_what_makes_them() -> None:
    missing = CNN | {"weights": "nowhere/teacher.safetensors"}
    with pytest.raises(RequestError, match=r"'nowhere/teacher\.safetensors' is not there: give a path.*PATH$"):
        parse_teacher(missing).content_hash()
    with pytest.raises(RequestError, match=r"is not there.*What makes it: python train\.py"):
        parse_teacher(missing | {"made_by": "python train.py"}).content_hash()


def test_the_users_thread_setting_survives() -> None:
    before = torch.get_num_threads()
    ensemble(CNN, cpus=before + 1).probabilities(IMAGES)
    assert torch.get_num_threads() == before


def test_safetensors_and_exported_programs_give_what_their_network_gives(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = cnn(width=4).eval()
    save_file(network.state_dict(), tmp_path / "cnn.safetensors")
    with torch.inference_mode():
        expected = network(torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255).softmax(1).numpy()
    from_weights = CNN | {"weights": str(tmp_path / "cnn.safetensors")}
    program = {"torch_export": exported(tmp_path / "cnn.pt2")}
    for teacher in (from_weights, program):
        np.testing.assert_allclose(ensemble(teacher).probabilities(IMAGES), expected, atol=1e-5)
        path = Path(str(teacher.get("weights") or teacher["torch_export"]))
        assert parse_teacher(teacher).content_hash() == hashlib.sha256(path.read_bytes()).hexdigest()
        assert parse_teacher(teacher).name == path.name


def test_weights_come_from_a_url_and_from_the_package(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"weights")
    assert read_file(f"file://{tmp_path}/w") == b"weights"
    assert b"layer: reinforced" in read_file("package:schemas/reinforced.yaml")
    with pytest.raises(RequestError, match="inside the package"):
        read_file("package:../secrets")


def test_teachers_of_different_classes_are_not_averaged() -> None:
    with pytest.raises(RequestError, match=r"counts differ: .*Means 3, .*Means 5"):
        ensemble(MEANS, MEANS | {"arguments": {"outputs": 5}})


def test_a_teacher_that_answers_nan_is_named() -> None:
    asked = ensemble(CNN | {"arguments": {"width": 4, "classes": 3}}, MEANS | {"arguments": {"poison": True}})
    white = np.full((1, 8, 8, 3), 255, np.uint8)
    with pytest.raises(ValueError, match=r"teacher .*Means answered NaN"):
        asked.probabilities(white)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (CNN | {"weights": "nowhere.safetensors"}, r"'nowhere.safetensors' is not there"),
        ({"torch_export": "nowhere.pt2"}, r"'nowhere.pt2' is not there"),
        ({"factory": "small_teachers.cn"}, "cannot be imported"),
        ({"factory": "cnn"}, "cannot be imported"),
        (CNN | {"weights": "package:schemas/samples.yaml"}, "no named tensors"),
        ({"torch_export": "package:schemas/samples.yaml"}, "no exported program"),
    ],
)
def test_a_teacher_that_cannot_be_loaded_says_why(teacher: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        ensemble(teacher)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file(cnn(width=8).state_dict(), tmp_path / "wide.safetensors")
    with pytest.raises(RequestError, match=r"wide.safetensors: its weights do not fit"):
        ensemble(CNN | {"weights": str(tmp_path / "wide.safetensors")})


def test_a_program_for_other_images_is_refused_before_the_run(tmp_path: Path) -> None:
    teacher = {"torch_export": exported(tmp_path / "cnn.pt2", batch=2)}
    with pytest.raises(RequestError, match=r"does not take images of shape \(4, 3, 8, 8\)"):
        ensemble(teacher)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"torch_exprt": "x.pt2"}, "did you mean 'torch_export'"),
        ({"torch_export": "x.pt2", "factory": "y.z"}, "exactly one of the keys"),
        (CNN | {"temprature": 2}, "did you mean 'temperature'"),
        (CNN | {"temperature": 0}, "greater than 0"),
        (CNN | {"std": [1, 0, 1]}, "greater than 0"),
        ("digits.pt2", "exactly one of the keys"),
    ],
)
def test_a_misspelt_teacher_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_teacher(given)


@pytest.mark.parametrize("hidden", ["data/weights/weight_0", "data/sample_inputs/model.pt"])
def test_a_pickle_hidden_in_an_exported_program_is_not_executed(tmp_path: Path, hidden: str) -> None:
    ran, poisoned = tmp_path / "ran", tmp_path / "evil.pt2"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (ran,)

    buffer = io.BytesIO()
    torch.save({"x": Evil()}, buffer)
    with zipfile.ZipFile(exported(tmp_path / "good.pt2")) as good, zipfile.ZipFile(poisoned, "w") as evil:
        for name in good.namelist():
            data = (
                good.read(name).replace(b'"use_pickle": false', b'"use_pickle": true')
                if "weight" in hidden
                else good.read(name)
            )
            evil.writestr(name, buffer.getvalue() if name.endswith(hidden) else data)
    with pytest.raises(RequestError, match=r"evil.pt2 is no exported program"):
        ensemble({"torch_export": str(poisoned)})
    assert not ran.exists()
    with contextlib.suppress(Exception), warnings.catch_warnings(action="ignore"):
        torch.export.load(poisoned)
    assert ran.exists(), "the attack works where nothing stops it"


def test_kinds_parse_to_their_classes() -> None:
    assert isinstance(parse_teacher(CNN), FactoryTeacher)
    assert isinstance(parse_teacher({"torch_export": "x"}), TorchExportTeacher)


def test_the_most_confident_teacher_answers_for_each_image() -> None:
    colours, network = MEANS | {"temperature": 0.05}, CNN | {"arguments": {"classes": 3}, "temperature": 0.05}
    images = IMAGES.copy()
    images[:5, ..., 0] = 255  # red, of which the first teacher is sure
    asked = ensemble(colours, network, combine="most_confident").probabilities(images)
    first, second = ensemble(colours).probabilities(images), ensemble(network).probabilities(images)
    chosen = first.max(axis=1) >= second.max(axis=1)
    assert 0 < chosen.sum() < len(chosen), "each is the surest somewhere"
    np.testing.assert_array_equal(asked, np.where(chosen[:, None], first, second))


def test_teachers_of_other_classes_than_the_labels_are_refused() -> None:
    assert ensemble(MEANS, classes=3).classes == 3
    with pytest.raises(RequestError, match=r"Means 3, the labels have 10 classes; `labels` maps"):
        ensemble(MEANS, classes=10)
