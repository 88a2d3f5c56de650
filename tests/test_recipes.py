"""Every recipe is a valid plan as soon as its images and weights are where it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from language_server import LanguageServer
from photos import make_photos
from small_teachers import small_clip

from reinforced.errors import RequestError
from reinforced.pipeline import load, recipes
from reinforced.plan import plan
from reinforced.run import run

REINFORCED = ["imagenet_plus", "cifar100_plus", "flowers102_plus", "food101_plus"]


def teachers(recipe: str) -> list[Any]:
    return list(next(step.operator.teachers for step in load(recipe).steps if step.name == "reinforce"))  # type: ignore[attr-defined]


@pytest.mark.parametrize("recipe", REINFORCED)
def test_a_recipe_plans_once_images_and_weights_are_there(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match=r"train. does not exist; give the path"):
        plan(recipe)
    make_photos(tmp_path / "photos", 4)
    with pytest.raises(RequestError, match=r"the file .teachers/.* is not there"):
        plan(recipe, ["source.path=photos"])
    for teacher in teachers(recipe):
        for file in teacher.files():
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).write_bytes(b"weights")
    made = plan(recipe, ["source.path=photos"])
    assert set(made.layers) == {"samples", "reinforced"}


def test_human_free_photos_plan_once_a_table_with_attribution_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cv2")
    monkeypatch.chdir(tmp_path)
    table = pa.table({n: ["x"] for n in ("key", "author", "title", "url", "license")} | {"image": [b"x"]})
    pa.parquet.write_table(table, "photos.parquet")
    assert set(plan("pass_like", ["source.path=."]).layers) == {"samples", "people"}
    pa.parquet.write_table(table.drop_columns(["author"]), "photos.parquet")
    with pytest.raises(RequestError, match=r"filter\.license reads column 'author'"):
        plan("pass_like", ["source.path=."])


@pytest.mark.parametrize("recipe", REINFORCED)
def test_a_recipe_names_networks_that_there_are(recipe: str) -> None:
    timm = pytest.importorskip("timm")
    known = set(timm.list_pretrained())
    assert [teacher.timm for teacher in teachers(recipe) if teacher.timm not in known] == []


def test_a_recipe_says_how_many_reinforcements_there_are() -> None:
    for recipe in REINFORCED:
        step = next(step.operator for step in load(recipe).steps if step.name == "reinforce")
        said = re.search(r"each with ([\d,]+) reinforcements", recipes()[recipe])
        assert said and int(said[1].replace(",", "")) == step.draws  # type: ignore[attr-defined]


CURATED = {
    "datacomp_basic": {"samples"},
    "datacomp_clip": {"samples", "clip_scores"},
    "align_like": {"samples"},
    "metaclip_balance": {"samples", "sampling"},
    "ssld_select": {"samples", "teacher_labels", "selected_labels"},
    "uncurated": {"samples", "quality", "subsets"},
}


@pytest.mark.parametrize("recipe", CURATED)
def test_a_recipe_of_curation_plans_once_its_files_are_there(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match=r"(pairs|pool|images)/?. does not exist"):
        plan(recipe)
    for name in ("pairs", "evaluation", "metaclip", "models", "teachers"):
        (tmp_path / name).mkdir()
    pairs = {"image": [b"", b""], "caption": ["a red bird", "a blue bird"]}
    pyarrow.parquet.write_table(pa.table(pairs), tmp_path / "pairs/0.parquet")
    for name in ("pool", "images"):
        make_photos(tmp_path / name, 4)
    (tmp_path / "evaluation/phash.txt").write_text("00ff00ff00ff00ff test/0\n")
    (tmp_path / "metaclip/queries.json").write_text('["bird"]')
    for name in ("models/ViT-L-14.safetensors", "teachers/resnext101_32x16d.safetensors"):
        (tmp_path / name).write_bytes(b"weights")
    assert set(plan(recipe).layers) == CURATED[recipe]


def test_recipes_of_captions_plan_once_images_and_the_clip_model_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("open_clip")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match=r"photos. does not exist"):
        plan("gpt4image")
    make_photos(tmp_path / "photos", 4)
    with pytest.raises(RequestError, match="models/clip"):
        plan("gpt4image")
    small_clip(tmp_path / "models/clip", 32)
    assert set(plan("gpt4image").layers) == {"samples", "captions", "text_embeddings"}
    assert set(plan("gist_classes").layers) == {"samples"}


def test_the_recipe_that_matches_descriptions_plans_once_they_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("open_clip")
    monkeypatch.chdir(tmp_path)
    make_photos(tmp_path / "photos", 4)
    small_clip(tmp_path / "models/clip", 32)
    with pytest.raises((RequestError, ValueError), match="data/gist-classes"):
        plan("gist")
    with LanguageServer() as server:
        made = ["source.model.endpoint=" + server.url, "source.requests.cache=answers"]
        run("gist_classes", made, workers=1)
    assert set(plan("gist").layers) == {"samples", "captions", "short_captions"}


def test_the_recipes_from_a_crawl_to_pairs_plan_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert set(plan("crawl_urls").layers) == {"samples"}
    with pytest.raises(RequestError, match=r"data/crawl-urls/samples. does not exist"):
        plan("web_to_clip")
    for name in ("data/crawl-urls/samples", "evaluation", "models"):
        (tmp_path / name).mkdir(parents=True)
    listed = pa.table({"key": ["a"], "url": ["http://example.com/1.jpg"], "alt_text": ["a red bird"]})
    pyarrow.parquet.write_table(listed, tmp_path / "data/crawl-urls/samples/00000.parquet")
    (tmp_path / "evaluation/phash.txt").write_text("00ff00ff00ff00ff test/0\n")
    (tmp_path / "models/ViT-B-32.safetensors").write_bytes(b"weights")
    made = plan("web_to_clip", ["variables.evaluation=evaluation/phash.txt"])
    assert set(made.layers) == {"samples", "quality", "perceptual_duplicates", "clip_embeddings", "clip_scores"}


def test_the_recipe_of_reinforced_pairs_plans_once_its_files_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs").mkdir()
    pairs = {"image": [b""], "caption": ["a red bird"], "captions": [["a bird", "it is red"]]}
    pyarrow.parquet.write_table(pa.table(pairs), tmp_path / "pairs/0.parquet")
    with pytest.raises(RequestError, match=r"the file .teachers/clip/.* is not there"):
        plan("datacomp_dr")
    (tmp_path / "teachers/clip").mkdir(parents=True)
    for name in ("openai", "datacomp_xl"):
        (tmp_path / f"teachers/clip/ViT-L-14.{name}.safetensors").write_bytes(b"weights")
    made = plan("datacomp_dr")
    assert set(made.layers) == {"samples", "reinforced_clip", "caption_embeddings"}
    kinds = [made.layers[layer][1].field(name).type for layer, name in EMBEDDED.items()]
    assert kinds == [pa.list_(pa.float16(), 2 * 768)] * 2


EMBEDDED = {"reinforced_clip": "view_embedding", "caption_embeddings": "caption_embedding"}
