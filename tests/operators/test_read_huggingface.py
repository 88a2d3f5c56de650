"""`read.huggingface`: what `datasets` wrote arrives whole, without `datasets`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from broken_images import encode, photo

from reinforced.errors import RequestError
from reinforced.operators.read.huggingface import ReadHuggingFace

PNG = encode(photo(8, 6), "PNG")
JPEG = encode(photo(8, 6), "JPEG")


@pytest.fixture(scope="module")
def datasets(tmp_path_factory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("cache")))
        datasets = pytest.importorskip("datasets")
        datasets.disable_progress_bars()
        yield datasets


@pytest.fixture(scope="module")
def pets(datasets) -> Any:
    features = datasets.Features(
        image=datasets.Image(),
        label=datasets.ClassLabel(names=["cat", "dog"]),
        caption=datasets.Value("string"),
        box=datasets.List(datasets.Value("float32"), length=4),
    )
    rows = {
        "image": [{"bytes": PNG if i % 2 else JPEG, "path": f"{i}.img"} for i in range(25)],
        "label": [-1 if i == 3 else i % 2 for i in range(25)],
        "caption": [f"pet {i}" for i in range(25)],
        "box": [[i, 0, 1, 1] for i in range(25)],
    }
    return datasets.Dataset.from_dict(rows, features=features)


def read(path: Path, **parameters: object) -> pa.Table:
    source = ReadHuggingFace(path=str(path), **parameters)
    table = pa.concat_tables([source.read(spec) for spec in source.shards()])
    assert source.columns() == table.drop_columns(["_error"]).schema
    return table


def check_pets(table: pa.Table, split: str = "train") -> None:
    assert table.column("key").to_pylist() == [f"{split}/{i:08d}" for i in range(25)]
    assert table.column("image").to_pylist() == [PNG if i % 2 else JPEG for i in range(25)]
    assert table.column("path").to_pylist() == [f"{i}.img" for i in range(25)]
    assert table.column("label").to_pylist() == [None if i == 3 else i % 2 for i in range(25)]
    assert table.column("label_name").to_pylist() == [None if i == 3 else ["cat", "dog"][i % 2] for i in range(25)]
    assert table.schema.field("label").type == pa.int32()
    assert table.column("caption").to_pylist() == [f"pet {i}" for i in range(25)]
    assert table.column("box").to_pylist() == [[i, 0, 1, 1] for i in range(25)]
    assert set(table.column("split").to_pylist()) == {split}
    assert table.column("_error").null_count == 25


@pytest.mark.parametrize("shard_rows", [4, 1000])
def test_a_saved_dataset_arrives_whole(pets, tmp_path, shard_rows):
    pets.save_to_disk(tmp_path / "pets", num_shards=3)
    check_pets(read(tmp_path / "pets", shard_rows=shard_rows))


def test_parquet_files_as_on_the_hub_arrive_whole(pets, tmp_path):
    (tmp_path / "data").mkdir()
    for i in range(3):
        pets.shard(3, i, contiguous=True).to_parquet(tmp_path / f"data/train-{i:05d}-of-00003.parquet")
    check_pets(read(tmp_path, shard_rows=4))
    (tmp_path / "data/train-00001-of-00003.parquet").unlink()
    with pytest.raises(RequestError, match=r"split 'train' in .* has 2 of 3 files; copy the whole dataset"):
        read(tmp_path)


def test_splits_are_read_together_or_one_by_one(datasets, pets, tmp_path):
    datasets.DatasetDict(train=pets, test=pets.select(range(2))).save_to_disk(tmp_path / "pets")
    check_pets(read(tmp_path / "pets", split="train"))
    both = read(tmp_path / "pets")
    assert both.column("split").to_pylist() == ["train"] * 25 + ["test"] * 2
    assert both.column("key").to_pylist()[-2:] == ["test/00000000", "test/00000001"]
    with pytest.raises(RequestError, match="has no split 'tests'; did you mean 'test'"):
        read(tmp_path / "pets", split="tests")


def test_other_column_names_are_found_by_their_features(datasets, tmp_path):
    features = datasets.Features(
        img=datasets.Image(), fine=datasets.ClassLabel(names=["a", "b"]), coarse=datasets.ClassLabel(names=["x"])
    )
    rows = {"img": [{"bytes": PNG, "path": None}], "fine": [1], "coarse": [0]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "pets")
    assert read(tmp_path / "pets").column_names == ["key", "image", "path", "fine", "coarse", "split", "_error"]
    table = read(tmp_path / "pets", label_column="fine")
    assert table.column_names == ["key", "image", "path", "label", "label_name", "coarse", "split", "_error"]
    assert table.column("label_name").to_pylist() == ["b"]
    with pytest.raises(RequestError, match="label_column 'img' is no ClassLabel"):
        read(tmp_path / "pets", label_column="img")


def test_a_changed_file_changes_its_shards(pets, tmp_path):
    pets.save_to_disk(tmp_path / "pets", num_shards=2)
    before = list(ReadHuggingFace(path=str(tmp_path / "pets")).shards())
    os.utime(tmp_path / "pets/data-00001-of-00002.arrow", (1, 1))
    after = list(ReadHuggingFace(path=str(tmp_path / "pets")).shards())
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False]


def test_a_dataset_cannot_name_a_file_outside_its_folder(pets, tmp_path):
    pets.save_to_disk(tmp_path / "pets")
    shutil.move(tmp_path / "pets/data-00000-of-00001.arrow", tmp_path / "secret.arrow")
    state = tmp_path / "pets/state.json"
    state.write_text(state.read_text().replace("data-00000-of-00001.arrow", "../secret.arrow"))
    with pytest.raises(RequestError, match=r"'../secret.arrow' is missing"):
        read(tmp_path / "pets")
    (tmp_path / "pets/data-00000-of-00001.arrow").symlink_to("../secret.arrow")
    state.write_text(state.read_text().replace("../secret.arrow", "data-00000-of-00001.arrow"))
    with pytest.raises(RequestError, match="is a link that leaves the folder"):
        read(tmp_path / "pets")


def test_folders_that_are_no_dataset_or_several_say_what_to_do(pets, tmp_path):
    with pytest.raises(RequestError, match="holds no dataset; give the folder that save_to_disk wrote"):
        read(tmp_path)
    for configuration in ("large", "small"):
        (tmp_path / configuration).mkdir()
        pets.to_parquet(tmp_path / configuration / "train-00000-of-00001.parquet")
    with pytest.raises(RequestError, match=r"several configurations \(large/, small/\); give one of them"):
        read(tmp_path)
    check_pets(read(tmp_path / "large"))


def test_the_datasets_package_is_not_needed(pets, tmp_path):
    pets.save_to_disk(tmp_path / "pets")
    code = (
        "import sys; sys.modules['datasets'] = None\n"
        "from reinforced.operators.read.huggingface import ReadHuggingFace\n"
        f"source = ReadHuggingFace(path={str(tmp_path / 'pets')!r})\n"
        "print(sum(source.read(spec).num_rows for spec in source.shards()))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ), timeout=60)
    assert run.stdout.strip() == "25", run.stderr
