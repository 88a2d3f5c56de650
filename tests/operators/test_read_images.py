"""`read.images`: no file is lost, none outside the folder is read, and every change is noticed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from broken_images import encode, photo
from moto.server import ThreadedMotoServer

from reinforced.errors import RequestError
from reinforced.operators.read.images import ReadImages
from reinforced.operators.read.webdataset import ReadWebDataset
from reinforced.operators.write.webdataset import WriteWebDataset

PNG = encode(photo(8, 6), "PNG")
JPEG = encode(photo(8, 6), "JPEG")


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    def make(**files: bytes) -> Path:
        for name, data in files.items():
            path = tmp_path / "photos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return tmp_path / "photos"

    return make


def read(source: ReadImages | ReadWebDataset) -> pa.Table:
    specs = json.loads(json.dumps(list(source.shards())))
    return pa.concat_tables([source.read(spec) for spec in specs])


def test_every_image_arrives_with_its_bytes_and_the_class_of_its_folder(folder):
    path = folder(**{"dog/2.JPG": JPEG, "cat/1.png": PNG, "cat/deep/x.webp": b"w", "dog/notes.txt": b"no image"})
    source = ReadImages(path=str(path))
    table = read(source)
    assert table.column("key").to_pylist() == ["cat/1", "cat/deep/x", "dog/2"]
    assert table.column("image").to_pylist() == [PNG, b"w", JPEG]
    assert table.column("path").to_pylist() == ["cat/1.png", "cat/deep/x.webp", "dog/2.JPG"]
    assert table.column("label").to_pylist() == [0, 0, 1]
    assert table.column("label_name").to_pylist() == ["cat", "cat", "dog"]
    assert table.column("_error").null_count == 3
    assert source.columns() == table.drop_columns(["_error"]).schema


def test_files_that_differ_only_in_suffix_keep_keys_of_their_own(folder):
    path = folder(**{"cat/001.png": PNG, "cat/001.jpg": JPEG, "cat/001.png.webp": PNG, "cat/002.png": PNG})
    assert read(ReadImages(path=str(path))).column("key").to_pylist() == [
        "cat/001",
        "cat/001.png",
        "cat/001.png.webp",
        "cat/002",
    ]


@pytest.mark.parametrize(("labels", "found"), [("auto", None), ("none", None), ("folders", [0, None])])
def test_images_beside_the_class_folders_get_no_invented_class(folder, labels, found):
    source = ReadImages(path=str(folder(**{"cat/1.png": PNG, "loose.png": PNG})), labels=labels)
    table = read(source)
    assert ("label" in source.columns().names) == (found is not None)
    if found is not None:
        assert table.column("label").to_pylist() == found
        assert table.column("label_name").to_pylist() == ["cat", None]


def test_a_shard_is_cut_at_rows_or_bytes_whichever_comes_first(folder):
    path = folder(**{f"{i}.png": bytes(10 if i < 4 else 95) for i in range(6)})
    shards = list(ReadImages(path=str(path), shard_rows=3, shard_bytes=100).shards())
    assert [shard["paths"] for shard in shards] == [["0.png", "1.png", "2.png"], ["3.png"], ["4.png"], ["5.png"]]


def test_a_changed_file_changes_its_shard_and_no_other(folder):
    path = folder(**{f"{i}.png": PNG for i in range(4)})
    source = ReadImages(path=str(path), shard_rows=2)
    before = list(source.shards())
    assert before == list(source.shards())
    os.utime(path / "0.png", (1, 1))
    after = list(source.shards())
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_a_file_that_is_gone_costs_only_its_own_row(folder):
    path = folder(**{"a.png": PNG, "b.png": PNG, "c.png": PNG})
    source = ReadImages(path=str(path))
    (spec,) = source.shards()
    (path / "b.png").unlink()
    table = source.read(spec)
    assert table.column("image").to_pylist() == [PNG, None, PNG]
    assert table.column("_error").to_pylist() == [None, "the file cannot be read: No such file or directory", None]


def test_links_out_of_the_folder_and_to_folders_are_failed_rows_and_never_followed(folder, tmp_path):
    path = folder(**{"a.png": PNG, "b.png": PNG, "in/d.png": PNG})
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.png").write_bytes(b"secret")
    (tmp_path / "photos-2").mkdir()
    (tmp_path / "photos-2" / "e.png").write_bytes(b"secret")
    (path / "b.png").unlink()
    (path / "b.png").symlink_to(tmp_path / "secret" / "key.png")
    (path / "c.png").symlink_to("a.png")
    (path / "e.png").symlink_to("../photos-2/e.png")
    (path / "elsewhere").symlink_to(tmp_path / "secret")
    (path / "same").symlink_to("in")
    table = read(ReadImages(path=str(path), labels="none"))
    found = dict(zip(table.column("path").to_pylist(), table.column("_error").to_pylist(), strict=True))
    assert found == {
        "a.png": None,
        "b.png": "is a link that leaves the folder",
        "c.png": None,
        "e.png": "is a link that leaves the folder",
        "elsewhere": "is a link that leaves the folder",
        "in/d.png": None,
        "same": "is not a regular file",
    }
    assert b"secret" not in table.column("image").to_pylist()


def test_a_pipe_among_the_images_does_not_hang_the_run(folder):
    path = folder(**{"a.png": PNG})
    os.mkfifo(path / "b.png")
    assert read(ReadImages(path=str(path))).column("_error").to_pylist() == [None, "is not a regular file"]


def test_odd_file_names_are_read_as_they_are_and_names_that_are_no_text_fail_alone(folder):
    names = ["a [1].png", "b*?.png", "c{1,2}.png", "d #%20.png", "猫 é.png", "x..png"]
    path = folder(**dict.fromkeys(names, PNG))
    (path / os.fsdecode(b"z\xff.png")).write_bytes(PNG)
    table = read(ReadImages(path=str(path)))
    errors = dict(zip(table.column("path").to_pylist(), table.column("_error").to_pylist(), strict=True))
    assert {name for name, error in errors.items() if error is None} == set(names)
    assert "No such file" in errors["z\\xff.png"]


def test_a_path_that_is_missing_empty_or_a_file_says_what_to_do(folder, tmp_path):
    path = folder(**{"notes.txt": b"", ".hidden.png": PNG})
    for bad, words in ((path, "holds no image; put files"), (tmp_path / "no", "does not exist; give the path")):
        with pytest.raises(RequestError, match=words):
            list(ReadImages(path=str(bad)).shards())
    with pytest.raises(RequestError, match=r"no folder in .* holds images; leave out labels"):
        list(ReadImages(path=str(folder(**{"a.png": PNG})), labels="folders").shards())
    with pytest.raises(RequestError, match="is a file; give the path"):
        list(ReadImages(path=str(path / "notes.txt")).shards())


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("bucket")
        yield "s3://bucket"
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_images_on_s3_come_back_from_tars_on_s3_unchanged(bucket, tmp_path):
    import s3fs

    fs = s3fs.S3FileSystem()
    files = {"cat/a b.png": PNG, "dog/é.v2.jpg": JPEG, "dog/c.png": PNG}
    for name, data in files.items():
        fs.pipe_file(f"bucket/photos/{name}", data)
    source = ReadImages(path=f"{bucket}/photos")
    (spec,) = source.shards()
    fs.rm_file("bucket/photos/dog/c.png")
    table = source.read(spec)
    assert table.column("key").to_pylist() == ["cat/a b", "dog/c", "dog/é.v2"]
    assert table.column("image").to_pylist() == [PNG, None, JPEG]
    assert [error is None for error in table.column("_error").to_pylist()] == [True, False, True]
    kept = table.take([0, 2]).drop_columns(["_error"])
    assert WriteWebDataset(path=f"{bucket}/tars").write("00000", kept) == [f"{bucket}/tars/00000.tar"]
    assert WriteWebDataset(path=str(tmp_path)).write("00000", kept) == [str(tmp_path / "00000.tar")]
    assert fs.cat_file("bucket/tars/00000.tar") == (tmp_path / "00000.tar").read_bytes()
    for path in (f"{bucket}/tars", f"{bucket}/tars/{{00000..00000}}.tar", f"{bucket}/tars/*.tar"):
        again = read(ReadWebDataset(path=path))
        assert again.column("key").to_pylist() == ["cat/a b", "dog/é.v2"]
        assert again.column("image").to_pylist() == [PNG, JPEG]
