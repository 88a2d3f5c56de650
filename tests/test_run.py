from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from broken_images import broken_images
from photos import layer_bytes, make_photos, pipeline

from reinforced.dataset import open_dataset
from reinforced.errors import RequestError, RunError
from reinforced.ledger import DROPPED, FAILED, KEPT
from reinforced.record import read_records
from reinforced.run import run
from reinforced.storage import Storage
from reinforced.verify import verify

ROWS = 100


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    make_photos(folder, ROWS)
    return folder


@pytest.fixture(scope="module")
def reference(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reference")
    run(pipeline(photos, out), workers=1)
    return out


def change(spec: dict[str, Any], step: int, **parameters: Any) -> dict[str, Any]:
    steps = [dict(s) for s in spec["steps"]]
    steps[step] |= parameters
    return spec | {"steps": steps}


def test_every_row_that_goes_in_is_kept_dropped_or_failed_and_the_ledger_says_which(
    photos: Path, reference: Path
) -> None:
    result = run(pipeline(photos, reference), workers=1)
    rows = ROWS
    for counts in result.counts.values():
        assert counts.rows_in == rows == counts.kept + counts.dropped + counts.failed
        rows = counts.kept
    assert len(result.dataset) == rows < ROWS - 9
    storage = Storage(str(reference))
    fates: dict[str, set[str]] = {KEPT: set(), DROPPED: set(), FAILED: set()}
    removed: set[str] = set()
    for record in read_records(storage, "photos").values():
        for name, step in record.steps.items():
            for row in storage.read_table(step.ledger).to_pylist():
                fates[row["outcome"]].add(row["key"])
                if row["step"] == name:
                    removed.add(row["key"])
    assert len(fates[KEPT] | fates[DROPPED] | fates[FAILED]) == ROWS
    kept = set(result.dataset.to_arrow(columns=["key"]).column("key").to_pylist())
    assert kept == fates[KEPT] - removed


@pytest.mark.parametrize("workers", [2, 5])
def test_the_number_of_workers_changes_no_byte(photos: Path, reference: Path, tmp_path: Path, workers: int) -> None:
    run(pipeline(photos, tmp_path / "out"), workers=workers)
    assert layer_bytes(tmp_path / "out") == layer_bytes(reference)


def test_layers_hold_the_same_rows_in_the_same_order(reference: Path) -> None:
    dataset = open_dataset(str(reference))
    for shard in dataset.shards:
        keys = [dataset.read(layer, shard.name, ["key"]).column("key").to_pylist() for layer in dataset.aligned_layers]
        assert all(k == keys[0] for k in keys) and len(keys[0]) == shard.rows
        drawn = dataset.read("hashed", shard.name)
        assert drawn.column("draw").to_pylist() == [k for k in range(3) for _ in range(shard.rows)]
        assert drawn.column("row").to_pylist() == [*range(shard.rows)] * 3
        assert drawn.column("hashed").null_count == 0


def test_a_second_run_makes_nothing_again(photos: Path, reference: Path, tmp_path: Path) -> None:
    out = shutil.copytree(reference, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    assert run(pipeline(photos, out), workers=1).shards_made == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")} == before


def test_a_changed_last_step_is_made_again_alone(photos: Path, tmp_path: Path) -> None:
    out, notes = tmp_path / "out", tmp_path / "notes"
    spec = change(pipeline(photos, out), 1, notes=str(notes))
    run(spec, workers=1)
    samples = {path: path.stat().st_mtime_ns for path in (out / "samples").iterdir()}
    seen = notes.read_text()
    result = run(change(spec, 5, draws=5), workers=1)
    assert notes.read_text() == seen, "the step before it ran again"
    assert {path: path.stat().st_mtime_ns for path in (out / "samples").iterdir()} == samples
    assert result.dataset.read("hashed", "00000").column("draw").to_pylist()[-1] == 4
    fresh = tmp_path / "fresh"
    run(change(pipeline(photos, fresh), 5, draws=5), workers=1)
    assert layer_bytes(out) == layer_bytes(fresh)


@pytest.mark.parametrize(
    ("step", "parameters"),
    [
        (0, {"min_side_px": 9}),
        (1, {"factor": 2}),
        (3, {"by": "bytes"}),
        (4, {"one_in": 5}),
        (4, {"one_in": 1000}),
        (5, {"draws": 1}),
    ],
)
def test_any_changed_step_ends_in_the_bytes_of_a_run_from_nothing(
    photos: Path, reference: Path, tmp_path: Path, step: int, parameters: dict[str, Any]
) -> None:
    out = shutil.copytree(reference, tmp_path / "out")
    spec = change(pipeline(photos, out), step, **parameters)
    run(spec, workers=1)
    fresh = tmp_path / "fresh"
    run(spec | {"out": str(fresh)}, workers=1)
    assert layer_bytes(out) == layer_bytes(fresh)
    run(pipeline(photos, out), workers=1)
    assert layer_bytes(out) == layer_bytes(reference), "changing it back must restore the first result"


def test_a_step_left_out_or_added_ends_in_the_bytes_of_a_run_from_nothing(
    photos: Path, reference: Path, tmp_path: Path
) -> None:
    for left_out in (0, 1, 3, 4, 5):
        out = shutil.copytree(reference, tmp_path / f"out{left_out}")
        spec = pipeline(photos, out)
        spec["steps"] = [s for i, s in enumerate(spec["steps"]) if i != left_out]
        run(spec, workers=1)
        fresh = tmp_path / f"fresh{left_out}"
        run(spec | {"out": str(fresh)}, workers=1)
        assert layer_bytes(out) == layer_bytes(fresh)
        run(pipeline(photos, out), workers=1)
        assert layer_bytes(out) == layer_bytes(reference)


def test_a_changed_image_makes_its_own_shard_again_and_no_other(photos: Path, tmp_path: Path) -> None:
    mine = shutil.copytree(photos, tmp_path / "photos")
    out = tmp_path / "out"
    spec = pipeline(mine, out, steps=[{"op": "engine_operators.Slow", "notes": str(tmp_path / "notes")}])
    run(spec, workers=1)
    (tmp_path / "notes").unlink()
    victim = sorted((mine / "temple").iterdir())[-1]
    victim.write_bytes(sorted((mine / "flower").iterdir())[0].read_bytes())
    result = run(spec, workers=1)
    assert result.shards_made == 1
    assert len((tmp_path / "notes").read_text().splitlines()) == 1


def test_images_gone_from_the_source_leave_the_dataset(photos: Path, tmp_path: Path) -> None:
    mine = shutil.copytree(photos, tmp_path / "photos")
    spec = pipeline(mine, tmp_path / "out")
    run(spec, workers=1)
    shutil.rmtree(mine / "temple")
    dataset = run(spec, workers=1).dataset
    assert len(dataset.shards) == 2
    assert set(dataset.to_arrow(columns=["label_name"]).column("label_name").to_pylist()) == {"flower"}
    assert len(list((tmp_path / "out" / "samples").iterdir())) == 2


def test_a_lost_or_shortened_layer_file_is_made_again(photos: Path, reference: Path, tmp_path: Path) -> None:
    out = shutil.copytree(reference, tmp_path / "out")
    (out / "sizes" / "00001.parquet").unlink()
    (out / "hashed" / "00002.parquet").write_bytes(b"")
    (out / "samples" / "00003.parquet").write_bytes(b"PAR1")
    run(pipeline(photos, out), workers=1)
    assert layer_bytes(out) == layer_bytes(reference)


def test_rows_that_make_an_operator_raise_cost_themselves_alone(photos: Path, tmp_path: Path) -> None:
    keys = ["temple/00002", "temple/00004", "flower/00033"]
    steps = [{"op": "engine_operators.Raises", "keys": keys}, {"op": "engine_operators.Draws"}]
    result = run(pipeline(photos, tmp_path / "out", steps=steps), workers=1)
    assert result.counts["engine_operators.Raises"].failed == 3
    assert result.counts["engine_operators.Draws"].rows_in == ROWS - 3
    kept = result.dataset.to_arrow().column("key").to_pylist()
    assert len(kept) == ROWS - 3 and not set(keys) & set(kept)
    storage = Storage(str(tmp_path / "out"))
    record = read_records(storage, "photos")["00000"]
    rows = storage.read_table(record.steps["engine_operators.Raises"].ledger).to_pylist()
    assert [r["reason"] for r in rows if r["outcome"] == FAILED] == ["RuntimeError: cannot take flower/00033"]


def test_too_many_failures_stop_the_run_and_lose_nothing_that_was_done(photos: Path, tmp_path: Path) -> None:
    keys = [f"temple/{i:05d}" for i in range(0, 60, 2)]
    notes = tmp_path / "notes"
    slow = {"op": "engine_operators.Slow", "notes": str(notes)}
    steps = [slow, {"op": "engine_operators.Raises", "keys": keys}]
    spec = pipeline(photos, tmp_path / "out", steps=steps)
    with pytest.raises(
        RunError, match=r"30 of 100 rows failed, more than max_failure_rate 0.1 .*max_failure_rate=0.35"
    ):
        run(spec, workers=1)
    seen = notes.read_text()
    result = run(spec | {"max_failure_rate": 0.35}, workers=1)
    assert notes.read_text() == seen
    assert len(result.dataset) == 70


def test_dropped_rows_stay_with_a_verdict_where_the_pipeline_asks_for_it(
    photos: Path, reference: Path, tmp_path: Path
) -> None:
    dataset = run(pipeline(photos, tmp_path / "out", compact=False), workers=1).dataset
    compacted = open_dataset(str(reference))
    assert dataset.to_arrow().equals(compacted.to_arrow())
    assert sum(shard.rows for shard in dataset.shards) == ROWS > len(dataset) == len(compacted)
    verdicts = pa.concat_tables([dataset.read("verdicts", s.name) for s in dataset.shards]).to_pylist()
    assert {v["step"] for v in verdicts} == {None, "dedup.exact", "engine_operators.DropHashed"}
    drawn = dataset.read("hashed", "00000")
    kept = [v["outcome"] == KEPT for v in dataset.read("verdicts", "00000").to_pylist()]
    assert [h is not None for h in drawn.column("hashed").to_pylist()] == kept * 3


def test_layers_are_added_to_a_dataset_without_touching_its_images(reference: Path, tmp_path: Path) -> None:
    out = shutil.copytree(reference, tmp_path / "out")
    before = layer_bytes(out)
    steps = [
        {"op": "filter.where", "sql": "label_name = 'temple'"},
        {"op": "engine_operators.Draws", "into": "more", "draws": 2},
    ]
    spec = {"name": "more", "out": str(out), "source": {"op": "read.dataset", "path": str(out)}, "steps": steps}
    rows = len(open_dataset(str(out)))
    dataset = run(spec, workers=1).dataset
    assert {path: data for path, data in layer_bytes(out).items() if path in before} == before
    assert set(dataset.to_arrow().column("label_name").to_pylist()) == {"temple"}
    assert 0 < len(dataset) < rows
    assert run(spec, workers=1).shards_made == 0
    changed = spec | {"steps": [{"op": "filter.where", "sql": "label_name = 'flower'"}, steps[1]]}
    assert set(run(changed, workers=1).dataset.to_arrow().column("label_name").to_pylist()) == {"flower"}


def test_a_dataset_made_from_another_has_its_kept_rows(reference: Path, tmp_path: Path) -> None:
    steps = [{"op": "filter.where", "sql": "file_bytes > 0"}]
    spec = {"name": "copy", "out": str(tmp_path / "copy"), "source": {"op": "read.dataset", "path": str(reference)}}
    copied = run(spec | {"steps": steps}, workers=1).dataset
    original = open_dataset(str(reference))
    assert copied.to_arrow(columns=original.schema.names).equals(original.to_arrow())


def test_layers_that_no_longer_fit_the_samples_are_removed(photos: Path, reference: Path, tmp_path: Path) -> None:
    out = shutil.copytree(reference, tmp_path / "out")
    steps = [{"op": "engine_operators.Draws", "into": "more"}]
    spec = {"name": "more", "out": str(out), "source": {"op": "read.dataset", "path": str(out)}, "steps": steps}
    assert "more" in run(spec, workers=1).dataset.layers
    assert "more" in run(pipeline(photos, out), workers=1).dataset.layers
    assert verify(str(out)) == []
    changed = run(change(pipeline(photos, out), 4, one_in=3), workers=1).dataset
    assert verify(str(out)) == []
    assert "more" not in changed.layers and not (out / "more").exists()
    assert "more" in run(spec, workers=1).dataset.layers


def test_another_pipeline_does_not_build_over_a_dataset(photos: Path, reference: Path) -> None:
    with pytest.raises(RequestError, match="built by pipeline 'photos'; choose another out="):
        run(pipeline(photos, reference, name="other"), workers=1)


def test_tiles_are_samples_of_their_own_with_every_parent_in_the_ledger(photos: Path, tmp_path: Path) -> None:
    steps = [{"op": "generate.tiles", "rows": 2, "columns": 2}, {"op": "engine_operators.DropHashed"}]
    result = run(pipeline(photos, tmp_path / "out", steps=steps), workers=1)
    tiles, filtered = result.counts["generate.tiles"], result.counts["engine_operators.DropHashed"]
    assert (tiles.rows_in, tiles.kept, tiles.made) == (ROWS, ROWS, 4 * ROWS)
    assert filtered.rows_in == 4 * ROWS and len(result.dataset) == filtered.kept
    rows = result.dataset.to_arrow(columns=["key", "parent", "width"]).to_pylist()
    assert all(row["key"].startswith(row["parent"] + "/") and row["width"] == 24 for row in rows)


def test_one_key_in_two_shards_stops_the_run_and_names_both(photos: Path, tmp_path: Path) -> None:
    image = next((photos / "temple").iterdir()).read_bytes()
    for part in ("a", "b"):
        pq.write_table(pa.table({"key": ["same", part], "image": [image, image]}), tmp_path / f"{part}.parquet")
    source = {"op": "read.parquet", "path": str(tmp_path), "key_column": "key"}
    with pytest.raises(RunError, match="key 'same' is in shard 00000 and in shard 00001"):
        run({"name": "twice", "out": str(tmp_path / "out"), "source": source}, workers=1)


def test_a_sink_takes_back_what_it_wrote_of_rows_that_are_gone(photos: Path, tmp_path: Path) -> None:
    sinks = [
        {"op": "write.webdataset", "path": str(tmp_path / "tars")},
        {"op": "write.imagefolder", "path": str(tmp_path / "folder")},
    ]
    mine = shutil.copytree(photos, tmp_path / "photos")
    spec = pipeline(mine, tmp_path / "out", sinks=sinks)
    rows = len(run(spec, workers=1).dataset)
    assert len(list((tmp_path / "folder").rglob("*.jpg"))) == rows
    shutil.rmtree(mine / "temple")
    fewer = len(run(change(spec, 4, one_in=3), workers=1).dataset)
    assert len(list((tmp_path / "folder").rglob("*.jpg"))) == fewer < rows
    assert len(list((tmp_path / "tars").rglob("*.tar"))) == 2


def test_a_folder_of_broken_images_costs_exactly_those_rows(photos: Path, tmp_path: Path) -> None:
    mine = shutil.copytree(photos, tmp_path / "photos")
    kinds = broken_images()
    for name, data in kinds.items():
        (mine / "temple" / f"{name}.jpg").write_bytes(data)
    steps = [{"op": "filter.image"}, {"op": "engine_operators.Slow"}, {"op": "engine_operators.Draws"}]
    result = run(pipeline(mine, tmp_path / "out", steps=steps, max_failure_rate=1.0), workers=2)
    assert len(kinds) >= 40
    assert len(result.dataset) == ROWS
    source, filtered = result.counts["read.images"], result.counts["filter.image"]
    assert source.failed + filtered.dropped == len(kinds) and source.failed and filtered.dropped
    unfiltered = run(pipeline(mine, tmp_path / "plain", steps=steps[2:], max_failure_rate=1.0), workers=1)
    assert sum(counts.failed for counts in unfiltered.counts.values()) == len(kinds)
    assert (
        layer_bytes(tmp_path / "plain")["hashed/00000.parquet"] == layer_bytes(tmp_path / "out")["hashed/00000.parquet"]
    )


@pytest.mark.parametrize("compact", [True, False])
def test_what_one_pipeline_dropped_stays_dropped_when_the_builder_runs_again(
    photos: Path, tmp_path: Path, compact: bool
) -> None:
    out = tmp_path / "out"
    builder = pipeline(photos, out, compact=compact)
    rows = len(run(builder, workers=1).dataset)
    source = {"op": "read.dataset", "path": str(out)}
    only = {"name": "only", "out": str(out), "source": source, "steps": [{"op": "filter.where", "sql": "label = 1"}]}
    fewer = len(run(only, workers=1).dataset)
    assert 0 < fewer < rows
    assert len(run(builder, workers=1).dataset) == fewer
    more = {"name": "more", "out": str(out), "source": source}
    more["steps"] = [{"op": "engine_operators.Draws", "into": "more"}]
    assert run(more, workers=1).counts["engine_operators.Draws"].kept == fewer
    less_strict = only | {"steps": [{"op": "filter.where", "sql": "label >= 0"}]}
    assert len(run(less_strict, workers=1).dataset) == rows
    assert run(more, workers=1).counts["engine_operators.Draws"].kept == rows, "it must see the rows that came back"
    assert verify(str(out)) == []
