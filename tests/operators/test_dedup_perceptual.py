from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pytest
from broken_images import encode
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_images

import reinforced
from reinforced.batch import Batch
from reinforced.images import measure
from reinforced.operators.dedup.perceptual import DedupPerceptual
from reinforced.operators.hash.perceptual import HashPerceptual
from reinforced.perceptual_hash import Kind
from reinforced.run import run
from reinforced.verify import verify

TEMPLE, FLOWER = (Image.fromarray(photo) for photo in load_sample_images().images)
SMALL, LARGE = encode(TEMPLE.resize((320, 214)), "JPEG"), encode(TEMPLE, "JPEG", quality=40)
OTHER = encode(FLOWER, "JPEG")
WHITE, BLACK = (encode(Image.new("RGB", (80, 60), color), "PNG") for color in ("white", "black"))


def table(images: dict[str, bytes]) -> pa.Table:
    sizes = [measure(image) for image in images.values()]
    columns = {"key": list(images), "image": list(images.values())}
    return pa.table(columns | {"width": [w for w, _ in sizes], "height": [h for _, h in sizes]})


@pytest.mark.parametrize("kind", ["phash", "phash_256", "pdq"])
def test_of_the_copies_of_a_picture_the_largest_survives(kind: Kind) -> None:
    found = DedupPerceptual(hash=kind)(table({"a": SMALL, "b": OTHER, "c": LARGE}))
    assert found.column("key").to_pylist() == ["b", "c"]
    assert found.column("perceptual_cluster").to_pylist() == [None, "c"]
    assert found.column("perceptual_distance").to_pylist() == [None, 0.0]


def test_between_equal_sizes_more_bytes_decide_and_then_the_smallest_key() -> None:
    better = encode(TEMPLE, "JPEG", quality=90)
    found = DedupPerceptual()(table({"a": LARGE, "c": better, "b": better}))
    assert found.column("key").to_pylist() == ["b"]


def test_plain_pictures_are_not_taken_for_copies_of_each_other() -> None:
    plain = table({"a": WHITE, "b": BLACK})
    assert DedupPerceptual()(plain).num_rows == 2
    assert DedupPerceptual(min_quality=0)(plain).num_rows == 1


def test_hashes_that_are_there_are_used_and_nothing_is_decoded() -> None:
    hashed = HashPerceptual()(table({"a": SMALL, "b": OTHER, "c": LARGE}))
    place = hashed.column_names.index("image")
    unreadable = hashed.set_column(place, "image", pa.array([b"1", b"22", b"333"]))
    assert DedupPerceptual()(unreadable).column("key").to_pylist() == ["b", "c"]


@settings(deadline=None, max_examples=25)
@given(st.randoms(use_true_random=False))
def test_the_decision_is_the_same_in_whatever_order_rows_come(random: random.Random) -> None:
    import duckdb

    operator = DedupPerceptual()
    images = {"a": SMALL, "b": OTHER, "c": LARGE, "d": WHITE, "e": SMALL}
    order = list(range(5))
    random.shuffle(order)
    rows = table(images)
    sketch = pa.table(
        {"shard": [f"{i % 2}" for i in range(5)], "row": range(5), "key": list(images)}
        | {f.name: pa.array(operator.sketch(Batch(rows))[f.name], f.type) for f in operator.sketch_schema()}
    )
    with duckdb.connect() as connection:
        found = sorted(operator.reduce(connection.from_arrow(sketch.take(order))).fetchall())
    kept = "near-duplicate: c is kept"
    assert [(row, reason) for _, row, reason, *_ in sorted(found, key=lambda r: r[1])] == [
        (0, kept),
        (2, None),
        (4, kept),
    ]


def test_a_run_that_keeps_the_dropped_rows_says_everyones_cluster_and_one_that_compacts_the_survivors(
    tmp_path: Path,
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, data in {"a": SMALL, "b": OTHER, "c": LARGE, "d": SMALL}.items():
        (photos / f"{name}.jpg").write_bytes(data)
    spec = {
        "name": "p",
        "out": str(tmp_path / "out"),
        "source": {"op": "read.images", "path": str(photos), "shard_rows": 2},
        "steps": [{"op": "dedup.perceptual"}],
    }
    run(spec, ["compact=false"])
    dataset = reinforced.open(str(tmp_path / "out"))
    clusters = [dataset.read("perceptual_duplicates", shard.name) for shard in dataset.shards]
    assert pa.concat_tables(clusters).column("perceptual_cluster").to_pylist() == ["c", None, "c", "c"]
    assert len(dataset) == 2 and verify(dataset.path) == []
    run(spec)
    dataset = reinforced.open(str(tmp_path / "out"))
    assert dataset.to_arrow(columns=["key", "perceptual_cluster"]).to_pydict() == {
        "key": ["b", "c"],
        "perceptual_cluster": [None, "c"],
    }
    assert verify(dataset.path) == []
