"""`write.webdataset`: what goes in comes back, byte for byte, and no name leads out of the tar's folder."""

from __future__ import annotations

import io
import json
import string
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from broken_images import encode, photo
from hypothesis import example, given, settings
from hypothesis import strategies as st
from webdataset.tariterators import group_by_keys, tar_file_expander

from reinforced.operators.read.webdataset import ReadWebDataset
from reinforced.operators.write._names import decode_key, encode_key, split_member
from reinforced.operators.write.webdataset import WriteWebDataset

IMAGES = {suffix: encode(photo(9, 7), name) for suffix, name in {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}.items()}
IMAGES |= {suffix: encode(photo(9, 7), name) for suffix, name in {"gif": "GIF", "bmp": "BMP", "tiff": "TIFF"}.items()}
ODD = "ab./ %éÅ猫\\\n\0:2EF05"
keys = st.text(alphabet=ODD, min_size=1, max_size=12) | st.text(min_size=1, max_size=12).filter(
    lambda text: not any(0xD800 <= ord(c) < 0xE000 for c in text)
)


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        found = [(member.name, archive.extractfile(member).read()) for member in archive]
    assert len(dict(found)) == len(found)
    return dict(found)


def read(path: Path, **parameters: object) -> pa.Table:
    (spec,) = ReadWebDataset(path=str(path), **parameters).shards()
    return ReadWebDataset(path=str(path), **parameters).read(spec)


@settings(deadline=None)  # the first call imports
@given(keys)
@example("../../etc/passwd")
@example("/etc/passwd")
@example("a/../b")
@example("a//b/")
@example(".")
@example("..")
@example("a%2Eb.c%252E")
def test_every_key_comes_back_from_a_name_that_stays_in_the_folder(key):
    name = encode_key(key)
    assert decode_key(name) == key
    assert split_member(f"{name}.jpg") == (name, "jpg")
    assert "\0" not in name
    assert not {"", ".", ".."} & set(name.split("/"))


samples = st.lists(
    st.fixed_dictionaries(
        {
            "key": keys,
            "image": st.sampled_from([None, *sorted(IMAGES)]),
            "txt": st.none() | st.binary(max_size=9),
            "seg.png": st.none() | st.binary(max_size=600),
            "label": st.none() | st.integers(-5, 5),
        }
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda row: row["key"],
)


@settings(deadline=None)  # the first call imports
@given(samples)
def test_a_round_trip_changes_neither_bytes_nor_columns(rows):
    rows = [row for row in rows if row["image"] or row["txt"] is not None] or [rows[0] | {"txt": b"x"}]
    table = pa.table(
        {
            "key": [row["key"] for row in rows],
            "image": pa.array([row["image"] and IMAGES[row["image"]] for row in rows], pa.binary()),
            "path": pa.array(
                [row["image"] and f"{encode_key(row['key'])}.{row['image']}" for row in rows], pa.string()
            ),
            "label": pa.array([row["label"] for row in rows], pa.int32()),
            "cls": pa.array([None if row["label"] is None else b"%d" % row["label"] for row in rows], pa.binary()),
            "seg.png": pa.array([row["seg.png"] for row in rows], pa.binary()),
            "txt": pa.array([row["txt"] for row in rows], pa.binary()),
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        WriteWebDataset(path=folder).write("0", table)
        again = read(Path(folder) / "0.tar", extensions=["cls", "seg.png", "txt"])
        assert again.column("_error").null_count == len(rows)
        assert again.drop_columns(["_error"]).to_pylist() == table.to_pylist()
        WriteWebDataset(path=folder).write("1", again.drop_columns(["_error"]))
        assert (Path(folder) / "0.tar").read_bytes() == (Path(folder) / "1.tar").read_bytes()


def test_a_foreign_tar_goes_through_a_dataset_with_the_same_members(tmp_path):
    foreign = {
        "./v1.0/a%2Fb.JPG": IMAGES["jpg"],
        "./v1.0/a%2Fb.json": b'{"a":  1}',
        "./v1.0/a%2Fb.cls": b" 3\n",
        "c.jpeg": b"a broken image",
        "c.depth.png": IMAGES["png"],
        "c.key": b"taken",
        "d.jpg": IMAGES["jpg"],
        "d.png": IMAGES["png"],
    }
    with tarfile.open(tmp_path / "foreign.tar", "w") as archive:
        for name, data in foreign.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1234567
            archive.addfile(info, io.BytesIO(data))
    table = read(tmp_path / "foreign.tar").drop_columns(["_error"])
    for name in ("width", "height", "sha256"):  # as the engine adds them
        table = table.append_column(name, pa.array([1, 2, 3]))
    WriteWebDataset(path=str(tmp_path)).write("00000", table)
    assert members(tmp_path / "00000.tar") == foreign


def test_other_columns_go_into_json_and_leave_a_json_member_of_the_source_alone(tmp_path):
    row: dict[str, Any] = {
        "key": "a.b",
        "image": IMAGES["png"],
        "path": "orig.png",
        "label": 3,
        "caption": "eine Katze, 猫",
        "score": float("nan"),
        "embedding": pa.scalar([0.5, 1.5], pa.list_(pa.float16())),
        "when": pa.scalar(0, pa.timestamp("s")),
    }
    table = pa.table({name: pa.array([value], getattr(value, "type", None)) for name, value in row.items()})
    WriteWebDataset(path=str(tmp_path)).write("0", table)
    described = {
        "path": "orig.png",
        "label": 3,
        "caption": "eine Katze, 猫",
        "score": None,
        "embedding": [0.5, 1.5],
        "when": "1970-01-01 00:00:00",
    }
    found = members(tmp_path / "0.tar")
    assert sorted(found) == ["a%2Eb.json", "a%2Eb.png"]
    assert json.loads(found["a%2Eb.json"]) == described
    WriteWebDataset(path=str(tmp_path)).write("1", table.append_column("json", pa.array([b"{ }"])))
    found = members(tmp_path / "1.tar")
    assert found["a%2Eb.json"] == b"{ }"
    assert json.loads(found["a%2Eb.columns.json"]) == described


@pytest.mark.parametrize(
    ("image", "path", "extension"),
    [
        ("jpg", "x/a.JPEG", "JPEG"),
        ("jpg", "x/a.png", "jpg"),
        ("jpg", None, "jpg"),
        ("webp", "no suffix", "webp"),
        ("tiff", "a.tif", "tif"),
        ("png", "../../x.sh", "png"),
    ],
)
def test_the_image_is_named_by_its_path_if_that_fits_the_bytes(tmp_path, image, path, extension):
    table = pa.table({"key": ["k"], "image": [IMAGES[image]], "path": pa.array([path], pa.string())})
    WriteWebDataset(path=str(tmp_path)).write("0", table)
    assert members(tmp_path / "0.tar") == {f"k.{extension}": IMAGES[image]}


def test_equal_rows_give_equal_bytes_with_no_time_or_owner_in_them(tmp_path):
    table = pa.table({"key": ["a", "é" * 120], "image": [IMAGES["png"], IMAGES["jpg"]]})
    halves = pa.concat_tables([table.slice(0, 1), table.slice(1, 1)])
    assert WriteWebDataset(path=str(tmp_path)).write("0", table) == [str(tmp_path / "0.tar")]
    WriteWebDataset(path=str(tmp_path)).write("1", halves)
    assert (tmp_path / "0.tar").read_bytes() == (tmp_path / "1.tar").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.tar", "1.tar"]
    with tarfile.open(tmp_path / "0.tar") as archive:
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in archive} == {(0, 0, 0, "", "")}


def test_the_webdataset_package_reads_the_same_samples(tmp_path):
    names = ["plain", "with.dots.in", "folder/é 猫", string.ascii_letters * 4]
    table = pa.table({"key": names, "image": [IMAGES["png"]] * 4, "txt": [name.encode() for name in names]})
    (path,) = WriteWebDataset(path=str(tmp_path)).write("0", table)
    with Path(path).open("rb") as stream:
        found = list(group_by_keys(tar_file_expander([{"url": path, "stream": stream}])))
    assert [decode_key(sample["__key__"]) for sample in found] == names
    assert [sample["png"] for sample in found] == [IMAGES["png"]] * 4
    assert [sample["txt"].decode() for sample in found] == names


def test_a_row_with_nothing_but_a_key_is_still_there(tmp_path):
    table = pa.table({"key": ["a"], "image": pa.array([None], pa.binary())})
    WriteWebDataset(path=str(tmp_path)).write("0", table)
    assert read(tmp_path / "0.tar").column("key").to_pylist() == ["a"]


def test_columns_that_no_member_can_be_called_are_refused_before_the_run(tmp_path):
    sink = WriteWebDataset(path=str(tmp_path))
    with pytest.raises(ValueError, match="binary column 'a/b' cannot be the extension"):
        sink.check(pa.schema([("key", pa.string()), ("a/b", pa.binary())]))
    taken = pa.schema([("json", pa.binary()), ("columns.json", pa.binary()), ("caption", pa.string())])
    with pytest.raises(ValueError, match=r"json and columns.json are both taken"):
        sink.check(taken)
    with pytest.raises(ValueError, match=r"image and column would both be 'k.png'"):
        sink.write("0", pa.table({"key": ["k"], "image": [IMAGES["png"]], "png": [b"x"]}))
    assert list(tmp_path.iterdir()) == []


def test_columns_that_are_left_out_are_in_no_member_and_an_unknown_one_is_refused(tmp_path):
    table = pa.table({"key": ["a"], "image": [IMAGES["png"]], "caption": ["x"], "embedding": [[0.5]], "raw": [b"y"]})
    sink = WriteWebDataset(path=str(tmp_path), leave_out=["embedding", "raw"])
    sink.check(table.schema)
    sink.write("00000", table)
    assert members(tmp_path / "00000.tar") == {"a.png": IMAGES["png"], "a.json": b'{"caption": "x"}'}
    with pytest.raises(ValueError, match=r"leave_out names \['image', 'other'\]"):
        WriteWebDataset(path=str(tmp_path), leave_out=["image", "other"]).check(table.schema)
