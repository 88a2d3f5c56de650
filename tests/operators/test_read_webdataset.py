"""`read.webdataset`: every member is kept, and what an odd or cut tar costs is told."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pyarrow as pa
import pytest
from broken_images import encode, photo

from reinforced.errors import RequestError
from reinforced.operators.read.webdataset import ReadWebDataset

PNG = encode(photo(8, 6), "PNG")
JPEG = encode(photo(8, 6), "JPEG")


def make_tar(path: Path, members: list[tuple[str, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def read(path: Path | str, **parameters: object) -> pa.Table:
    source = ReadWebDataset(path=str(path), **parameters)
    table = pa.concat_tables([source.read(spec) for spec in source.shards()])
    assert source.columns() == table.drop_columns(["_error"]).schema
    return table


def test_every_extension_of_a_sample_is_kept_untouched(tmp_path):
    members = [
        ("d/001.jpg", JPEG),
        ("d/001.json", b'{"a":  1}'),
        ("d/001.seg.png", PNG),
        ("d/001.cls", b"7\n"),
        ("d/002.PNG", PNG),
        ("d/002.cls", b"dog"),
        ("d/003.txt", b"no image"),
    ]
    rows = read(make_tar(tmp_path / "0.tar", members)).to_pylist()
    assert rows[0] == {
        "key": "d/001",
        "image": JPEG,
        "path": "d/001.jpg",
        "label": 7,
        "cls": b"7\n",
        "json": b'{"a":  1}',
        "seg.png": PNG,
        "txt": None,
        "_error": None,
    }
    assert rows[1]["image"] == PNG
    assert rows[1]["path"] == "d/002.PNG"
    assert (rows[1]["label"], rows[1]["cls"]) == (None, b"dog")
    assert (rows[2]["image"], rows[2]["path"], rows[2]["txt"]) == (None, None, b"no image")


def test_a_second_image_of_a_sample_is_a_column_not_lost(tmp_path):
    table = read(make_tar(tmp_path / "0.tar", [("1.png", PNG), ("1.jpg", JPEG), ("2.jpg", JPEG)]))
    assert table.column("image").to_pylist() == [JPEG, JPEG]
    assert table.column("png").to_pylist() == [PNG, None]


def test_an_extension_that_only_a_later_tar_has_fails_its_row_and_names_the_parameter(tmp_path):
    make_tar(tmp_path / "0.tar", [("a.jpg", JPEG), ("a.txt", b"x")])
    make_tar(tmp_path / "1.tar", [("b.jpg", JPEG), ("b.seg", b"mask"), ("c.jpg", JPEG)])
    table = read(tmp_path)
    assert table.column("key").to_pylist() == ["a", "b", "c"]
    errors = table.column("_error").to_pylist()
    assert (errors[0], errors[2]) == (None, None)
    assert "'seg'" in errors[1]
    assert "parameter extensions, such as [seg, txt]" in errors[1]
    named = read(tmp_path, extensions=["seg", "txt"])
    assert named.column("seg").to_pylist() == [None, b"mask", None]
    assert named.column("_error").null_count == 3


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_cut_tar_costs_only_the_rows_after_the_cut(tmp_path, mode):
    noise = [os.urandom(3000) for _ in range(10)]
    path = make_tar(tmp_path / "whole.tar", [(f"{i}.jpg", data) for i, data in enumerate(noise)], mode)
    whole = path.read_bytes()
    for cut in range(4096, len(whole) - 10240, 777):
        path.write_bytes(whole[:cut])
        rows = read(path, extensions=[]).to_pylist()
        good = [row["image"] for row in rows if row["_error"] is None]
        assert good == noise[: len(good)]
        assert len(good) >= cut // 3584 - 1
        assert [row["_error"] is None for row in rows] == [True] * len(good) + [False]
        assert "whole.tar is cut off or damaged" in rows[-1]["_error"]


def test_a_tar_cut_between_two_members_is_noticed(tmp_path):
    path = make_tar(tmp_path / "0.tar", [("a.jpg", bytes(512)), ("b.jpg", bytes(512))])
    path.write_bytes(path.read_bytes()[:1024])
    rows = read(path).to_pylist()
    assert [(row["key"], row["_error"] is None) for row in rows] == [("a", True), ("0.tar", False)]


def test_a_damaged_header_does_not_pass_for_the_end_of_the_tar(tmp_path):
    path = make_tar(tmp_path / "0.tar", [("a.jpg", bytes(512)), ("b.jpg", bytes(512)), ("c.jpg", bytes(512))])
    data = bytearray(path.read_bytes())
    data[1024 + 150] ^= 0xFF
    path.write_bytes(data)
    assert [(row["key"], row["_error"] is None) for row in read(path).to_pylist()] == [("a", True), ("0.tar", False)]


def test_of_two_samples_with_one_key_the_second_fails(tmp_path):
    path = make_tar(
        tmp_path / "0.tar", [("a.jpg", b"1"), ("b.jpg", b"2"), ("a.jpg", b"3"), ("c.jpg", b"4"), ("c.jpg", b"5")]
    )
    rows = read(path).to_pylist()
    assert [(row["key"], row["image"]) for row in rows] == [
        ("a", b"1"),
        ("b", b"2"),
        ("a", None),
        ("c", b"4"),
        ("c", None),
    ]
    assert [row["_error"] for row in rows if row["image"] is None] == [
        "key 'a' is in 0.tar more than once",
        "key 'c' is in 0.tar more than once",
    ]


def test_links_and_members_without_extension_fail_and_cost_no_other_row(tmp_path):
    path = make_tar(
        tmp_path / "0.tar", [("./a.jpg", JPEG), ("./._a.jpg", b"Finder"), ("README", b"hello"), ("c.jpg", JPEG)]
    )
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("c.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        folder = tarfile.TarInfo("folder.d")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        archive.addfile(tarfile.TarInfo("d\udcff.jpg"))
    rows = {row["key"]: row["_error"] for row in read(path).to_pylist()}
    assert rows == {
        "a": None,
        "README": "member 'README' has no extension, which would say what it is",
        "c": "member 'c.txt' is a link or a device, not a file",
        "d\\xff": "the name of member 'd\\xff.jpg' is not UTF-8",
    }


def test_extensions_called_like_our_columns_do_not_overwrite_them(tmp_path):
    row = read(
        make_tar(tmp_path / "0.tar", [("a.jpg", JPEG), ("a.label", b"x"), ("a.key", b"y"), ("a.cls", b"3")])
    ).to_pylist()[0]
    assert (row["key"], row["label"], row[".label"], row[".key"]) == ("a", 3, b"x", b"y")


def test_braces_patterns_and_compressed_tars_are_found_in_order(tmp_path):
    for i in (8, 9, 10, 11):
        make_tar(tmp_path / f"{i:02d}.tar", [(f"{i}.jpg", JPEG)])
    make_tar(tmp_path / "99.tgz", [("99.jpg", JPEG)], "w:gz")

    def keys(path: str) -> list[str]:
        return read(f"{tmp_path}/{path}").column("key").to_pylist()

    assert keys("{08..10}.tar") == ["8", "9", "10"]
    assert keys("{11,08}.tar") == ["8", "11"]
    assert keys("1*.tar") == ["10", "11"]
    assert keys("") == ["8", "9", "10", "11", "99"]
    assert keys("11.tar") == ["11"]


def test_a_changed_tar_changes_its_spec(tmp_path):
    path = make_tar(tmp_path / "0.tar", [("a.jpg", JPEG)])
    before = list(ReadWebDataset(path=str(path)).shards())
    os.utime(path, (1, 1))
    assert list(ReadWebDataset(path=str(path)).shards()) != before


def test_paths_that_cannot_be_read_say_what_to_do(tmp_path):
    make_tar(tmp_path / "secret.tar", [("a.jpg", JPEG)])
    folder = tmp_path / "tars"
    folder.mkdir()
    cases = [
        ("no.tar", "does not exist; give a file"),
        ("tars", "no file .tar"),
        ("{0..1}.tar", "0.tar' does not exist"),
    ]
    for path, words in cases:
        with pytest.raises(RequestError, match=words):
            list(ReadWebDataset(path=str(tmp_path / path)).shards())
    (folder / "0.tar").symlink_to("../secret.tar")
    with pytest.raises(RequestError, match="is a link that leaves the folder; give the path of that file"):
        list(ReadWebDataset(path=str(folder)).shards())
    (tmp_path / "text.tar").write_text("this is no tar")
    with pytest.raises(RequestError, match=r"has no sample: text.tar is cut off or damaged"):
        ReadWebDataset(path=str(tmp_path / "text.tar")).columns()
