"""`embed.image`: every network's features beside the images, with what made them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from photos import make_photos
from standard_table import standard_table
from test_teacher_kinds import MAKERS

from reinforced.errors import RequestError
from reinforced.forward import prepared
from reinforced.images import decode
from reinforced.operators.embed.image import EmbedImage
from reinforced.resize import resize
from reinforced.run import run
from reinforced.teachers import load, parse_teacher

MLP = {"factory": "reinforced.models.mlp", "arguments": {"inputs": 192, "hidden": 6}, "features": "1", "size_px": 8}
CNN = {"factory": "small_teachers.cnn", "features": "2", "size_px": 8}


def vectors(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    return np.array(column.to_pylist(), np.float32)


def test_features_of_a_resized_image_are_stored_as_the_network_gives_them() -> None:
    table = standard_table()
    found = EmbedImage(teacher=MLP, normalize=False, store="float32")(table)
    assert found.schema.field("embedding").type == pa.list_(pa.float32(), 6)
    loaded = load(parse_teacher(MLP), torch.device("cpu"))
    image = np.array(resize(decode(table.column("image")[0].as_py()), (8, 8), "exact"))
    assert loaded.features is not None
    with torch.inference_mode():
        expected = loaded.features(prepared(torch.from_numpy(image)[None], loaded.preprocessing))
    np.testing.assert_allclose(vectors(found.column("embedding"))[0], expected[0].numpy(), rtol=1e-5)


def test_normalized_vectors_have_length_one_and_half_the_bytes() -> None:
    plain = vectors(EmbedImage(teacher=MLP, normalize=False, store="float32")(standard_table()).column("embedding"))
    found = EmbedImage(teacher=MLP)(standard_table()).column("embedding")
    assert found.type == pa.list_(pa.float16(), 6)
    np.testing.assert_allclose(vectors(found), plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-3)


@pytest.mark.parametrize(("kind", "shape"), [("timm", (4, 12)), ("transformers", (4, 16)), ("open_clip", (4, 64))])
def test_tokens_are_the_places_of_the_image_without_the_class_token(
    kind: str, shape: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    step = EmbedImage(teacher=MAKERS[kind](tmp_path)[0], tokens=True)
    found = step(standard_table().slice(0, 2)).column("embedding")
    assert found.type == pa.list_(pa.list_(pa.float16(), shape[1]), shape[0])
    np.testing.assert_allclose(np.linalg.norm(vectors(found), axis=2), 1, atol=2e-3)


def test_tokens_of_a_map_lie_row_by_row() -> None:
    step = EmbedImage(teacher=CNN, tokens=True, normalize=False, store="float32")
    found = step(standard_table().slice(0, 1)).column("embedding")
    assert found.type == pa.list_(pa.list_(pa.float32(), 4), 64)
    pooled = EmbedImage(teacher=CNN, normalize=False, store="float32")(standard_table().slice(0, 1))
    np.testing.assert_allclose(vectors(found).mean(axis=1), vectors(pooled.column("embedding")), rtol=1e-4)
    network = load(parse_teacher(CNN), torch.device("cpu"))
    image = np.array(resize(decode(standard_table().column("image")[0].as_py()), (8, 8), "exact"))
    with torch.inference_mode():
        seen = network.network[:3](prepared(torch.from_numpy(image)[None], network.preprocessing))  # type: ignore[index]
    np.testing.assert_allclose(vectors(found)[0].reshape(8, 8, 4), seen[0].permute(1, 2, 0).numpy(), rtol=1e-4)


def test_a_network_without_places_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no features by place.*`features` names a layer"):
        EmbedImage(teacher=MLP | {"features": None}, tokens=True).outputs()
    with pytest.raises(RequestError, match="has no places: name an earlier one"):
        EmbedImage(teacher=MLP, tokens=True).outputs()
    with pytest.raises(RequestError, match="give size_px"):
        EmbedImage(teacher=MLP | {"size_px": None}).outputs()
    with pytest.raises(RequestError, match=r"shape is \[7\], features of reinforced.models.mlp are \[6\]"):
        EmbedImage(teacher=MLP, shape=(7,)).setup()


def test_features_that_float16_cannot_hold_fail_instead_of_becoming_infinite() -> None:
    loud = MLP | {"mean": [-1e9, 0, 0]}
    with pytest.raises(ValueError, match="too large for float16"):
        EmbedImage(teacher=loud, normalize=False)(standard_table())
    assert np.isfinite(vectors(EmbedImage(teacher=loud)(standard_table()).column("embedding"))).all()


def test_two_networks_stand_side_by_side_and_the_layers_say_which(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 6)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no image")
    steps = [
        {"op": "embed.image", "teacher": MLP},
        {"op": "embed.image", "teacher": CNN, "tokens": True, "into": "maps", "column": "map", "shape": [64, 4]},
    ]
    source = {"op": "read.images", "path": str(tmp_path / "photos"), "shard_rows": 4}
    pipeline = {"name": "seen", "out": str(tmp_path / "seen"), "source": source, "steps": steps}
    dataset = run(pipeline | {"max_failure_rate": 0.5}).dataset
    found = dataset.to_arrow(columns=["embedding", "map"])
    assert (found.num_rows, found.column("embedding").null_count, found.column("map").null_count) == (6, 0, 0)
    assert found.column("map").type == pa.list_(pa.list_(pa.float16(), 4), 64)
    said = json.loads(dataset.metadata("maps")["embeddings"])
    assert (said["column"], said["shape"], said["tokens"], said["normalize"]) == ("map", [64, 4], True, True)
    assert said["teacher"]["name"] == "small_teachers.cnn" and said["teacher"]["size"] == [8, 8]


def test_the_layer_names_the_hash_of_the_weights() -> None:
    weights = "package:weights/digits_0.safetensors"
    teacher = MLP | {"arguments": {"inputs": 192, "hidden": 96}, "weights": weights}
    step = EmbedImage(teacher=teacher)
    (sha256,) = step.ingredients().values()
    assert len(sha256) == 64 and json.loads(step.metadata()["embeddings"])["teacher"]["sha256"] == sha256
