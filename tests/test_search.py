"""`reinforced search`: what a brute-force comparison finds, and nothing by another model than the one that embedded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photos import make_photos
from safetensors.torch import save_file
from small_teachers import small_clip

pytest.importorskip("open_clip")

from reinforced.cli import main
from reinforced.dataset import open_dataset
from reinforced.errors import RequestError
from reinforced.run import run
from reinforced.search import nearest_rows

MLP = {"factory": "reinforced.models.mlp", "arguments": {"inputs": 192, "hidden": 6}, "features": "1", "size_px": 8}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with photos, a CLIP model, and the photos' dataset with embeddings of two networks."""
    folder = tmp_path_factory.mktemp("search")
    make_photos(folder / "photos", 30)
    small_clip(folder / "clip", 32)
    (folder / "mlp.yaml").write_text(json.dumps([MLP]))
    source = {"op": "read.images", "path": str(folder / "photos"), "shard_rows": 8}
    steps = [{"op": "embed.clip", "model": {"open_clip": str(folder / "clip")}}, {"op": "embed.image", "teacher": MLP}]
    run({"name": "photos", "out": str(folder / "out"), "source": source, "steps": steps}, workers=1)
    return folder


def found(
    capsys: pytest.CaptureFixture[str], place: Path, *arguments: str, model: str = "clip"
) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["search", str(place / "out"), "--model", str(place / model), "--json", *arguments]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["search", *arguments]) == 2
    return capsys.readouterr().err


def vectors(place: Path, column: str) -> tuple[list[str], np.ndarray[Any, Any]]:
    table = open_dataset(str(place / "out")).to_arrow(columns=["key", column])
    values = np.array(table.column(column).to_pylist(), np.float64)
    return table.column("key").to_pylist(), values / np.linalg.norm(values, axis=1, keepdims=True)


def test_a_text_finds_the_images_with_the_largest_cosines(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import open_clip
    import torch

    network, _, _ = open_clip.create_model_and_transforms(f"local-dir:{place / 'clip'}")
    with torch.inference_mode():
        text = network.eval().encode_text(open_clip.SimpleTokenizer()(["a red flower"]), normalize=True)[0].numpy()
    keys, images = vectors(place, "clip_embedding")
    cosines = dict(zip(keys, images @ text, strict=True))
    rows = found(capsys, place, "--text", "a red flower", "--limit", "7")
    assert [row["cosine"] for row in rows] == pytest.approx(sorted(cosines.values(), reverse=True)[:7], abs=1e-3)
    assert all(row["cosine"] == pytest.approx(cosines[row["key"]], abs=1e-3) for row in rows)


@pytest.mark.parametrize(("column", "model"), [("clip_embedding", "clip"), ("embedding", "mlp.yaml")])
def test_an_image_finds_itself_and_its_copies_first(
    place: Path, capsys: pytest.CaptureFixture[str], column: str, model: str
) -> None:
    photo = place / "photos" / "flower" / "00009.jpg"  # repeats temple/00008
    rows = found(capsys, place, "--image", str(photo), "--column", column, "--limit", "2", model=model)
    assert [row["key"] for row in rows] == ["flower/00009", "temple/00008"]
    assert rows[0]["cosine"] == rows[1]["cosine"] == pytest.approx(1, abs=2e-3)


def test_the_best_rows_of_all_shards_come_in_order_and_equal_ones_by_key(place: Path) -> None:
    dataset = open_dataset(str(place / "out"))
    keys, images = vectors(place, "clip_embedding")
    query = np.zeros(8, np.float32)
    query[0] = 1
    expected = sorted(zip(-images[:, 0], keys, strict=True))
    for limit in (1, 9, 30, 100):
        rows = nearest_rows(dataset, "clip_embedding", query, limit)
        assert len(rows) == min(limit, 30)
        assert [cosine for _, cosine in rows] == pytest.approx([-c for c, _ in expected[:limit]], abs=1e-6)
        assert rows == sorted(rows, key=lambda row: (-row[1], row[0]))


def test_other_weights_than_those_that_embedded_are_refused(
    place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    network = small_clip(tmp_path / "clip", 32)
    save_file({n: v + 1 for n, v in network.state_dict().items()}, tmp_path / "clip/open_clip_model.safetensors")
    said = refused(capsys, str(place / "out"), "--model", str(tmp_path / "clip"), "--text", "a flower")
    assert "the embeddings were made by clip with the weights" in said and "give the model that made them" in said


def test_what_cannot_be_searched_is_refused_by_name(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, clip, mlp = str(place / "out"), ["--model", str(place / "clip")], ["--model", str(place / "mlp.yaml")]
    assert "either --text or --image" in refused(capsys, out, *clip)
    assert "no column 'clip_embeding'; did you mean" in refused(
        capsys, out, *clip, "--text", "a", "--column", "clip_embeding"
    )
    assert "embeddings are fixed-size lists" in refused(capsys, out, *clip, "--text", "a", "--column", "width")
    assert "which has no text side" in refused(capsys, out, *mlp, "--text", "a", "--column", "embedding")
    broken = refused(capsys, out, *clip, "--image", str(place / "mlp.yaml"))
    assert "the image to search for" in broken


def test_a_query_of_another_length_is_refused(place: Path) -> None:
    with pytest.raises(RequestError, match="'clip_embedding' has 8 dimensions, the query 5"):
        nearest_rows(open_dataset(str(place / "out")), "clip_embedding", np.ones(5, np.float32), 3)
