from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_teachers import cnn
from torch import Tensor, nn

from reinforced.errors import RequestError
from reinforced.teachers import Ensemble, parse_teacher
from reinforced.weights import Soup, TaskVector, TaskVectors, greedy_soup

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)


def saved(folder: Path, count: int = 3, width: int = 4) -> list[str]:
    """Save the weights of networks from different seeds, each with a counter that is no float."""
    files = []
    for seed in range(count):
        torch.manual_seed(seed)
        files.append(f"{folder}/{width}_{seed}.safetensors")
        save_file(cnn(width=width).state_dict(), files[-1])
    return files


def states(files: list[str]) -> list[dict[str, Tensor]]:
    return [Soup(soup=(file,)).state() for file in files]


def test_a_soup_is_the_mean_of_its_weights(tmp_path: Path) -> None:
    files = saved(tmp_path)
    cooked = Soup(soup=tuple(files)).state()
    for name, tensor in cooked.items():
        expected = np.mean([state[name].numpy().astype(np.float64) for state in states(files)], axis=0)
        np.testing.assert_array_equal(tensor.numpy(), expected.astype(np.float32))


def test_a_soup_of_equals_is_each_of_them_and_counters_stay_integers(tmp_path: Path) -> None:
    network = nn.BatchNorm1d(3)
    for number in range(2):
        network.num_batches_tracked += 1
        save_file(network.state_dict(), tmp_path / f"{number}.safetensors")
    cooked = Soup(soup=(f"{tmp_path}/0.safetensors", f"{tmp_path}/1.safetensors")).state()
    assert cooked["num_batches_tracked"].dtype == torch.int64
    assert cooked["num_batches_tracked"].item() == 1
    torch.testing.assert_close(cooked["weight"], network.weight.data, rtol=0, atol=0)


def test_task_vectors_are_added_and_taken_away(tmp_path: Path) -> None:
    base, one, two = saved(tmp_path)
    vectors = (TaskVector(file=one, scale=0.5), TaskVector(file=two, scale=-0.25))
    made = TaskVectors(base=base, add=vectors).state()
    first, second, third = states([base, one, two])
    for name, tensor in made.items():
        expected = first[name] + 0.5 * (second[name] - first[name]) - 0.25 * (third[name] - first[name])
        torch.testing.assert_close(tensor, expected)
    whole = TaskVectors(base=base, add=(TaskVector(file=one),)).state()
    assert all(torch.allclose(whole[name], tensor, atol=1e-6) for name, tensor in second.items())


@pytest.mark.parametrize("form", ["soup", "task vectors"])
def test_a_teacher_is_made_of_several_files_in_yaml(form: str, tmp_path: Path) -> None:
    files = saved(tmp_path)
    given: dict[str, Any] = {"soup": files}
    if form == "task vectors":
        given = {"base": files[0], "add": [{"file": files[1], "scale": 0.5}]}
    teacher = parse_teacher({"factory": "small_teachers.cnn", "weights": given})
    found = Ensemble([teacher], (8, 8)).probabilities(IMAGES)
    cooked: Any = Soup(soup=tuple(files)) if form == "soup" else TaskVectors.model_validate(given)
    network = cnn(width=4)
    network.load_state_dict(cooked.state())
    with torch.inference_mode():
        expected = network(torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255).softmax(1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert "4_1.safetensors" in teacher.name
    before = teacher.content_hash()
    Path(files[1]).write_bytes(Path(files[2]).read_bytes())
    assert teacher.content_hash() != before


def test_weights_of_other_networks_are_not_mixed(tmp_path: Path) -> None:
    (narrow,), (wide,) = saved(tmp_path, 1), saved(tmp_path, 1, width=8)
    with pytest.raises(
        RequestError, match=r"8_0.safetensors' and .*4_0.safetensors' are of different networks: .*bias"
    ):
        Soup(soup=(narrow, wide)).state()


def test_a_greedy_soup_keeps_what_does_not_make_it_worse() -> None:
    worth = {"a": 0.5, "b": 0.9, "c": 0.7, "d": 0.6}
    soups = {("b", "c"): 0.85, ("b", "d"): 0.9, ("b", "d", "a"): 0.95}
    asked: list[tuple[str, ...]] = []

    def score(files: tuple[str, ...]) -> float:
        asked.append(files)
        return worth[files[0]] if len(files) == 1 else soups[files]

    assert greedy_soup(list("abcd"), score) == ("b", "d", "a")
    assert len(asked) == 7
    with pytest.raises(RequestError, match="at least one file"):
        greedy_soup([], score)
