from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from published import make_dataset, paths, write_tinyvit

import reinforced
from reinforced.cli import main
from reinforced.draw_layer import DrawLayer
from reinforced.epoch import EpochReader
from reinforced.errors import RequestError


def run(*arguments: object) -> int:
    return main(["import", "tinyvit", *map(str, arguments)])


def stored(dataset: str) -> dict[tuple[int, str], tuple[int, dict[int, float], float]]:
    """Return seed, probabilities and tail by draw and path."""
    opened = reinforced.open(dataset)
    kept = [opened.kept(shard.name) for shard in opened.shards]
    layer = DrawLayer(opened, "reinforced", kept)
    found = {}
    for number, shard in enumerate(opened.shards):
        names = opened.read_shard(shard.name, ["path"]).column("path").to_pylist()
        seeds = opened.read("reinforced", shard.name, ["seed"]).column("seed").to_pylist()
        seeds = [seed for seed in seeds if seed is not None]
        for draw in range(layer.reinforcement.draws):
            _, said = layer.read(number, draw)
            for row, name in enumerate(names):
                listed = dict(zip(said.classes[row].tolist(), said.probabilities[row].tolist(), strict=True))
                found[draw, name] = seeds[draw * len(names) + row], listed, float(said.tail[row])
    return found


@pytest.mark.parametrize("keys", ["names", "indices"])
def test_every_epoch_becomes_a_draw_with_its_seeds_and_probabilities(tmp_path: Path, keys: str) -> None:
    dataset = make_dataset(tmp_path)
    order = paths(tmp_path)
    named = {path: Path(path).stem if keys == "names" else str(i) for i, path in enumerate(order)}
    made = write_tinyvit(tmp_path / "logits", list(named.values()), epochs=11)
    options: list[Any] = ["--classes", 12] + (["--order", dataset] if keys == "indices" else [])
    assert run(tmp_path / "logits", dataset, *options) == 0
    found = stored(dataset)
    assert len(found) == 12 * 11
    for (draw, path), (seed, listed, tail) in found.items():
        wanted_seed, classes, probabilities = made[draw, named[path]]
        assert seed == wanted_seed
        assert set(listed) == set(classes.tolist())
        wanted = dict(zip(classes.tolist(), probabilities.astype(float).tolist(), strict=True))
        rest = max(0.0, 1 - sum(wanted.values()))
        whole = sum(wanted.values()) + rest
        error = sum(abs(listed[c] - p / whole) for c, p in wanted.items()) + abs(tail - rest / whole)
        assert error / 2 <= 1e-3
    assert main(["verify", dataset]) == 0


def test_no_loader_passes_whole_images_off_as_the_views_the_teacher_saw(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, 4)
    write_tinyvit(tmp_path / "logits", [Path(path).stem for path in paths(tmp_path)])
    assert run(tmp_path / "logits", dataset, "--classes", 12) == 0
    with pytest.raises(RequestError, match="imported from tinyvit: its views follow from the column `seed`"):
        EpochReader(dataset)


def test_a_cut_file_and_a_missing_key_cost_only_their_samples(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path)
    names = [Path(path).stem for path in paths(tmp_path)]
    write_tinyvit(tmp_path / "logits", names[1:])
    values = tmp_path / "logits/logits_top4_epoch1/rank1-values.bin"
    values.write_bytes(values.read_bytes()[:-7])
    lost = (values.parent / "rank1-keys.txt").read_text().split()[-1]
    gone = tmp_path / "logits/logits_top4_epoch2/rank0-keys.txt"
    gone.write_text(gone.read_text().replace(missing := gone.read_text().split()[0], "another"))
    assert run(tmp_path / "logits", dataset, "--classes", 12, "--max-failure-rate", "0.5") == 0
    pieces = Path(dataset).glob("_runs/ledger/import-tinyvit/**/*.parquet")
    rows = [row for piece in pieces for row in pq.read_table(piece).to_pylist() if row["reason"]]
    reasons = {Path(row["key"]).stem: row["reason"] for row in rows}
    assert reasons.keys() == {names[0], lost, missing}
    assert f"has no key {names[0]}" in reasons[names[0]]
    assert "is cut off before the record" in reasons[lost]
    if missing != lost:
        assert "has no record of this key" in reasons[missing]


def test_a_class_the_teacher_cannot_know_fails_the_sample(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, 4)
    write_tinyvit(tmp_path / "logits", [Path(path).stem for path in paths(tmp_path)])
    assert run(tmp_path / "logits", dataset, "--classes", 4) == 1


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda at: write_tinyvit(at, ["0"], top_k=5), "epochs of top 4, 5; they must have the same k"),
        (lambda at: (at / "logits_top4_epoch0").rename(at / "logits_top3_epoch0"), "must have the same k"),
        (
            lambda at: (at / "logits_top4_epoch0/rank0-values.bin").write_bytes(bytes(1000)),
            "more than 1 records of 20: it was not written with the k",
        ),
        (lambda at: at.rename(at.parent / "elsewhere"), "holds no folder logits_top"),
    ],
)
def test_a_folder_that_is_not_what_it_says_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], break_it: Any, said: str
) -> None:
    dataset = make_dataset(tmp_path, 2)
    write_tinyvit(tmp_path / "logits", ["00000", "00001"])
    break_it(tmp_path / "logits")
    assert run(tmp_path / "logits", dataset, "--classes", 12) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not list(Path(dataset).glob("reinforced/*"))


def test_half_precision_that_sums_to_more_than_one_is_stored(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, 2)
    write_tinyvit(tmp_path / "logits", ["00000", "00001"], epochs=1, top_k=2)
    for rank in range(2):
        over = np.array([0.9, 0.1003], np.float16)
        assert over.astype(float).sum() > 1
        record = np.int32(7).tobytes() + np.array([3, 1], np.int16).tobytes() + over.tobytes()
        (tmp_path / f"logits/logits_top2_epoch0/rank{rank}-values.bin").write_bytes(record)
    assert run(tmp_path / "logits", dataset, "--classes", 12) == 0
    for seed, listed, tail in stored(dataset).values():
        assert (seed, tail) == (7, 0)
        assert listed == pytest.approx({3: 0.9, 1: 0.1}, abs=2e-3)
