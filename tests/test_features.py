from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_teachers import cnn
from test_teacher_kinds import IMAGES, MAKERS, SIDE

from reinforced.errors import RequestError
from reinforced.features import at_layer, before_head, pooled
from reinforced.forward import Forward, prepared
from reinforced.models import mlp
from reinforced.teachers import load, parse_teacher

CPU = torch.device("cpu")
PIXELS = torch.from_numpy(IMAGES)


def seen_and_said(spec: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    loaded = load(parse_teacher(spec), CPU)
    assert loaded.features is not None
    images = prepared(PIXELS, loaded.preprocessing)
    with torch.inference_mode():
        return loaded.features(images).clone(), loaded.network(images).clone()


@pytest.mark.parametrize(
    ("kind", "dimensions"), [("timm", 12), ("torchvision", 512), ("transformers", 16), ("open_clip", 8), ("onnx", 5)]
)
def test_every_kind_shows_what_its_network_sees(kind: str, dimensions: int, tmp_path: Path) -> None:
    seen, _ = seen_and_said(MAKERS[kind](tmp_path)[0])
    assert seen.shape == (len(IMAGES), dimensions)
    assert torch.isfinite(seen).all() and seen.std(dim=0).max() > 0


@pytest.mark.parametrize(
    ("kind", "file", "head"),
    [("timm", "vit.safetensors", "head"), ("transformers", "vit/model.safetensors", "classifier")],
)
def test_features_are_what_the_head_turns_into_logits(kind: str, file: str, head: str, tmp_path: Path) -> None:
    seen, said = seen_and_said(MAKERS[kind](tmp_path)[0])
    weights = load_file(tmp_path / file)
    torch.testing.assert_close(seen @ weights[f"{head}.weight"].T + weights[f"{head}.bias"], said)


def test_what_goes_into_the_last_layer_is_taken_from_any_network() -> None:
    network = cnn(width=4).eval()
    images = torch.rand(3, 3, SIDE, SIDE)
    with torch.inference_mode():
        seen = before_head(network, network)(images)
        torch.testing.assert_close(network[-1](seen), network(images))
    assert not network[-1]._forward_hooks, "nothing stays in the network"


def test_a_named_layer_is_judged_or_the_nearest_name_suggested() -> None:
    network = cnn(width=4).eval()
    images = torch.rand(2, 3, SIDE, SIDE)
    with torch.inference_mode():
        torch.testing.assert_close(at_layer(network, network, "3")(images), network[:4](images).mean(dim=(2, 3)))
        torch.testing.assert_close(at_layer(network, network, None)(images), network(images))
    with pytest.raises(RequestError, match="no layer '33'"):
        at_layer(network, network, "33")


def test_a_layer_is_seen_as_it_was_before_the_next_one_works_on_it_in_place() -> None:
    network = mlp(inputs=3 * SIDE**2).eval()
    images = torch.rand(2, 3, SIDE, SIDE)
    with torch.inference_mode():
        assert at_layer(network, network, "1")(images).min() < 0
        torch.testing.assert_close(at_layer(network, network, "1")(images), network[:2](images))


def test_a_layer_of_an_exported_program_has_its_name_in_the_module_that_was_exported(tmp_path: Path) -> None:
    network = cnn(width=4).eval()
    torch.export.save(torch.export.export(network, (torch.zeros(4, 3, SIDE, SIDE),)), tmp_path / "cnn.pt2")
    loaded = load(parse_teacher({"torch_export": f"{tmp_path}/cnn.pt2", "features": "5"}), CPU)
    assert loaded.features is not None
    with torch.inference_mode():
        found = loaded.features(torch.full((4, 3, SIDE, SIDE), 0.3))
        torch.testing.assert_close(found, network[:6](torch.full((4, 3, SIDE, SIDE), 0.3)))


def test_maps_and_tokens_are_averaged() -> None:
    assert pooled(torch.ones(2, 5, 3, 3)).tolist() == pooled(torch.ones(2, 7, 5)).tolist() == [[1.0] * 5] * 2


def test_features_come_through_the_same_batches(tmp_path: Path) -> None:
    loaded = load(parse_teacher(MAKERS["timm"](tmp_path)[0]), CPU)
    assert loaded.features is not None
    with torch.inference_mode():
        expected = loaded.features(prepared(PIXELS, loaded.preprocessing)).numpy()
    from dataclasses import replace

    asked = Forward([replace(loaded, network=loaded.features)], CPU, batch_size=2)
    found = np.concatenate([answer for (answer,) in asked.answers([IMAGES[:2], IMAGES[2:]])])
    np.testing.assert_allclose(found, expected, atol=1e-5)
