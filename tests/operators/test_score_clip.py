from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from small_teachers import small_clip
from standard_table import standard_table

pytest.importorskip("open_clip")

from reinforced.batch import Batch
from reinforced.clip import OpenClipModel
from reinforced.errors import RequestError
from reinforced.operators.embed.clip import EmbedClip
from reinforced.operators.score.aesthetic import ScoreAesthetic
from reinforced.operators.score.clip import ScoreClip

SIDE = 32
TEXTS = ["a temple", "a flower", None, *["a photo of a digit"] * 9]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[OpenClipModel, Any]:
    place = tmp_path_factory.mktemp("models") / "clip"
    network = small_clip(place, SIDE)
    return OpenClipModel(open_clip=str(place)), network


def table() -> pa.Table:
    return standard_table().append_column("caption", pa.array(TEXTS, pa.string()))


def test_the_score_is_the_cosine_that_open_clip_itself_computes(clip: tuple[OpenClipModel, Any]) -> None:
    import open_clip

    model, network = clip
    rows = table().slice(3, 4)  # not square, but for open_clip's rounding of sizes cropped alike
    found = ScoreClip(model=model)(rows).column("clip_score").to_pylist()
    pixels = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
    prepare = open_clip.transform.image_transform(SIDE, is_train=False, **pixels)
    images = torch.stack([prepare(Image.fromarray(p)) for p in Batch(rows).pixels])
    with torch.inference_mode():
        texts = network.encode_text(open_clip.SimpleTokenizer()(rows.column("caption").to_pylist()), normalize=True)
        expected = (network.encode_image(images, normalize=True) * texts).sum(1)
    assert found == pytest.approx(expected.tolist(), abs=0.01)
    assert np.ptp(found) > 0.001


def test_stored_embeddings_give_the_same_score_and_a_row_without_a_text_none(clip: tuple[OpenClipModel, Any]) -> None:
    model, _ = clip
    embedded = EmbedClip(model=model)(table())
    direct = ScoreClip(model=model)(table()).column("clip_score").to_pylist()
    stored = ScoreClip(model=model, embedding="clip_embedding")(embedded.drop_columns(["image"]))
    assert direct[2] is None
    assert [i for i, score in enumerate(direct) if score is None] == [2]
    kept = [score for score in direct if score is not None]
    assert stored.column("clip_score").drop_null().to_pylist() == pytest.approx(kept, abs=2e-3)
    assert embedded.schema.field("clip_embedding").type == pa.list_(pa.float16(), 8)


def test_a_row_scores_the_same_in_whatever_batch(clip: tuple[OpenClipModel, Any]) -> None:
    operator = pickle.loads(pickle.dumps(ScoreClip(model=clip[0], batch_size=5)))
    whole = operator(table()).column("clip_score").to_pylist()
    assert operator(table().slice(4, 2)).column("clip_score").to_pylist() == whole[4:6]


def test_other_weights_are_another_ingredient(clip: tuple[OpenClipModel, Any], tmp_path: Path) -> None:
    model, network = clip
    before = ScoreClip(model=model).ingredients()
    other = tmp_path / "other.safetensors"
    save_file({name: value + 1 for name, value in network.state_dict().items()}, other)
    changed = model.model_copy(update={"weights": str(other)})
    assert set(before.values()) != set(ScoreClip(model=changed).ingredients().values())
    assert not any("safetensors" in file and "clip" not in file for file in before)


def test_embeddings_of_another_model_are_refused_before_anything_starts(clip: tuple[OpenClipModel, Any]) -> None:
    schema = pa.schema({"clip_embedding": pa.list_(pa.float16(), 512), "caption": pa.string()})
    with pytest.raises(ValueError, match="'clip_embedding' has 512 dimensions, clip has 8"):
        ScoreClip(model=clip[0], embedding="clip_embedding").check(schema)


def test_a_model_that_open_clip_does_not_know_is_refused() -> None:
    with pytest.raises(RequestError, match="open_clip knows no model 'ViT-B-23'"):
        EmbedClip(model=OpenClipModel(open_clip="ViT-B-23")).outputs()


def embeddings(values: np.ndarray) -> pa.Table:
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel().astype(np.float16)), values.shape[1])
    return pa.table({"key": [str(i) for i in range(len(values))], "clip_embedding": column})


def test_a_rating_is_what_the_stack_of_linear_layers_says(tmp_path: Path) -> None:
    torch.manual_seed(0)
    head = torch.nn.Sequential(torch.nn.Linear(8, 12), torch.nn.Dropout(), torch.nn.Linear(12, 1)).eval()
    save_file({f"layers.{name}": value for name, value in head.state_dict().items()}, tmp_path / "head.safetensors")
    values = np.random.default_rng(0).normal(size=(5, 8))
    rows = embeddings(values / np.linalg.norm(values, axis=1, keepdims=True))
    operator = ScoreAesthetic(head=str(tmp_path / "head.safetensors"))
    operator.check(rows.schema)
    found = operator(rows).column("aesthetic_score").to_pylist()
    with torch.inference_mode():
        expected = head(torch.nn.functional.normalize(torch.tensor(values, dtype=torch.float32)))[:, 0]
    assert found == pytest.approx(expected.tolist(), abs=2e-3)


def test_a_head_that_does_not_fit_is_refused_before_anything_starts(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1, 768)}, tmp_path / "head.safetensors")
    save_file({"0.weight": torch.zeros(4, 8), "1.weight": torch.zeros(1, 5)}, tmp_path / "broken.safetensors")
    schema = embeddings(np.ones((1, 8))).schema
    with pytest.raises(ValueError, match=r"has 8 dimensions, the head .* takes 768"):
        ScoreAesthetic(head=str(tmp_path / "head.safetensors")).check(schema)
    with pytest.raises(RequestError, match="linear layers that lead to one number"):
        ScoreAesthetic(head=str(tmp_path / "broken.safetensors")).check(schema)
