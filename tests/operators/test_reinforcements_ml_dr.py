from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from photos import make_photos
from PIL import Image
from published import CLASSES, PLAIN, RECIPE, make_dataset, paths, write_ml_dr
from torchvision.transforms import functional
from torchvision.transforms.autoaugment import _apply_op

import reinforced
import reinforced.reinforcement
from reinforced.cli import main
from reinforced.epoch import EpochReader
from reinforced.ledger import FAILED
from reinforced.operators.reinforcements._pickles import load
from reinforced.operators.reinforcements._torchvision import NAMES, stored_operations
from reinforced.rand_augment import RandAugment

pytestmark = pytest.mark.filterwarnings("ignore:.*was imported from ml-dr")


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_dataset(folder)
    return folder


@pytest.fixture
def photos(made_once: Path, tmp_path: Path) -> str:
    shutil.copytree(made_once, tmp_path, dirs_exist_ok=True)
    return str(tmp_path / "data")


def run(*arguments: object) -> int:
    return main(["import", *map(str, arguments)])


def stored(dataset: str, layer: str = "reinforced") -> dict[tuple[str, int], dict[str, Any]]:
    """Return the layer's rows by path of the image and draw."""
    opened = reinforced.open(dataset)
    found = {}
    for shard in opened.shards:
        where = opened.read("samples", shard.name, ["path"]).column("path").to_pylist()
        tables: dict[int, list[int]] = {}
        for row in opened.read(layer, shard.name).to_pylist():
            listed = row.pop("class_table")
            if row["pixel_crc"] is None and row["shares"] is not None:
                table = tables.setdefault(row["row"], listed)
                row["classes"] = [table[place] for place in row.pop("class_places")]
                found[where[row["row"]], row["draw"]] = row
    return found


def probabilities(row: dict[str, Any], steps: int) -> dict[int, float]:
    rest = steps - sum(row["shares"])
    return dict(zip(row["classes"], [share / steps for share in [rest, *row["shares"][:-1]]], strict=True))


def failures(dataset: str) -> dict[str, str]:
    pieces = sorted(Path(dataset).glob("_runs/ledger/import-*/**/*.parquet"))
    rows = [row for piece in pieces for row in pa.parquet.read_table(piece).to_pylist()]
    return {row["key"]: row["reason"] for row in rows if row["outcome"] == FAILED}


def test_every_published_crop_flip_box_and_probability_is_in_the_layer(photos: str, tmp_path: Path) -> None:
    made = write_ml_dr(tmp_path / "published", 12)
    assert run("ml-dr", tmp_path / "published", photos) == 0
    rows = stored(photos)
    document = reinforced.reinforcement.Reinforcement.parse(reinforced.open(photos).metadata("reinforced"), photos)
    assert (document.draws, document.classes, document.top_k) == (3, CLASSES, 4)
    assert document.origin is not None and document.origin.teachers == "a,b"
    assert len(rows) == 12 * 3
    for index, path in enumerate(paths(tmp_path)):
        for draw, entry in enumerate(made[index]):
            row = rows[path, draw]
            crop, flip, operations, box = entry["params"]
            assert (row["crop_y"], row["crop_x"], row["crop_height"], row["crop_width"]) == crop
            assert row["flip"] == flip
            assert [code >> 1 for code in row["rand_augment"]] == [number for number, _ in operations]
            erased = (row["erase_y"], row["erase_x"], row["erase_height"], row["erase_width"])
            assert erased == (box or (0, 0, 0, 0))
            assert row["pixel_crc"] is None
            found = probabilities(row, document.steps)
            wanted = dict(zip(entry["prob"][1], entry["prob"][0], strict=True))
            assert found.keys() == wanted.keys()
            tail = abs(row["shares"][-1] / document.steps - (1 - sum(wanted.values())))
            assert (sum(abs(found[c] - wanted[c]) for c in wanted) + tail) / 2 <= 1e-3
    assert main(["verify", photos]) == 0


def test_a_loader_replays_published_crops_and_flips_as_torchvision_makes_them(photos: str, tmp_path: Path) -> None:
    made = write_ml_dr(tmp_path / "published", 12, recipe=PLAIN)
    assert run("ml-dr", tmp_path / "published", photos) == 0
    reader = EpochReader(photos, shuffle=False)
    for epoch in range(3):
        samples = list(reader.samples(epoch))
        assert len(samples) == 12
        order = reinforced.open(photos).to_arrow(columns=["path"]).column("path").to_pylist()
        for path, sample, shard in zip(order, samples, np.repeat(range(3), [5, 5, 2]), strict=True):
            top, left, high, wide = made[paths(tmp_path).index(path)][reader.draw(int(shard), epoch)]["params"][0]
            flip = made[paths(tmp_path).index(path)][reader.draw(int(shard), epoch)]["params"][1]
            with Image.open(tmp_path / "photos" / path) as image:
                view = functional.resized_crop(image.convert("RGB"), top, left, high, wide, [32, 32])
            view = functional.hflip(view) if flip else view
            np.testing.assert_array_equal(sample.pixels, np.asarray(view))


def test_what_is_replayed_only_nearly_is_said_by_name(photos: str, tmp_path: Path) -> None:
    write_ml_dr(tmp_path / "published", 12)
    assert run("ml-dr", tmp_path / "published", photos) == 0
    with pytest.warns(UserWarning, match="imported from ml-dr: RandAugment is replayed by this package's"):
        reader = EpochReader(photos)
    assert len(list(reader.samples(0))) == 12


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sign", [1, -1])
def test_an_operation_of_torchvision_becomes_the_one_with_the_same_effect(name: str, sign: int, tmp_path: Path) -> None:
    make_photos(tmp_path, 1)
    with Image.open(next(tmp_path.rglob("*.jpg"))) as opened:
        image = opened.convert("RGB").resize((200, 200))
    number = NAMES.index(name)
    at_9 = [0, 0.09, 0.09, *[150 / 331 * 60] * 2, 9, 0.27, 0.27, 0.27, 0.27, 7, 178.5, 0, 0][number]
    strength = at_9 * (sign if number <= 9 else 1)
    row = stored_operations(np.array([[number]]), np.array([[strength]]), image.size)
    ours = RandAugment(operations=1).apply(image, {key: values[0] for key, values in row.items()})
    theirs = _apply_op(image, name, strength, functional.InterpolationMode.BILINEAR, None)
    if name.startswith("Shear"):  # about another point: the same up to a shift
        shift = 0.045 * 200 * sign
        moved = (0, round(shift)) if name == "ShearX" else (round(shift), 0)
        theirs = Image.fromarray(np.roll(np.asarray(theirs), moved, (0, 1)) if name == "ShearY" else np.asarray(theirs))
        theirs = theirs.transform(theirs.size, Image.Transform.AFFINE, (1, 0, -moved[1], 0, 1, 0))
    difference = np.abs(np.asarray(ours, int) - np.asarray(theirs, int))[20:-20, 20:-20]
    assert difference.mean() < 1.5, "another operation, or the other way round"
    assert difference.max() == 0 or number in (1, 2)


def test_a_tar_is_read_as_it_is_and_a_compressed_one_says_what_to_do(
    photos: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ml_dr(tmp_path / "reinforced_data", 12)
    for name, mode in (("r.tar", "w"), ("r.tar.gz", "w:gz")):
        with tarfile.open(tmp_path / name, mode) as tar:  # type: ignore[call-overload]
            tar.add(tmp_path / "reinforced_data", "reinforced_data")
    assert run("ml-dr", tmp_path / "r.tar", photos, "--into", "tarred") == 0
    assert run("ml-dr", tmp_path / "reinforced_data", photos, "--into", "folder") == 0
    assert stored(photos, "tarred") == stored(photos, "folder")
    assert run("ml-dr", tmp_path / "r.tar.gz", photos, "--into", "zipped") == 2
    assert "decompress it with gunzip" in capsys.readouterr().err


def test_parts_of_one_publication_are_put_together(photos: str, tmp_path: Path) -> None:
    first = write_ml_dr(tmp_path / "a", 12)
    second = write_ml_dr(tmp_path / "b", 12, draws=2, first_seed=5000)
    assert run("ml-dr", tmp_path / "a", tmp_path / "b", photos) == 0
    rows = stored(photos)
    assert len(rows) == 12 * 5
    for index, path in enumerate(paths(tmp_path)):
        for draw, entry in enumerate(first[index] + second[index]):
            row = rows[path, draw]
            crop = (row["crop_y"], row["crop_x"], row["crop_height"], row["crop_width"])
            assert crop == entry["params"][0]
            assert sorted(row["classes"]) == sorted(entry["prob"][1])


def test_a_list_of_paths_or_a_column_finds_the_files_of_a_part_of_the_images(photos: str, tmp_path: Path) -> None:
    write_ml_dr(tmp_path / "published", 12)
    (tmp_path / "list.txt").write_text("\n".join(paths(tmp_path)))
    order = {path: i for i, path in enumerate(paths(tmp_path))}
    part = tmp_path / "part"
    steps = [{"op": "filter.where", "sql": "label = 1"}]
    reinforced.run({"name": "part", "out": str(part), "source": {"op": "read.dataset", "path": photos}, "steps": steps})
    assert run("ml-dr", tmp_path / "published", part) == 2, "places in a part are not those in the whole"
    assert run("ml-dr", tmp_path / "published", part, "--order", tmp_path / "list.txt") == 0
    whole = tmp_path / "whole"
    assert run("ml-dr", tmp_path / "published", photos) == 0
    expected = stored(photos)
    found = stored(str(part))
    assert {path for path, _ in found} == {path for path in order if path.startswith("temple")}
    for place, row in found.items():
        assert {**row, "row": 0} == {**expected[place], "row": 0}
    numbered = pa.table({"image_index": [order[p] for p in order], "path": list(order)})
    numbered = numbered.append_column("image", [[(tmp_path / "photos" / p).read_bytes() for p in order]])
    pa.parquet.write_table(numbered.append_column("key", [list(order)]), tmp_path / "numbered.parquet")
    source = {"op": "read.parquet", "path": str(tmp_path / "numbered.parquet")}
    reinforced.run({"name": "numbered", "out": str(whole), "source": source})
    assert run("ml-dr", tmp_path / "published", whole, "--key-column", "image_index") == 0
    for place, row in stored(str(whole)).items():
        assert {**row, "row": 0} == {**expected[place], "row": 0}


class Harm:
    """Pickles as a call that leaves a trace, if it is ever made."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.trace}",)


def test_a_pickle_that_asks_for_code_is_refused_and_never_runs(photos: str, tmp_path: Path) -> None:
    folder, trace = tmp_path / "published", tmp_path / "trace"
    write_ml_dr(folder, 12)
    torch.save((0, [Harm(trace)]), folder / "0.pth.tar")
    (folder / "1.pth.tar").write_bytes(pickle.dumps(Harm(trace)))
    torch.save(Harm(trace), folder / "2.pth.tar", _use_new_zipfile_serialization=False)
    torch.save((3, [torch.zeros(2)]), folder / "3.pth.tar")
    assert run("ml-dr", folder, photos, "--max-failure-rate", "0.5") == 0
    reasons = failures(photos)
    assert not trace.exists()
    keys = [path.removesuffix(".jpg") for path in paths(tmp_path)[:4]]
    assert reasons.keys() == set(keys)
    assert all("refused: the pickle asks for posix.system" in reasons[key] for key in keys[:3])
    assert "PyTorch" in reasons[keys[3]] or "torch._utils" in reasons[keys[3]]
    subprocess.run([sys.executable, "-c", f"import pickle; pickle.load(open({str(folder / '1.pth.tar')!r}, 'rb'))"])
    assert trace.exists(), "the pickle was harmless, so this test shows nothing"


def test_a_configuration_that_asks_for_code_is_refused_before_anything_starts(
    photos: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ml_dr(tmp_path / "published", 12)
    torch.save(Harm(tmp_path / "trace"), tmp_path / "published" / "config.pth.tar")
    assert run("ml-dr", tmp_path / "published", photos) == 2
    assert "refused: the pickle asks for posix.system" in capsys.readouterr().err
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mixup": {"enable": True}, "cutmix": {}}, "made with mixup and cutmix, which cannot be brought in"),
        ({"random_erasing": {}}, "transform 'random_erasing' is not one of ml-dr's; did you mean 'random_erase'?"),
        ({"random_resized_crop": {"size": 32, "interpolation": "bicubic"}}, "has 'interpolation'"),
        ({"center_crop": {"size": 32}}, "made with center_crop"),
        ({"resize": {"size": 32}}, "either random_resized_crop or resize"),
    ],
)
def test_a_publication_that_cannot_be_brought_in_is_refused_by_the_name_of_what_it_has(
    photos: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    write_ml_dr(tmp_path / "published", 12, recipe=RECIPE | change)
    assert run("ml-dr", tmp_path / "published", photos) == 2
    assert said in capsys.readouterr().err


def test_each_bad_file_costs_only_its_own_sample_and_says_why(photos: str, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    made = write_ml_dr(folder, 12, recipe=PLAIN)

    def entries(index: int, **change: Any) -> list[dict[str, Any]]:
        return [entry | change for entry in made[index]]

    broken = {
        0: ((5, made[0]), "says it is of image 5, not 0"),
        1: ((1, made[1][:2]), "has 2 reinforcements, the configuration says 3"),
        2: ((2, entries(2, params=[(0, 0, 48, 49), False])), "a crop lies outside the 48x48 px image"),
        3: ((3, entries(3, params=[(0, 0, 8, 8)])), "each list of params must hold 2 entries"),
        4: ((4, entries(4, prob=([0.4] * 3, [0, 1, 2]))), "prob must hold 4 probabilities"),
        5: ((5, entries(5, prob=([0.1] * 4, [0, 1, 2, CLASSES]))), "they must be from 0 to 11"),
        6: ((6, entries(6, prob=([0.4] * 4, [0, 1, 2, 3]))), "sum to 1 at most"),
        7: ((7, entries(7, prob=([0.1] * 4, [0, 1, 2, 2]))), "a class is listed twice"),
        8: ((8, 3), "is not as ml-dr writes it"),
    }
    for index, (content, _) in broken.items():
        torch.save(content, folder / f"{index}.pth.tar", pickle_protocol=4)
    cut = (folder / "9.pth.tar").read_bytes()
    (folder / "9.pth.tar").write_bytes(cut[: len(cut) // 2])
    (folder / "10.pth.tar").rename(folder / "12.pth.tar")
    reasons_wanted = {index: said for index, (_, said) in broken.items()}
    reasons_wanted |= {9: "is cut off or no pickle", 10: "has no file 10.pth.tar for this sample"}
    assert run("ml-dr", folder, photos, "--max-failure-rate", "1") == 0
    reasons = failures(photos)
    order = [path.removesuffix(".jpg") for path in paths(tmp_path)]
    assert reasons.keys() == {order[index] for index in reasons_wanted}
    for index, said in reasons_wanted.items():
        assert said in reasons[order[index]]
    samples = list(EpochReader(photos).samples(0))
    assert len(samples) == 1


def test_too_many_samples_without_a_file_stop_the_run(photos: str, tmp_path: Path) -> None:
    write_ml_dr(tmp_path / "published", 12)
    for index in range(6):
        (tmp_path / f"published/{index}.pth.tar").rename(tmp_path / f"published/{index + 100}.pth.tar")
    assert run("ml-dr", tmp_path / "published", photos) == 1


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_older_ways_of_torch_to_save_are_read(tmp_path: Path, protocol: int) -> None:
    entries = (7, [{"params": [(1, 2, 3, 4), None, True], "prob": ([0.5, 0.25], [3, 1])}] * 2)
    torch.save(entries, tmp_path / "new", pickle_protocol=protocol)
    torch.save(entries, tmp_path / "old", pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    (tmp_path / "raw").write_bytes(pickle.dumps(entries, protocol=protocol))
    assert [load((tmp_path / name).read_bytes()) for name in ("new", "old", "raw")] == [entries] * 3


def test_a_turned_photo_is_not_given_crops_of_the_unturned_one(tmp_path: Path) -> None:
    make_dataset(tmp_path, 4)
    path = next((tmp_path / "photos").rglob("*.jpg"))
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(path, exif=exif)
    source = {"op": "read.images", "path": str(tmp_path / "photos")}
    dataset = reinforced.run({"name": "turned", "out": str(tmp_path / "turned"), "source": source}).path
    write_ml_dr(tmp_path / "published", 4)
    assert run("ml-dr", tmp_path / "published", dataset, "--max-failure-rate", "0.5") == 0
    assert ["EXIF orientation 6" in reason for reason in failures(dataset).values()] == [True]


def test_cifar_style_padding_becomes_the_same_shift(photos: str, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    recipe = {"resize": {"size": [48, 48]}, "random_crop": {"size": 48, "padding": 4}}
    write_ml_dr(folder, 12, draws=1, recipe=recipe)
    for index in range(12):
        entry = {"params": [(48, 48), (index % 9, 8 - index % 9)], "prob": ([0.1] * 4, [0, 1, 2, 3])}
        torch.save((index, [entry]), folder / f"{index}.pth.tar", pickle_protocol=4)
    assert run("ml-dr", folder, photos) == 0
    order = reinforced.open(photos).to_arrow(columns=["path"]).column("path").to_pylist()
    for path, sample in zip(order, EpochReader(photos, shuffle=False).samples(0), strict=True):
        index = paths(tmp_path).index(path)
        with Image.open(tmp_path / "photos" / path) as image:
            view = functional.crop(functional.pad(image.convert("RGB"), [4]), index % 9, 8 - index % 9, 48, 48)
        np.testing.assert_array_equal(sample.pixels, np.asarray(view))
