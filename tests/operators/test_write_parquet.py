"""`write.parquet`: Hugging Face shows the pictures, and every column comes back as it was."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from broken_images import encode, photo
from hypothesis import given, settings
from hypothesis import strategies as st

from reinforced.operators.read.parquet import ReadParquet
from reinforced.operators.write.parquet import WriteParquet

PNG = encode(photo(9, 7), "PNG")
JPEG = encode(photo(9, 7), "JPEG")


def read(folder: Path | str, shard_rows: int = 1000) -> pa.Table:
    source = ReadParquet(path=str(folder), shard_rows=shard_rows)
    return pa.concat_tables([source.read(spec) for spec in source.shards()])


rows = st.lists(
    st.tuples(
        st.text(min_size=1).filter(lambda key: key.isprintable()),
        st.sampled_from([(None, None), (PNG, None), (PNG, "a/b.png"), (JPEG, "../x é"), (b"", "")]),
        st.none() | st.integers(-(2**31), 2**31 - 1),
        st.none() | st.lists(st.none() | st.floats(width=16), max_size=3),
    ),
    min_size=1,
    max_size=8,
)


@settings(deadline=None)  # the first call imports
@given(rows, st.integers(1, 9))
def test_a_round_trip_changes_neither_bytes_nor_columns(rows, shard_rows):
    keys, images, labels, vectors = zip(*rows, strict=True)
    table = pa.table(
        {
            "key": pa.array(keys, pa.string()),
            "image": pa.array([image for image, _ in images], pa.binary()),
            "path": pa.array([path for _, path in images], pa.string()),
            "label": pa.array(labels, pa.int32()),
            "vector": pa.array(vectors, pa.list_(pa.float16())),
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        pieces = pa.concat_tables([table.slice(0, 1), table.slice(1)])
        WriteParquet(path=folder).write("00000", pieces)
        again = read(folder, shard_rows)
    assert again.column("_error").null_count == len(rows)
    again = again.drop_columns(["_error"])
    assert again.schema == table.schema
    for name in table.column_names:
        assert str(again.column(name).to_pylist()) == str(table.column(name).to_pylist())  # text, for NaN equals itself


def test_hugging_face_datasets_shows_pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    table = pa.table(
        {
            "key": [f"{i}" for i in range(250)],
            "image": [PNG] * 250,
            "path": [f"{i}.png" for i in range(250)],
            "label": pa.array(range(250), pa.int32()),
            "probability": pa.array([[0.5]] * 250, pa.list_(pa.float16(), 1)),
        }
    )
    sink = WriteParquet(path=str(tmp_path / "out"))
    files = [*sink.write("00000", table.slice(0, 200)), *sink.write("00001", table.slice(200))]
    assert files == [str(tmp_path / f"out/0000{i}.parquet") for i in range(2)]
    found = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(found.features["image"], datasets.Image)
    assert list(found["label"]) == list(range(250))
    assert found[7]["image"].tobytes() == photo(9, 7).tobytes()
    raw = found.cast_column("image", datasets.Image(decode=False))
    assert raw[7]["image"] == {"bytes": PNG, "path": "7.png"}
    assert pq.ParquetFile(files[0]).num_row_groups == 2


def test_columns_keep_their_descriptions_and_a_table_without_images_is_written_as_it_is(tmp_path):
    url = pa.field("url", pa.string(), metadata={"description": "Where it is."})
    table = pa.table([pa.array(["a"]), pa.array(["http://example.com"])], schema=pa.schema([("key", pa.string()), url]))
    (file,) = WriteParquet(path=str(tmp_path)).write("0", table)
    found = pq.read_table(file)
    assert found == table
    assert found.schema.field("url").metadata[b"description"] == b"Where it is."


def test_equal_rows_give_equal_bytes(tmp_path):
    table = pa.table({"key": ["a", "b"], "image": [PNG, JPEG]})
    halves = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    paths = [WriteParquet(path=str(tmp_path)).write(str(i), t)[0] for i, t in enumerate((table, halves))]
    assert Path(paths[0]).read_bytes() == Path(paths[1]).read_bytes()
