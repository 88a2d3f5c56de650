from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from published import SIDE, make_dataset, paths, write_fkd
from torchvision.transforms import functional

import reinforced
from reinforced.cli import main
from reinforced.epoch import EpochReader


def run(*arguments: object) -> int:
    return main(["import", "fkd", *map(str, arguments), "--classes", "12", "--size-px", "32"])


def reasons(dataset: str) -> dict[str, str]:
    pieces = Path(dataset).glob("_runs/ledger/import-fkd/**/*.parquet")
    rows = [row for piece in pieces for row in pq.read_table(piece).to_pylist() if row["reason"]]
    return {row["key"]: row["reason"] for row in rows}


@pytest.mark.parametrize(("kind", "top_k"), [("k5", 5), ("smoothing", 1), ("hard", 1)])
def test_every_soft_label_is_read_with_the_view_it_belongs_to(tmp_path: Path, kind: str, top_k: int) -> None:
    dataset = make_dataset(tmp_path)
    names = [path.removesuffix(".jpg") for path in paths(tmp_path)]
    made = write_fkd(tmp_path / "labels/imagenet/train", names, kind=kind)
    assert run(tmp_path / "labels", dataset) == 0
    reader = EpochReader(dataset, shuffle=False)
    keys = reinforced.open(dataset).to_arrow(columns=["key"]).column("key").to_pylist()
    for epoch in range(3):
        for key, shard, sample in zip(keys, np.repeat(range(3), [5, 5, 2]), reader.samples(epoch), strict=True):
            crops, flips, labels = (part[reader.draw(int(shard), epoch)] for part in made[key])
            with Image.open(tmp_path / f"photos/{key}.jpg") as image:
                view = functional.resized_crop(image.convert("RGB"), *np.rint(crops * SIDE).astype(int), [32, 32])
            view = functional.hflip(view) if flips else view
            np.testing.assert_array_equal(sample.pixels, np.asarray(view))
            classes, values = labels if kind != "hard" else (labels, np.ones(1))
            assert sample.classes.tolist() == np.atleast_1d(classes).astype(int).tolist()
            assert len(sample.classes) == top_k
            assert np.abs(sample.probabilities - values).sum() / 2 <= 1e-3
            assert sample.probabilities.sum() + sample.tail == pytest.approx(1, abs=1e-6)
    assert main(["verify", dataset]) == 0


def test_each_bad_file_costs_only_its_own_sample_and_says_why(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path)
    names = [path.removesuffix(".jpg") for path in paths(tmp_path)]
    folder = tmp_path / "labels"
    made = write_fkd(folder, names)
    crops, flips, labels = made[names[1]]

    def write(number: int, *state: Any) -> None:
        torch.save(list(state), folder / f"{names[number]}.tar")

    (folder / f"{names[1]}.tar").unlink()
    write(2, crops * 1.01, flips, labels)
    write(3, crops, flips, labels[:, :, :3])
    write(4, crops[:2], flips[:2], labels[:2])
    write(5, crops, flips)
    write(6, crops, flips, np.array([None, 1, 2]))
    write(7, crops, flips, torch.tensor(labels))
    write(8, crops, flips, labels + 100)
    assert run(folder, dataset, "--max-failure-rate", "0.9") == 0
    found = reasons(dataset)
    wanted = {
        1: f"has no file {names[1]}.tar for this sample",
        2: "has crops that no 48x48 px image can have had",
        3: "has 3 classes of 3 crops, the first file 5 of 3",
        4: "has 5 classes of 2 crops, the first file 5 of 3",
        5: "not enough values to unpack",
        6: "an array of O8",
        7: "refused: the pickle asks for",
        8: "they must be from 0 to 11",
    }
    assert found.keys() == {names[number] for number in wanted}
    for number, said in wanted.items():
        assert said in found[names[number]]


def test_a_folder_with_two_splits_is_refused_where_names_are_double(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = make_dataset(tmp_path, 2)
    for split in ("train", "val"):
        write_fkd(tmp_path / "labels" / split, ["temple/00000"])
    assert run(tmp_path / "labels", dataset) == 2
    assert "give the folder of one split" in capsys.readouterr().err


def test_an_unknown_form_names_the_known_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "relabel", "somewhere", str(tmp_path)]) == 2
    assert "allowed: fkd, ml-dr, tinyvit" in capsys.readouterr().err
