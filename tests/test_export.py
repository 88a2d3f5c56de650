"""A dataset in another form: nothing of a kept sample is lost, nothing of a dropped one comes along."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

import reinforced
from reinforced.errors import RequestError
from reinforced.export import export


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Digits with a layer of hashes; the threes stay in the files with a verdict against them."""
    pipeline = {
        "name": "digits",
        "out": str(tmp_path_factory.mktemp("digits") / "data"),
        "compact": False,
        "source": {"op": "read.digits", "shard_rows": 600},
        "steps": [{"op": "hash.pixels"}, {"op": "dedup.exact"}, {"op": "filter.where", "sql": "label != 3"}],
    }
    return reinforced.run(pipeline).path


def test_parquet_has_every_kept_row_and_every_column(digits: str, tmp_path: Path) -> None:
    files = dict(export(digits, "parquet", str(tmp_path / "out")))
    assert list(files) == ["00000", "00001", "00002"]
    table = pq.read_table(tmp_path / "out")
    dataset = reinforced.open(digits)
    assert len(table) == len(dataset) == 1797 - 183
    assert set(table.column_names) == {*dataset.schema.names} - {"path"}
    assert table.column("pixel_sha256").to_pylist() == dataset.to_arrow(columns=["pixel_sha256"])[0].to_pylist()


@pytest.mark.parametrize(("to", "source"), [("webdataset", "read.webdataset"), ("parquet", "read.parquet")])
def test_what_was_exported_reads_back_as_the_same_images(digits: str, to: str, source: str, tmp_path: Path) -> None:
    list(export(digits, to, str(tmp_path / "out")))
    back = reinforced.run(
        {"name": "back", "out": str(tmp_path / "back"), "source": {"op": source, "path": str(tmp_path / "out")}}
    )
    columns = ["key", "image", "sha256"]
    assert back.dataset.to_arrow(columns=columns).equals(reinforced.open(digits).to_arrow(columns=columns))


def test_imagefolder_sorts_the_files_by_class(digits: str, tmp_path: Path) -> None:
    count = sum(len(files) for _, files in export(digits, "imagefolder", str(tmp_path / "out")))
    images = sorted((tmp_path / "out").glob("*/*.png"))
    assert len(images) == 1797 - 183 == count - 3
    assert "three" not in {path.parent.name for path in images}
    assert len({path.parent.name for path in images}) == 9


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("webdatset", "did you mean 'webdataset'"),
        ("csv", "allowed: .*coco, .*imagefolder, .*parquet, .*webdataset"),
    ],
)
def test_an_unknown_form_names_the_known_ones(digits: str, to: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=said):
        list(export(digits, to, str(tmp_path / "out")))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_not_written_over(digits: str, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(RequestError, match="is not empty; export into a new folder"):
        list(export(digits, "parquet", str(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_dataset_without_images_is_no_image_folder(tmp_path: Path) -> None:
    import pyarrow as pa

    pq.write_table(pa.table({"key": ["a", "b"]}), tmp_path / "x.parquet")
    source = {"op": "read.parquet", "path": str(tmp_path / "x.parquet"), "image_column": None}
    made = reinforced.run({"name": "keys", "out": str(tmp_path / "keys"), "source": source})
    with pytest.raises(RequestError, match="needs column 'image'"):
        list(export(made.path, "imagefolder", str(tmp_path / "out")))
