"""What `reinforced verify` must notice: each way to damage a copy of a dataset is named, the untouched one is clean."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import reinforced
from reinforced.errors import RequestError
from reinforced.verify import verify


def _build(folder: Path, **keys: Any) -> Path:
    """Digits in six shards: one filter, one global step, one more filter, one layer; rows go at each."""
    steps = [
        {"op": "filter.where", "sql": "label != 3"},
        {"op": "generate.tiles", "rows": 1, "columns": 2},
        {"op": "dedup.exact", "by": "pixels"},
        {"op": "hash.pixels"},
        {"op": "filter.where", "sql": "label < 8"},
    ]
    made = reinforced.run(
        {"name": "small", "out": str(folder), "source": {"op": "read.digits"}, "steps": steps, **keys}
    )
    return Path(made.path)


@pytest.fixture(scope="module")
def compacted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(tmp_path_factory.mktemp("compacted") / "data")


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that keeps its dropped rows, to which a second pipeline has added a filter."""
    path = _build(tmp_path_factory.mktemp("judged") / "data", compact=False)
    steps = [{"op": "filter.where", "sql": "label != 5"}]
    reinforced.run(
        {"name": "adds", "out": str(path), "source": {"op": "read.dataset", "path": str(path)}, "steps": steps}
    )
    return path


@pytest.mark.parametrize("which", ["compacted", "judged"])
def test_an_untouched_dataset_is_clean(which: str, request: pytest.FixtureRequest) -> None:
    assert verify(str(request.getfixturevalue(which))) == []


def test_a_step_that_was_changed_and_made_again_leaves_a_clean_dataset(tmp_path: Path) -> None:
    pipeline: dict[str, Any] = {
        "name": "small",
        "out": str(tmp_path / "data"),
        "source": {"op": "read.digits"},
        "steps": [
            {"op": "filter.where", "sql": "label != 3"},
            {"op": "filter.image", "min_std": 60},
            {"op": "dedup.exact"},
            {"op": "filter.where", "sql": "label < 8"},
        ],
    }
    for step, key, value in (
        (3, "sql", "label < 7"),
        (3, "sql", "label < 9"),
        (1, "min_std", 70),
        (0, "sql", "label > 0"),
    ):
        reinforced.run(pipeline)
        pipeline["steps"][step][key] = value
    assert verify(reinforced.run(pipeline).path) == []


def _edit_json(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    raw = json.loads(path.read_text())
    edit(raw)
    path.write_text(json.dumps(raw))


def _edit_ledger(data: Path, step: str, edit: Callable[[pa.Table], pa.Table]) -> None:
    path = data / f"_runs/ledger/small/{step}/00001.parquet"
    pq.write_table(edit(pq.read_table(path)), path)


def _forge(data: Path, layer: str, edit: Callable[[pa.Table], pa.Table], pipeline: str = "small") -> None:
    """Change a layer and put the new hash wherever the old one stood: only the content can tell."""
    path = data / layer / "00001.parquet"
    old = hashlib.sha256(path.read_bytes()).hexdigest()
    size = path.stat().st_size
    pq.write_table(edit(pq.read_table(path)), path)
    new = hashlib.sha256(path.read_bytes()).hexdigest()
    for file in (data / "dataset.json", data / f"_runs/records/{pipeline}/00001.json"):
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new).replace(f" {size}", f" {path.stat().st_size}"))


def _replace(table: pa.Table, column: str, values: list[Any]) -> pa.Table:
    place = table.column_names.index(column)
    return table.set_column(place, table.field(column), pa.array(values, table.field(column).type))


def _flip_a_byte(data: Path) -> None:
    path = data / "samples/00001.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _cut_a_layer(data: Path) -> None:
    path = data / "hashes/00001.parquet"
    path.write_bytes(path.read_bytes()[:-10])


def _swap_two_shards(data: Path) -> None:
    (data / "hashes/00001.parquet").rename(data / "hashes/x")
    (data / "hashes/00002.parquet").rename(data / "hashes/00001.parquet")
    (data / "hashes/x").rename(data / "hashes/00002.parquet")


def _misalign_a_layer(data: Path) -> None:
    _forge(data, "hashes", lambda t: t.take(pa.array([1, 0, *range(2, len(t))])))


def _lose_a_kept_row(data: Path) -> None:
    for layer in ("samples", "hashes"):
        _forge(data, layer, lambda t: t.slice(1))
    record = data / "_runs/records/small/00001.json"
    rows = json.loads(record.read_text())["rows"]
    _edit_json(record, lambda r: r.update(rows=rows - 1))
    _edit_json(data / "dataset.json", lambda d: (d["shards"][1].update(rows=rows - 1), d.update(rows=d["rows"] - 1)))


def _take_a_key_twice(data: Path) -> None:
    key = pq.read_table(data / "samples/00000.parquet").column("key")[0].as_py()
    for layer in ("samples", "hashes"):
        _forge(data, layer, lambda t: _replace(t, "key", [key, *t.column("key").to_pylist()[1:]]))


def _lose_a_dropped_ledger_row(data: Path) -> None:
    _edit_ledger(data, "read.digits", lambda t: t.filter(pc.not_equal(t.column("outcome"), "dropped")))


def _lose_a_kept_ledger_row(data: Path, place: int) -> None:
    def edit(table: pa.Table) -> pa.Table:
        kept = table.filter(pc.equal(table.column("outcome"), "kept")).column("key").to_pylist()
        return table.filter(pc.not_equal(table.column("key"), kept[place]))

    _edit_ledger(data, "read.digits", edit)


def _change_a_reason(data: Path) -> None:
    # The kind before the colon stays, so the counts do not tell.
    def edit(table: pa.Table) -> pa.Table:
        reasons = [f"{r}: otherwise" if r else None for r in table.column("reason").to_pylist()]
        return _replace(table, "reason", reasons)

    _edit_ledger(data, "read.digits", edit)


def _change_an_outcome(data: Path) -> None:
    _edit_ledger(
        data,
        "read.digits",
        lambda t: _replace(t, "outcome", ["failed" if s else "kept" for s in t["step"].to_pylist()]),
    )


def _count_wrongly(data: Path) -> None:
    _edit_json(data / "_runs/records/small/00001.json", lambda r: r["steps"]["dedup.exact"]["counts"].update(rows_in=7))


def _leave_a_compaction(data: Path) -> None:
    (data / "_runs/compact/00001").mkdir(parents=True)
    (data / "_runs/compact/00001/samples.parquet").write_bytes(b"PAR1")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped byte": (_flip_a_byte, r"samples/00001.parquet: has \d+ bytes with SHA-256 \w+, dataset.json says"),
    "a cut layer": (_cut_a_layer, r"hashes/00001.parquet: has"),
    "a missing layer": (lambda d: (d / "hashes/00002.parquet").unlink(), r"hashes/00002.parquet: is not there"),
    "swapped shards": (_swap_two_shards, r"hashes/00002.parquet: has"),
    "a misaligned layer": (_misalign_a_layer, r"hashes/00001.parquet: row 0 has key '.+', samples has '.+' there"),
    "a lost row": (_lose_a_kept_row, r"samples/00001.parquet: row 0 has key '.+', the ledger has '.+' there"),
    "a key taken twice": (_take_a_key_twice, r"samples/00001.parquet: key '.+' is taken, shard 00000 has it"),
    "a ledger piece that is gone": (
        lambda d: (d / "_runs/ledger/small/read.digits/00003.parquet").unlink(),
        r"_runs/ledger/small/read.digits/00003.parquet: is not there",
    ),
    "a ledger piece that is no Parquet": (
        lambda d: (d / "_runs/ledger/small/read.digits/00003.parquet").write_bytes(b"PAR1PAR1"),
        r"_runs/ledger/small/read.digits/00003.parquet: cannot be read",
    ),
    "a lost dropped row of the ledger": (_lose_a_dropped_ledger_row, r"step filter.where: dropped is \d+, the ledger"),
    "a lost kept row of the ledger": (
        lambda d: _lose_a_kept_ledger_row(d, 0),
        r"00001.json: step filter.where: rows_in is \d+, the ledger",
    ),
    "a lost row that a generator made": (
        lambda d: _lose_a_kept_ledger_row(d, -1),
        r"step generate.tiles made \d+ rows, but \d+ came from it",
    ),
    "a changed reason": (_change_a_reason, r"read.digits/00001.parquet: step filter.where: the removed rows"),
    "a changed outcome": (_change_an_outcome, r"step filter.where: failed is 0, the ledger"),
    "a wrong count": (_count_wrongly, r"00001.json: step dedup.exact: rows_in is 7, the ledger"),
    "a record that is gone": (
        lambda d: (d / "_runs/records/small/00004.json").unlink(),
        r"_runs/records/small/00004.json: is not there, dataset.json has this shard",
    ),
    "a record of no shard": (
        lambda d: shutil.copy(d / "_runs/records/small/00004.json", d / "_runs/records/small/00009.json"),
        r"_runs/records/small/00009.json: is there, dataset.json has no such shard",
    ),
    "a wrong number of rows": (
        lambda d: _edit_json(d / "dataset.json", lambda raw: raw.update(rows=1)),
        r"dataset.json: rows is 1, its shards have \d+",
    ),
    "a wrong number of kept rows": (
        lambda d: _edit_json(d / "dataset.json", lambda raw: raw.update(kept=1)),
        r"dataset.json: kept is 1, its shards keep \d+",
    ),
    "a shard that is not listed": (
        lambda d: _edit_json(d / "dataset.json", lambda raw: raw["shards"].pop()),
        r"samples/00005.parquet: does not belong to the dataset",
    ),
    "a half-written file": (
        lambda d: (d / "hashes/.tmp-1-00001.parquet").write_bytes(b"PAR1"),
        r"hashes/.tmp-1-00001.parquet: was half written",
    ),
    "an unfinished compaction": (_leave_a_compaction, r"_runs/compact/00001: is an unfinished compaction"),
    "a writer that died": (
        lambda d: (d / "_runs/lease.json").write_text("{}"),
        r"_runs/lease.json: a run is writing",
    ),
    "a foreign file in a layer": (
        lambda d: (d / "samples/notes.txt").write_text("x"),
        r"samples/notes.txt: does not belong",
    ),
    "a foreign folder": (
        lambda d: ((d / "extra").mkdir(), (d / "extra/00000.parquet").write_bytes(b"")),
        r"extra/00000.parquet: does not belong",
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_named(what: str, compacted: Path, tmp_path: Path) -> None:
    damage, expected = DAMAGE[what]
    copy = Path(shutil.copytree(compacted, tmp_path / "copy"))
    damage(copy)
    found = verify(str(copy))
    assert any(re.search(expected, line) for line in found), found


def test_a_verdict_that_the_ledger_does_not_know_is_named(judged: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(judged, tmp_path / "copy"))

    def edit(table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        kept = next(row for row in rows if row["outcome"] == "kept")
        dropped = next(row for row in rows if row["pipeline"] == "adds")
        kept |= {"outcome": "dropped", "pipeline": "adds", "step": "filter.where", "reason": "because"}
        dropped |= {"outcome": "kept", "pipeline": None, "step": None, "reason": None}
        return pa.Table.from_pylist(rows, schema=table.schema)

    _forge(copy, "verdicts", edit, pipeline="adds")
    found = verify(str(copy))
    assert any("is dropped by filter.where: because, but the ledger has no such row" in line for line in found), found
    assert any("is kept, but filter.where of adds has dropped it" in line for line in found), found


def test_a_pipeline_that_has_begun_to_add_and_not_ended_is_named(judged: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(judged, tmp_path / "copy"))
    shutil.copytree(copy / "_runs/records/adds", copy / "_runs/records/later")
    assert verify(str(copy)) == ["_runs/records/later: is of a run that has not ended; run that pipeline again"]


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="is no dataset"):
        verify(str(tmp_path))
