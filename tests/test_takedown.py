"""What was taken down is gone to the last byte, stays gone, and takes nothing else with it."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from photos import layer_bytes, make_photos, pipeline
from test_resume import Crash, crash_after, grouping

from reinforced.cli import main
from reinforced.dataset import open_dataset
from reinforced.errors import RequestError
from reinforced.inspection import find_sample
from reinforced.record import read_records
from reinforced.run import run
from reinforced.storage import Storage
from reinforced.takedown import take_down
from reinforced.tombstones import read_tombstones
from reinforced.verify import verify

KEY = "flower/00011"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    make_photos(folder, 40)
    return folder


@pytest.fixture(scope="module")
def built(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(run(grouping(photos, tmp_path_factory.mktemp("built") / "out"), workers=1).path)


@pytest.fixture
def dataset(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "out"))


def adding(out: Path, *steps: dict[str, Any], name: str = "adds") -> dict[str, Any]:
    return {"name": name, "out": str(out), "source": {"op": "read.dataset", "path": str(out)}, "steps": list(steps)}


def with_more_rows(photos: Path, out: Path) -> dict[str, Any]:
    """Return the pipeline with a filter less: rows that compaction has removed must be read from the source again."""
    spec = grouping(photos, out)
    return spec | {"steps": [step for step in spec["steps"] if step["op"] != "engine_operators.DropHashed"]}


def keys(path: Path) -> list[str]:
    return list(open_dataset(str(path)).to_arrow(columns=["key"]).column("key").to_pylist())


def files_with(folder: Path, data: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and data in path.read_bytes()]


def image_of(photos: Path, key: str) -> bytes:
    return (photos / f"{key}.jpg").read_bytes()


def some_key(path: Path) -> str:
    """Return the key of an image that no other one repeats."""
    return [key for key in keys(path) if int(key[-5:]) % 10 < 8][3]


def test_not_a_byte_of_the_image_is_left_and_all_else_is(dataset: Path, photos: Path) -> None:
    key, before = some_key(dataset), keys(dataset)
    assert files_with(dataset, image_of(photos, key))
    done = take_down(str(dataset), keys=[key], reason="asked by its author")
    assert files_with(dataset, image_of(photos, key)) == []
    assert keys(dataset) == [other for other in before if other != key]
    assert verify(str(dataset)) == []
    assert done.rows == 1
    told = find_sample(open_dataset(str(dataset)), key)["ledger"]
    assert [row["outcome"] for row in told] == ["dropped"]
    assert told[0]["reason"].startswith("taken down: ") and told[0]["reason"].endswith("asked by its author")
    assert hashlib.sha256(image_of(photos, key)).hexdigest() in (dataset / "tombstones.json").read_text()


def test_a_run_after_a_takedown_makes_nothing_again(dataset: Path, photos: Path) -> None:
    take_down(str(dataset), keys=[some_key(dataset)])
    before = layer_bytes(dataset)
    assert run(grouping(photos, dataset), workers=1).shards_made == 0
    assert layer_bytes(dataset) == before
    assert verify(str(dataset)) == []


def test_a_changed_pipeline_reads_the_image_again_and_refuses_it(dataset: Path, photos: Path) -> None:
    key = some_key(dataset)
    take_down(str(dataset), keys=[key])
    result = run(with_more_rows(photos, dataset), workers=1)
    assert result.shards_made == 2
    assert result.counts["read.images"].reasons == {"taken down": 1}
    assert key not in keys(dataset)
    assert files_with(dataset, image_of(photos, key)) == []
    assert verify(str(dataset)) == []


def test_layers_without_the_image_are_those_of_a_run_that_never_let_it_in(photos: Path, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    run(pipeline(photos, ours), workers=1)
    take_down(str(ours), keys=[some_key(ours)])
    theirs.mkdir()
    shutil.copy(ours / "tombstones.json", theirs)
    run(pipeline(photos, theirs), workers=1)
    for layer in open_dataset(str(ours)).layers:
        found, expected = (open_dataset(str(path)).to_arrow([layer]) for path in (ours, theirs))
        assert found.equals(expected)
    told, expected = (read_records(Storage(str(path)), "photos")["00000"].steps for path in (ours, theirs))
    assert {name: step.counts for name, step in told.items()} == {name: s.counts for name, s in expected.items()}


@pytest.mark.slow
def test_a_crash_at_every_single_change_to_the_disk_is_mended(dataset: Path, photos: Path) -> None:
    named = [some_key(dataset), keys(dataset)[-2]]
    whole = dataset.parent / "whole"
    shutil.copytree(dataset, whole)
    take_down(str(whole), keys=named)
    expected = layer_bytes(whole)
    for changes in range(1, 200):
        out = dataset.parent / "crashed"
        shutil.copytree(dataset, out)
        with crash_after(changes):
            try:
                take_down(str(out), keys=named)
                break
            except Crash:
                pass
        if changes % 5 == 0:
            run(grouping(photos, out), workers=1)
        else:
            take_down(str(out), keys=named)
        assert layer_bytes(out) == expected, f"after a crash at change {changes}"
        assert [files_with(out, image_of(photos, key)) for key in named] == [[], []]
        assert verify(str(out)) == []
        shutil.rmtree(out)
    assert 15 < changes < 199, "a takedown has fewer changes than this"


def test_a_takedown_that_was_killed_is_seen_by_verify(dataset: Path) -> None:
    with crash_after(4), pytest.raises(Crash):
        take_down(str(dataset), keys=[some_key(dataset)])
    assert any("takedown" in problem for problem in verify(str(dataset)))


def test_rows_that_a_verdict_hides_are_taken_down_too(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    spec = pipeline(photos, out, compact=False)
    run(spec, workers=1)
    run(adding(out, {"op": "filter.where", "sql": "key NOT LIKE '%00011%'"}, {"op": "hash.perceptual"}), workers=1)
    run(adding(out, {"op": "engine_operators.Raises", "keys": []}, name="more"), workers=1)
    hidden = open_dataset(str(out)).sql("SELECT key FROM verdicts WHERE outcome <> 'kept' ORDER BY key").to_pylist()
    named = [row["key"] for row in hidden] + [some_key(out)]
    assert KEY in named and len(named) > 3
    take_down(str(out), keys=named)
    assert [key for key in named if files_with(out, image_of(photos, key))] == []
    assert verify(str(out)) == []
    before = layer_bytes(out)
    add = adding(out, {"op": "filter.where", "sql": "key NOT LIKE '%00011%'"}, {"op": "hash.perceptual"})
    assert run(spec, workers=1).shards_made == 0
    assert run(adding(out, {"op": "engine_operators.Raises", "keys": []}, name="more"), workers=1).shards_made == 0
    assert layer_bytes(out) == before
    run(add, workers=1)
    assert verify(str(out)) == []


def test_tiles_go_with_the_image_that_they_were_cut_from(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    steps = [
        {"op": "generate.tiles", "rows": 1, "columns": 2},
        {"op": "filter.where", "sql": "NOT (key LIKE '%00012%' AND key LIKE '%/0002')"},
        {"op": "hash.pixels"},
    ]
    spec = pipeline(photos, out, steps=steps)
    run(spec, workers=1)
    before = keys(out)
    take_down(str(out), keys=["flower/00011/0002", "temple/00012"])
    gone = {"flower/00011/0001", "flower/00011/0002", "temple/00012/0001"}
    assert gone <= set(before) and keys(out) == [key for key in before if key not in gone]
    assert verify(str(out)) == []
    run(spec, workers=1)
    assert keys(out) == [key for key in before if key not in gone]
    assert verify(str(out)) == []


def test_a_view_mixed_with_the_image_is_drawn_again(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    teacher = {"factory": "reinforced.models.mlp", "arguments": {"inputs": 192}}
    augment = {"size_px": 8, "mix_up": {}}
    steps = [{"op": "reinforce", "draws": 3, "top_k": 4, "augment": augment, "teachers": [teacher]}]
    spec = pipeline(photos, out, steps=steps)
    run(spec, workers=1)
    take_down(str(out), keys=[some_key(out)])
    assert verify(str(out)) == []
    opened = open_dataset(str(out))
    lost = opened.read("reinforced", opened.shards[0].name).column("mix_row").null_count
    assert lost > 0
    assert run(spec, workers=1).shards_made == 1
    opened = open_dataset(str(out))
    assert opened.read("reinforced", opened.shards[0].name).column("mix_row").null_count == 0
    assert verify(str(out)) == []


def test_equal_bytes_go_together_and_a_hash_is_remembered_before_it_is_seen(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    spec = pipeline(photos, out, steps=[{"op": "filter.image"}])
    run(spec, workers=1)
    twin = "flower/00019"  # repeats the one before
    assert image_of(photos, twin) == image_of(photos, "temple/00018")
    new = tmp_path / "new"
    make_photos(new, 2, side_px=40)
    digest = hashlib.sha256((new / "temple/00000.jpg").read_bytes()).hexdigest()
    done = take_down(str(out), keys=[twin], sha256=[digest.upper()])
    assert done.rows == 2 and not {twin, "temple/00018"} & set(keys(out))
    added = tmp_path / "photos"
    shutil.copytree(photos, added)
    shutil.copy(new / "temple/00000.jpg", added / "flower/zzz.jpg")
    result = run(spec | {"source": spec["source"] | {"path": str(added)}}, workers=1)
    assert "flower/zzz" not in keys(out)
    assert result.counts["read.images"].reasons == {"taken down": 3}
    assert verify(str(out)) == []


def test_all_of_an_author_go(photos: Path, tmp_path: Path) -> None:
    table = pq.read_table(
        Path(run(pipeline(photos, tmp_path / "a", steps=[]), workers=1).path) / "samples/00000.parquet"
    )
    authors = ["ann" if i % 3 else None for i in range(len(table))]
    (tmp_path / "tables").mkdir()
    pq.write_table(table.drop_columns(["path"]).append_column("author", [authors]), tmp_path / "tables/a.parquet")
    source = {"op": "read.parquet", "path": str(tmp_path / "tables")}
    out = Path(run({"name": "b", "out": str(tmp_path / "b"), "source": source, "steps": []}, workers=1).path)
    take_down(str(out), author="ann")
    left = open_dataset(str(out)).to_arrow(columns=["author"])
    assert left.num_rows > 0 and set(left.column("author").to_pylist()) == {None}
    assert verify(str(out)) == []
    with pytest.raises(RequestError, match="no image by the author 'bob'"):
        take_down(str(out), author="bob")


def test_a_dataset_made_of_this_one_refuses_the_image(dataset: Path, photos: Path) -> None:
    child = dataset.parent / "child"
    spec = {"name": "child", "out": str(child), "source": {"op": "read.dataset", "path": str(dataset)}, "steps": []}
    run(spec, workers=1)
    key = some_key(dataset)
    take_down(str(dataset), keys=[key])
    assert key in keys(child)
    run(spec, workers=1)
    assert key not in keys(child) and files_with(child, image_of(photos, key)) == []
    assert verify(str(child)) == []


def test_wrong_requests_change_nothing(dataset: Path, photos: Path) -> None:
    for request, message in [
        ({}, "give --key, --sha256 or --author"),
        ({"keys": ["nobody"]}, "no sample 'nobody'"),
        ({"sha256": ["abc"]}, "64 hexadecimal digits"),
        ({"author": "ann"}, "no column 'author'"),
    ]:
        with pytest.raises(RequestError, match=message):
            take_down(str(dataset), **request)  # type: ignore[arg-type]
    assert not (dataset / "tombstones.json").exists()
    with crash_after(8), pytest.raises(Crash):
        run(with_more_rows(photos, dataset), workers=1)
    with pytest.raises(RequestError, match="has not ended"):
        take_down(str(dataset), keys=[some_key(dataset)])
    assert read_tombstones(open_dataset(str(dataset)).storage).listed == ()


def test_the_command_says_what_it_removed(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = some_key(dataset)
    assert main(["takedown", str(dataset), "--key", key, "--reason", "asked"]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(dataset) and "1 rows removed" in said.err
    assert main(["verify", str(dataset)]) == 0
    assert main(["takedown", str(dataset)]) == 2
