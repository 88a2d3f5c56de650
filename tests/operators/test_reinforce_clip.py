from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from clip_dataset import AUGMENT, pairs, teachers
from pydantic import ValidationError

pytest.importorskip("open_clip")

from reinforced.clip import OpenClipModel
from reinforced.clip_step import ClipTeachers
from reinforced.forward import prepared
from reinforced.images import decode
from reinforced.operators.reinforce_clip import ReinforceClip
from reinforced.reinforcement import Reinforcement, pixel_crc


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return teachers(tmp_path_factory.mktemp("models"))


def reinforce(asked: list[dict[str, Any]], **settings: Any) -> ReinforceClip:
    return ReinforceClip(**{"draws": 3, "augment": AUGMENT, "teachers": asked, "batch_size": 4} | settings)


def test_an_embedding_is_what_each_teacher_says_of_the_replayed_pixels(asked: list[dict[str, Any]]) -> None:
    table, operator = pairs(6), reinforce(asked)
    rows = operator(table).to_pylist()
    augment = Reinforcement.parse(operator.metadata(), "here").augment
    document = ClipTeachers.parse(operator.metadata(), "here")
    assert len(rows) == 18 and document.dimensions == [8, 8]
    for i, row in enumerate(rows):
        pixels = augment.apply(decode(table.column("image")[i // 3].as_py()), row)
        assert row["pixel_crc"] in (None, pixel_crc(pixels))
        said = []
        for model, encoder in zip(asked, operator.ensemble.encoders, strict=True):
            network, _ = OpenClipModel(**model).build(torch.device("cpu"))
            with torch.inference_mode():
                seen = prepared(torch.from_numpy(pixels[None].copy()), encoder.how)
                said.append(network.encode_image(seen, normalize=True)[0].numpy())
        np.testing.assert_allclose(row["view_embedding"], np.concatenate(said), atol=2**-11)
    assert np.ptp([row["view_embedding"] for row in rows], axis=0).max() > 0.01, "all views have one embedding"


def test_the_layer_says_whose_the_embeddings_are(asked: list[dict[str, Any]]) -> None:
    operator = reinforce(asked, seed=7)
    document = json.loads(operator.metadata()["clip_teachers"])
    assert [teacher["name"] for teacher in document["teachers"]] == ["clip16", "clip32"]
    assert [teacher["sha256"] for teacher in document["teachers"]] == list(operator.ingredients().values())
    network, _ = OpenClipModel(**asked[0]).build(torch.device("cpu"))
    assert document["teachers"][0]["logit_scale"] == pytest.approx(float(network.logit_scale.detach().exp()))
    views = Reinforcement.parse(operator.metadata(), "here")
    assert (views.seed, views.draws, views.classes) == (7, 3, 0) and views.backends


def test_images_embed_the_same_in_whatever_batch_and_after_travelling(asked: list[dict[str, Any]]) -> None:
    table, operator = pairs(6), reinforce(asked)
    whole = operator(table)
    again: ReinforceClip = pickle.loads(pickle.dumps(operator))
    assert again(table.slice(2, 1)).equals(whole.slice(6, 3))
    assert operator(table.slice(0, 0)).num_rows == 0


def test_a_mixed_view_is_refused_because_it_has_no_caption(asked: list[dict[str, Any]]) -> None:
    with pytest.raises(ValidationError, match="leave out mix_up and cut_mix"):
        reinforce(asked, augment={"size_px": 16, "mix_up": {}})
    with pytest.raises(ValidationError, match="at least 1 item"):
        reinforce([])
