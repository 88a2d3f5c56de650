from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
import torch
from small_teachers import cnn

from reinforced.errors import RequestError
from reinforced.forward import CPU_BATCH, Forward, largest_batch
from reinforced.registry import find_operator
from reinforced.reinforcement import Reinforcement
from reinforced.teacher import Loaded, Preprocessing
from reinforced.teachers import Ensemble, parse_teacher

CPU = torch.device("cpu")
IMAGES = np.random.default_rng(0).integers(0, 256, (300, 16, 16, 3), np.uint8)
CNN: dict[str, Any] = {"factory": "small_teachers.cnn", "arguments": {"width": 16}, "temperature": 0.05}


def ensemble(**settings: Any) -> Ensemble:
    return Ensemble([parse_teacher(CNN)], (16, 16), **settings)


def test_every_network_answers_about_the_same_images_in_its_own_preprocessing() -> None:
    first, second = cnn().eval(), cnn(width=8).eval()
    forward = Forward([Loaded(first), Loaded(second, Preprocessing(mean=(0.5, 0.5, 0.5)))], CPU, batch_size=4)
    batches = [IMAGES[0:4], IMAGES[4:6]]
    found = list(forward.answers(batches))
    assert [[len(answer) for answer in answers] for answers in found] == [[4, 4], [2, 2]]
    pixels = torch.from_numpy(IMAGES[:6]).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        np.testing.assert_allclose(np.concatenate([a[0] for a in found]), first(pixels), atol=1e-5)
        np.testing.assert_allclose(np.concatenate([a[1] for a in found]), second(pixels - 0.5), atol=1e-5)


def test_bfloat16_gives_the_same_class_nearly_everywhere_and_is_no_longer_exact() -> None:
    exact, rough = ensemble().probabilities(IMAGES), ensemble(compute="bfloat16").probabilities(IMAGES)
    assert (exact.argmax(1) == rough.argmax(1)).mean() >= 0.99
    assert 0 < np.abs(exact - rough).max() < 0.05
    assert rough.dtype == np.float32


@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_the_arithmetic_is_in_the_layers_metadata(compute: str) -> None:
    operator = find_operator("reinforce")(draws=1, top_k=2, augment={"size_px": 8}, teachers=[CNN], compute=compute)
    made = Reinforcement.parse(operator.metadata(), "here")
    assert (made.compute, made.compiled) == (compute, False)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="PyTorch compiles with g++")
@pytest.mark.filterwarnings("ignore")  # PyTorch's compiler has deprecations of its own
def test_a_compiled_teacher_says_the_same() -> None:
    compiled = ensemble(compile=True)
    assert compiled.compiled
    np.testing.assert_allclose(compiled.probabilities(IMAGES), ensemble().probabilities(IMAGES), atol=1e-4)


@pytest.mark.parametrize("settings", [{"compute": "bfloat16"}, {"compile": True}])
def test_an_arithmetic_is_not_promised_for_a_teacher_that_another_runtime_computes(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = parse_teacher(CNN)
    monkeypatch.setattr(type(teacher), "native", False)
    with pytest.raises(RequestError, match=rf"not run by PyTorch, so {next(iter(settings))} cannot hold"):
        Ensemble([teacher], (16, 16), **settings)


@pytest.mark.parametrize(
    ("bytes_an_image", "free", "expected"),
    [(1, 1 << 40, 1024), (1 << 20, 1 << 30, 256), (1 << 30, 1 << 30, 16)],
)
def test_a_batch_grows_while_it_takes_no_more_than_its_share_of_memory(
    bytes_an_image: int, free: int, expected: int
) -> None:
    assert largest_batch(lambda images: images * bytes_an_image, free) == expected


def test_a_batch_that_does_not_fit_at_all_is_not_grown() -> None:
    assert largest_batch(lambda images: images if images < 128 else None, 1 << 40) == 64


def test_an_automatic_batch_on_a_cpu_is_the_stated_one() -> None:
    assert ensemble(batch_size="auto").batch_size == CPU_BATCH == 64
    np.testing.assert_array_equal(ensemble(batch_size="auto").probabilities(IMAGES), ensemble().probabilities(IMAGES))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_a_gpu_finds_the_same_classes(compute: str) -> None:
    here, there = ensemble(), ensemble(gpus=1, batch_size="auto", compute=compute)
    assert there.device.type == "cuda" and there.batch_size >= 16
    agreement = here.probabilities(IMAGES).argmax(1) == there.probabilities(IMAGES).argmax(1)
    assert agreement.mean() >= 0.99
