from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from broken_images import encode
from PIL import Image
from sklearn.datasets import load_sample_images

import reinforced
from reinforced.batch import Batch
from reinforced.errors import RequestError
from reinforced.operators.dedup.against import DedupAgainst
from reinforced.operators.hash.perceptual import HashPerceptual
from reinforced.plan import plan
from reinforced.report import render_report
from reinforced.run import run
from reinforced.verify import verify

TEMPLE, FLOWER = (Image.fromarray(photo) for photo in load_sample_images().images)
COPY = encode(TEMPLE.resize((320, 214)), "WEBP", quality=70)
OTHER = encode(FLOWER.crop((300, 100, 620, 400)), "JPEG")


def folder(path: Path, images: dict[str, bytes]) -> str:
    path.mkdir()
    for name, data in images.items():
        (path / name).write_bytes(data)
    return str(path)


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a dataset of two test images with their hashes."""
    place = tmp_path_factory.mktemp("held_out")
    images = {"temple.jpg": encode(TEMPLE, "JPEG"), "flower.jpg": encode(FLOWER, "JPEG")}
    source = {"op": "read.images", "path": folder(place / "test", images)}
    steps = [{"op": "hash.perceptual", "kinds": ["phash", "pdq"]}]
    return run({"name": "test", "out": str(place / "out"), "source": source, "steps": steps}).path


def pipeline(tmp_path: Path, **parameters: Any) -> dict[str, Any]:
    source = {"op": "read.images", "path": str(tmp_path / "train")}
    steps = [{"op": "dedup.against"} | parameters]
    return {"name": "train", "out": str(tmp_path / "out"), "source": source, "steps": steps}


@pytest.mark.parametrize("kind", ["phash", "pdq"])
def test_a_copy_of_a_test_image_is_dropped_by_name_and_shown_beside_it(
    kind: str, held_out: str, tmp_path: Path
) -> None:
    folder(tmp_path / "train", {"a.webp": COPY, "b.jpg": OTHER})
    result = run(pipeline(tmp_path, reference=held_out, hash=kind))
    assert result.dataset.to_arrow().column("key").to_pylist() == ["b"]
    ledger = pq.read_table(next((tmp_path / "out" / "_runs" / "ledger" / "train").rglob("*.parquet"))).to_pylist()
    assert [row["reason"] for row in ledger] == ["contaminated: temple", None]
    assert Image.open(io.BytesIO(ledger[0]["picture"])).size[0] > 250
    report = render_report(result.dataset, result.counts, None)
    assert "contaminated: temple" in report and "data:image/jpeg;base64," in report
    assert verify(result.path) == []


def test_a_reference_that_changed_is_held_against_all_samples_again(held_out: str, tmp_path: Path) -> None:
    folder(tmp_path / "train", {"a.webp": COPY, "b.jpg": OTHER})
    listed = tmp_path / "bad.txt"
    listed.write_text("")
    assert len(run(pipeline(tmp_path, reference=str(listed))).dataset) == 2
    hashes = reinforced.open(held_out).to_arrow(columns=["key", "phash"]).to_pylist()
    listed.write_text("".join(f"{row['phash']:016x} {row['key']}\n" for row in hashes))
    assert run(pipeline(tmp_path, reference=str(listed))).dataset.to_arrow().column("key").to_pylist() == ["b"]


def test_lists_of_256_bits_and_parquet_files_say_the_same(held_out: str, tmp_path: Path) -> None:
    table = reinforced.open(held_out).to_arrow(columns=["key", "pdq"])
    pq.write_table(table, tmp_path / "list.parquet")
    whole = [sum(word << 64 * i for i, word in enumerate(words)) for words in table.column("pdq").to_pylist()]
    (tmp_path / "list.txt").write_text(
        "\n".join(f"{n:064x} {k}" for n, k in zip(whole, ["flower", "temple"], strict=True))
    )
    rows = Batch(pa.table({"key": ["a", "b"], "image": [COPY, OTHER]}))
    for name in ("list.parquet", "list.txt"):
        operator = DedupAgainst(reference=str(tmp_path / name), hash="pdq")
        operator.setup()
        found = operator.judge(rows)
        assert list(found.reasons) == ["contaminated: temple", None]
        assert found.scores is not None and 0 < found.scores[0] <= 31  # type: ignore[operator]


def test_plain_images_are_not_taken_for_copies_of_a_plain_test_image(tmp_path: Path) -> None:
    white, black = (encode(Image.new("RGB", (90, 70), color), "PNG") for color in ("white", "black"))
    hashed = HashPerceptual()(pa.table({"key": ["white"], "image": [white]}))
    pq.write_table(hashed.select(["key", "phash"]), tmp_path / "list.parquet")
    table = pa.table({"key": ["a"], "image": [black]})
    assert DedupAgainst(reference=str(tmp_path / "list.parquet"))(table).num_rows == 1
    assert DedupAgainst(reference=str(tmp_path / "list.parquet"), min_quality=0)(table).num_rows == 0


def vectors(found: list[list[float]]) -> pa.Array:
    return pa.array(found, pa.list_(pa.float32(), len(found[0])))


def test_embeddings_are_held_against_embeddings(tmp_path: Path) -> None:
    reference = pa.table({"key": ["x", "y"], "embedding": vectors([[1, 0, 0], [0, 2, 0]])})
    pq.write_table(reference, tmp_path / "list.parquet")
    table = pa.table({"key": ["a", "b"], "image": [COPY, OTHER], "embedding": vectors([[0.1, 5, 0], [1, 1, 0]])})
    operator = DedupAgainst(reference=str(tmp_path / "list.parquet"), embedding="embedding")
    operator.check(table.schema)
    operator.setup()
    found = operator.judge(Batch(table))
    assert list(found.reasons) == ["contaminated: y", None]
    assert found.scores is not None
    assert np.allclose(found.scores, [1 - 5 / np.hypot(5, 0.1), 1 - 0.5**0.5], atol=1e-6)  # type: ignore[arg-type]


def test_a_dataset_without_the_hashes_is_refused_with_the_way_to_make_them(held_out: str, tmp_path: Path) -> None:
    folder(tmp_path / "train", {"b.jpg": OTHER})
    with pytest.raises(RequestError, match=r"has no column 'phash_256'.*add it with a pipeline"):
        plan(pipeline(tmp_path, reference=held_out, hash="phash_256"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("xyz", "line 1: 'xyz' is no hash"),
        ("ab12", "16 or 64 hexadecimal digits, got 4"),
        ("0" * 64, "phash is uint64"),
    ],
)
def test_a_list_that_holds_no_such_hashes_is_refused(line: str, said: str, tmp_path: Path) -> None:
    folder(tmp_path / "train", {"b.jpg": OTHER})
    (tmp_path / "list.txt").write_text(line)
    with pytest.raises(RequestError, match=said):
        plan(pipeline(tmp_path, reference=str(tmp_path / "list.txt")))
