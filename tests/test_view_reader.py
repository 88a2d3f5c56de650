from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from photos import make_photos

from reinforced.dataset import Dataset
from reinforced.errors import RequestError
from reinforced.images import decode
from reinforced.run import run
from reinforced.view_reader import ViewReader

CROPS = {"op": "reinforce", "draws": 4, "augment": {"size_px": 16, "random_resized_crop": {}, "horizontal_flip": {}}}
LOCAL = {
    "op": "reinforce",
    "draws": 9,
    "into": "local",
    "seed": 1,
    "augment": {"size_px": 6, "random_resized_crop": {}},
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("views")
    make_photos(folder / "photos", 20)
    steps: list[dict[str, Any]] = [CROPS | {"into": "global"}, LOCAL]
    source = {"op": "read.images", "path": str(folder / "photos"), "shard_rows": 8, "shuffle": True}
    return run({"name": "views", "out": str(folder / "views"), "source": source, "steps": steps}).dataset


def test_an_image_comes_with_all_its_crops_and_where_they_were(dataset: Dataset) -> None:
    reader = ViewReader(dataset, {"global": 2, "local": 3})
    files = dict(zip(*(dataset.to_arrow(columns=[n]).column(n).to_pylist() for n in ("key", "image")), strict=True))
    images = list(reader.images(0))
    assert len(images) == len(reader) == 20
    for image in images:
        assert [view.sample.pixels.shape for view in image.views] == 2 * [(16, 16, 3)] + 3 * [(6, 6, 3)]
        for view in image.views:
            augment = reader.readers[view.layer].reinforcement.augment
            assert (augment.apply(decode(files[image.key]), view.parameters) == view.sample.pixels).all()
        boxes = {tuple(view.parameters[f"crop_{name}"] for name in ("x", "y", "width")) for view in image.views}
        assert len(boxes) == 5


def test_epochs_go_on_with_the_draws_that_were_not_seen_yet(dataset: Dataset) -> None:
    reader = ViewReader(dataset, {"local": 3}, seed=3)
    seen: dict[str, set[bytes]] = {}
    for epoch in range(3):
        for image in reader.images(epoch):
            seen.setdefault(image.key, set()).update(view.sample.pixels.tobytes() for view in image.views)
    assert all(len(views) == 9 for views in seen.values())


def test_parts_cover_an_epoch_without_overlap(dataset: Dataset) -> None:
    reader = ViewReader(dataset, {"global": 1})
    keys = [image.key for part in range(3) for image in reader.images(1, part=part, parts=3)]
    assert sorted(keys) == sorted(image.key for image in reader.images(1))


def test_more_views_than_there_are_draws_are_refused(dataset: Dataset) -> None:
    with pytest.raises(RequestError, match="5 views of layer 'global' are asked for, it has 4 draws"):
        ViewReader(dataset, {"global": 5})


def test_layers_whose_crops_would_lie_alike_are_refused(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 3)
    source = {"op": "read.images", "path": str(tmp_path / "photos")}
    steps = [CROPS, LOCAL | {"seed": 0}]
    made = run({"name": "alike", "out": str(tmp_path / "alike"), "source": source, "steps": steps}).dataset
    with pytest.raises(RequestError, match=r"drawn from the same words.*seed: 1"):
        ViewReader(made, {"reinforced": 1, "local": 1})


def test_shuffled_shards_mix_the_classes_and_keep_every_key(dataset: Dataset) -> None:
    labels = dataset.read("samples", "00000", ["label"]).column("label").to_pylist()
    assert set(labels) == {0, 1}
    assert len(set(dataset.to_arrow(columns=["key"]).column("key").to_pylist())) == 20
