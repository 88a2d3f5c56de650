from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reinforced_dataset import png, write_dataset

from reinforced.epoch import EpochReader
from reinforced.errors import RequestError


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset whose samples know path and hash of their images but do not hold them; the images lie in `files`."""
    path = write_dataset(tmp_path / "data", rows=[5, 3], dropped=[(0, 2)])
    for shard in range(2):
        file = path / f"samples/{shard:05d}.parquet"
        table = pq.read_table(file)
        images = table.column("image").to_pylist()
        names = [f"class {i % 2}/{key.replace('/', '-')}.png" for i, key in enumerate(table.column("key").to_pylist())]
        for name, image in zip(names, images, strict=True):
            (tmp_path / "files" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "files" / name).write_bytes(image)
        added = {"path": names, "sha256": [hashlib.sha256(image).hexdigest() for image in images]}
        for name, values in added.items():
            table = table.append_column(name, pa.array(values))
        (tmp_path / "whole/samples").mkdir(parents=True, exist_ok=True)
        pq.write_table(table, tmp_path / "whole/samples" / file.name)
        pq.write_table(table.drop_columns(["image"]), file)
    for name in ("dataset.json", "verdicts", "reinforced"):
        (tmp_path / "whole" / name).symlink_to(path / name)
    return path


def pixels(path: Path, **images: Any) -> list[Any]:
    return [sample.pixels for sample in EpochReader(str(path), shuffle=False, **images).samples(1)]


def tars(folder: Path, target: Path) -> Path:
    target.mkdir()
    for number, part in enumerate(sorted(folder.iterdir())):
        with tarfile.open(target / f"{number}.tar", "w") as archive:
            for file in sorted(part.iterdir()):
                archive.add(file, file.relative_to(folder).as_posix())
    return target


@pytest.mark.parametrize("by", ["name", "sha256"])
@pytest.mark.parametrize("kind", ["folder", "tars", "dataset"])
def test_images_are_read_from_where_the_user_has_them(dataset: Path, tmp_path: Path, kind: str, by: Any) -> None:
    whole, files = tmp_path / "whole", tmp_path / "files"
    own = {"folder": files, "dataset": whole}.get(kind) or tars(files, tmp_path / "tars")
    found = pixels(dataset, images=str(own), images_by=by)
    assert len(found) == 7
    np.testing.assert_array_equal(found, pixels(whole))


def test_images_are_found_by_content_whatever_they_are_called(dataset: Path, tmp_path: Path) -> None:
    for number, file in enumerate(sorted((tmp_path / "files").rglob("*.png"), reverse=True)):
        file.rename(tmp_path / "files" / f"{number}.png")
    np.testing.assert_array_equal(
        pixels(dataset, images=str(tmp_path / "files"), images_by="sha256"), pixels(tmp_path / "whole")
    )


def test_a_dataset_without_paths_finds_its_images_by_key(dataset: Path, tmp_path: Path) -> None:
    for file in sorted((dataset / "samples").iterdir()):
        pq.write_table(pq.read_table(file).drop_columns(["path"]), file)
    for file in sorted((tmp_path / "files").rglob("*.png")):
        shard, row = file.stem.split("-")
        (tmp_path / "keys" / shard).mkdir(parents=True, exist_ok=True)
        file.rename(tmp_path / "keys" / shard / f"{row}.png")
    np.testing.assert_array_equal(pixels(dataset, images=str(tmp_path / "keys")), pixels(tmp_path / "whole"))


def test_an_image_that_is_missing_is_named_before_training(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "files/class 1/1-1.png").unlink()
    with pytest.raises(RequestError, match=r"shard 00001, sample 1/1: its image 'class 1/1-1.png' is not in"):
        EpochReader(str(dataset), images=str(tmp_path / "files"))
    with pytest.raises(RequestError, match="holds no file"):
        EpochReader(str(dataset), images=str(tmp_path / "nowhere"))
    with pytest.raises(RequestError, match=r"has no column 'image': say where the images are with images="):
        EpochReader(str(dataset))


def test_an_image_that_changed_or_went_is_named_when_it_is_read(dataset: Path, tmp_path: Path) -> None:
    file = tmp_path / "files/class 1/1-1.png"
    file.write_bytes(png(7, 21, 30))
    reader = EpochReader(str(dataset), images=str(tmp_path / "files"))
    with pytest.raises(RequestError, match=r"shard 00001, sample 1/1: its image has SHA-256 .* the file has changed"):
        reader.load(1, 0)
    file.unlink()
    with pytest.raises(RequestError, match=r"shard 00001, sample 1/1: its image cannot be read; was the file moved"):
        reader.load(1, 0)
    assert len(reader.load(0, 0).images) == 4


def test_images_lie_on_any_storage(dataset: Path, tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for file in (tmp_path / "files").rglob("*.png"):
        memory.pipe_file(f"/own-images/{file.relative_to(tmp_path / 'files').as_posix()}", file.read_bytes())
    np.testing.assert_array_equal(pixels(dataset, images="memory://own-images"), pixels(tmp_path / "whole"))


def test_a_compressed_tar_is_refused(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(tmp_path / "files", "files")
    (tmp_path / "own/0.tar").write_bytes(buffer.getvalue())
    with pytest.raises(RequestError, match=r"0\.tar is no tar that can be read from its middle"):
        EpochReader(str(dataset), images=str(tmp_path / "own"))
