"""`write.imagefolder`: one file an image inside the folder, whatever its key, and no other column lost."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from broken_images import encode, photo
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reinforced.operators.read.images import ReadImages
from reinforced.operators.write.imagefolder import WriteImageFolder

IMAGES = [encode(photo(9, 7), name) for name in ("PNG", "JPEG", "GIF")]

texts = st.text(alphabet="ab./ %é猫\\\n\0:*~", max_size=8) | st.text(alphabet="猫/", min_size=100, max_size=120)


@settings(deadline=None)  # the first call imports
@given(st.lists(st.tuples(texts, texts, st.sampled_from(IMAGES)), min_size=1, max_size=5, unique_by=lambda row: row[0]))
@example([("../../outside", "..", IMAGES[0]), ("/etc/passwd", "/", IMAGES[1]), ("a\0b", ".", IMAGES[2])])
@example([("x" * 181, "", IMAGES[0]), ("x" * 182, "", IMAGES[0])])
def test_no_key_or_class_name_leaves_the_folder_or_overwrites_another(rows):
    keys, labels, images = (list(column) for column in zip(*rows, strict=True))
    table = pa.table({"key": keys, "label_name": labels, "image": images})
    with tempfile.TemporaryDirectory() as outer:
        folder = Path(outer) / "in" / "out"
        written = WriteImageFolder(path=str(folder)).write("0", table)
        files = {str(path) for path in Path(outer).rglob("*") if path.is_file()}
        assert files == set(written)
        assert all(os.path.realpath(path).startswith(f"{os.path.realpath(folder)}/") for path in files)
        metadata = pq.read_table(folder / "metadata-0.parquet")
        assert metadata.column("key").to_pylist() == keys
        assert [(folder / name).read_bytes() for name in metadata.column("file_name").to_pylist()] == images


def test_read_images_gives_the_same_images_and_classes_back(tmp_path):
    table = pa.table(
        {
            "key": ["cat/1", "cat/1.png", "dog/v1.2 é"],
            "image": IMAGES,
            "path": ["cat/1.PNG", "cat/1.png", "dog/v1.2 é.gif"],
            "label": pa.array([0, 0, 1], pa.int32()),
            "label_name": ["cat", "cat", "dog"],
            "caption": ["one", None, "three"],
        }
    )
    WriteImageFolder(path=str(tmp_path)).write("00000", table)
    source = ReadImages(path=str(tmp_path))
    (spec,) = source.shards()
    again = source.read(spec)
    names = ["cat/cat%2F1.PNG", "cat/cat%2F1.png.jpg", "dog/dog%2Fv1.2 é.gif"]
    assert again.column("path").to_pylist() == names
    for column in ("image", "label", "label_name"):
        assert again.column(column).to_pylist() == table.column(column).to_pylist()
    metadata = pq.read_table(tmp_path / "metadata-00000.parquet")
    assert metadata.column("file_name").to_pylist() == names
    assert metadata.drop_columns(["file_name"]) == table.drop_columns(["image"])


def test_rows_without_a_class_or_an_image_are_not_lost(tmp_path):
    table = pa.table(
        {"key": ["a", "b"], "image": pa.array([IMAGES[0], None], pa.binary()), "label_name": [None, "cat"]}
    )
    written = WriteImageFolder(path=str(tmp_path)).write("0", table)
    assert written == [str(tmp_path / "a.png"), str(tmp_path / "metadata-0.parquet")]
    metadata = pq.read_table(written[-1])
    assert metadata.column("file_name").to_pylist() == ["a.png", None]
    assert metadata.column("key").to_pylist() == ["a", "b"]


def test_a_column_that_the_metadata_needs_is_refused_before_the_run(tmp_path):
    with pytest.raises(ValueError, match="column 'file_name' is what this sink calls"):
        WriteImageFolder(path=str(tmp_path)).check(pa.schema([("key", pa.string()), ("file_name", pa.string())]))
