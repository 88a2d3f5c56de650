"""`read.parquet`: every row and column arrives with its type, under a key of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reinforced.errors import RequestError
from reinforced.operators.read.parquet import ReadParquet

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def read(path: Path | str, **parameters: object) -> pa.Table:
    source = ReadParquet(path=str(path), **parameters)
    specs = json.loads(json.dumps(list(source.shards())))
    table = pa.concat_tables([source.read(spec) for spec in specs])
    assert source.columns() == table.drop_columns(["_error"]).schema
    return table


def numbered(rows: int, start: int = 0) -> pa.Table:
    return pa.table({"image": [b"%d" % i for i in range(start, start + rows)], "n": range(start, start + rows)})


@pytest.mark.parametrize("row_group_size", [1, 3, 7, 100])
@pytest.mark.parametrize("shard_rows", [1, 4, 23, 1000])
def test_every_row_is_in_exactly_one_shard_however_the_file_is_grouped(tmp_path, row_group_size, shard_rows):
    pq.write_table(numbered(23), tmp_path / "a.parquet", row_group_size=row_group_size)
    table = read(tmp_path / "a.parquet", shard_rows=shard_rows)
    assert table.column("n").to_pylist() == list(range(23))
    assert table.column("key").to_pylist() == [f"a/{i:08d}" for i in range(23)]
    shards = list(ReadParquet(path=str(tmp_path / "a.parquet"), shard_rows=shard_rows).shards())
    assert len(shards) == -(-23 // shard_rows)


def test_columns_keep_their_types_and_images_in_a_struct_give_bytes_and_path(tmp_path):
    columns = {
        "photo": pa.array([{"bytes": b"x", "path": "p/x.jpg"}, {"bytes": b"y", "path": None}, None], STRUCT),
        "embedding": pa.array([[1, 2], [3, 4], None], pa.list_(pa.float16(), 2)),
        "when": pa.array([0, 1, None], pa.timestamp("us", "UTC")),
        "kind": pa.array(["a", "b", "a"]).dictionary_encode(),
        "tags": pa.array([["a"], [], None], pa.list_(pa.string())),
    }
    whole = pa.table(columns)
    pq.write_table(whole, tmp_path / "a.parquet")
    table = read(tmp_path / "a.parquet", image_column="photo")
    assert table.column_names == ["key", "image", "path", "embedding", "when", "kind", "tags", "_error"]
    assert table.column("image").to_pylist() == [b"x", b"y", None]
    assert table.column("path").to_pylist() == ["p/x.jpg", None, None]
    for name in ("embedding", "when", "kind", "tags"):
        assert table.column(name).combine_chunks() == whole.column(name).combine_chunks()
    assert b"PARQUET:field_id" not in (table.schema.field("when").metadata or {})


def test_an_image_that_is_only_a_path_fails_and_is_not_opened(tmp_path):
    (tmp_path / "secret.png").write_bytes(b"secret")
    image = pa.array([{"bytes": None, "path": str(tmp_path / "secret.png")}, {"bytes": b"x", "path": None}], STRUCT)
    pq.write_table(pa.table({"image": image}), tmp_path / "a.parquet")
    table = read(tmp_path / "a.parquet")
    assert table.column("image").to_pylist() == [None, b"x"]
    errors = table.column("_error").to_pylist()
    assert "which is not followed" in errors[0]
    assert errors[1] is None


def test_keys_come_from_the_key_column_and_missing_ones_cost_their_row(tmp_path):
    pq.write_table(pa.table({"image": [b"x"] * 3, "id": [7, None, 9]}), tmp_path / "a.parquet")
    table = read(tmp_path / "a.parquet", key_column="id")
    assert table.column("key").to_pylist() == ["7", "a/00000001", "9"]
    assert table.column("id").to_pylist() == [7, None, 9]
    assert table.column("_error").to_pylist() == [None, "the key in column 'id' is null", None]
    pq.write_table(pa.table({"image": [b"x"] * 2, "key": ["k", ""]}), tmp_path / "b.parquet")
    table = read(tmp_path / "b.parquet")
    assert table.column("key").to_pylist() == ["k", "b/00000001"]
    assert table.column("_error").to_pylist() == [None, "the key in column 'key' is empty"]


def test_files_of_one_name_in_two_folders_do_not_share_keys(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        pq.write_table(numbered(1), tmp_path / folder / "part-0.parquet")
    for path in ("", "*/part-0.parquet", "{b,a}/part-0.parquet"):
        keys = read(f"{tmp_path}/{path}").column("key").to_pylist()
        assert keys == ["a/part-0/00000000", "b/part-0/00000000"]


def test_a_changed_file_changes_its_shards_and_no_other(tmp_path):
    for i in range(2):
        pq.write_table(numbered(3), tmp_path / f"{i}.parquet")
    source = ReadParquet(path=str(tmp_path), shard_rows=2)
    before = list(source.shards())
    os.utime(tmp_path / "1.parquet", (1, 1))
    after = list(source.shards())
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, True, False, False]


def test_a_table_without_images_is_read_when_the_pipeline_says_so(tmp_path):
    pq.write_table(pa.table({"url": ["http://example.com/1.jpg"]}), tmp_path / "a.parquet")
    with pytest.raises(RequestError, match="no column 'image'; set image_column to one of url, or to null"):
        ReadParquet(path=str(tmp_path)).columns()
    assert read(tmp_path, image_column=None).column_names == ["key", "url", "_error"]


def test_requests_that_cannot_work_say_why(tmp_path):
    pq.write_table(pa.table({"image": [b"x"], "photo": [b"x"], "n": [1.5]}), tmp_path / "a.parquet")
    cases = [
        ({"image_column": "photo"}, "two columns would be called 'image'"),
        ({"image_column": "n"}, "must be binary or struct"),
        ({"key_column": "n"}, "holds double; a key is text or a whole number"),
        ({"key_column": "no"}, "no column 'no'; set key_column to one of image, photo, n"),
    ]
    for parameters, words in cases:
        with pytest.raises(RequestError, match=words):
            ReadParquet(path=str(tmp_path), **parameters).columns()
    pq.write_table(numbered(1), tmp_path / "b.parquet")
    with pytest.raises(RequestError, match=r"b.parquet' has other columns than the first file"):
        list(ReadParquet(path=str(tmp_path)).shards())
    (tmp_path / "b.parquet").write_bytes(b"no Parquet at all")
    with pytest.raises(RequestError, match=r"b.parquet' cannot be read"):
        list(ReadParquet(path=str(tmp_path)).shards())
