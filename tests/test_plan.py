"""What a plan says: columns from end to end, segments, and which steps a change makes stale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reinforced
from reinforced.errors import RequestError
from reinforced.flow import fits
from reinforced.plan import plan

DIGITS = {"op": "read.digits"}


def _pipeline(*steps: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {"name": "a", "out": "a", "source": DIGITS, "steps": list(steps)} | keys


def test_segments_fuse_steps_of_the_same_needs_and_global_steps_stand_alone() -> None:
    made = plan(
        _pipeline(
            {"op": "filter.image"},
            {"op": "filter.where", "sql": "label > 1"},
            {"op": "dedup.exact"},
            {"op": "hash.pixels"},
            {"op": "filter.image", "resources": {"cpus": 2}},
        )
    )
    names = [[step.name for step in segment.steps] for segment in made.segments]
    assert names == [["filter.image", "filter.where"], ["dedup.exact"], ["hash.pixels"], ["filter.image#2"]]
    assert made.segments[1].global_step is not None
    assert made.segments[3].resources.cpus == 2


def test_a_plan_names_the_layer_and_the_provider_of_every_column() -> None:
    made = plan(_pipeline({"op": "hash.pixels"}, {"op": "filter.where", "sql": "pixel_sha256 > 'a' AND width > 2"}))
    assert made.layers.keys() == {"samples", "hashes"}
    assert made.layers["hashes"][1].names == ["key", "pixel_sha256"]
    assert made.reads["filter.where"] == ("pixel_sha256", "width")
    assert set(made.providers["filter.where"]) == {"hash.pixels", "read.digits"}
    assert made.column_layers["pixel_sha256"] == "hashes"


def test_a_change_of_parameters_changes_the_identity_of_that_step_alone_and_resources_change_none() -> None:
    filter_image, hashes = {"op": "filter.image", "min_std": 1}, {"op": "hash.pixels"}
    before = plan(_pipeline(filter_image, hashes)).identities
    changed = plan(_pipeline(filter_image | {"min_std": 2}, hashes)).identities
    moved = plan(_pipeline(filter_image | {"resources": {"cpus": 2}}, hashes)).identities
    assert [name for name in before if before[name] != changed[name]] == ["filter.image"]
    assert moved == before


def test_a_column_of_a_type_that_does_not_fit_is_refused_with_both_types(tmp_path: Path) -> None:
    table = pa.table({"key": ["a"], "image": pa.array([b"x"], pa.binary()), "label": ["cat"], "split": ["test"]})
    pq.write_table(table, tmp_path / "x.parquet")
    source, sink = {"op": "read.parquet", "path": str(tmp_path / "x.parquet")}, {"op": "evaluate.student"}
    said = r"pipeline:\d: evaluate\.student reads column 'label' as int32, but read\.parquet provides it as string"
    with pytest.raises(RequestError, match=said):
        plan({"name": "a", "out": "a", "source": source, "sinks": [sink]})


def test_a_plan_starts_nothing_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reinforced.plan("quickstart", ["out=made"])
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = str(tmp_path_factory.mktemp("digits") / "data")
    return reinforced.run({"name": "builder", "out": out, "source": DIGITS, "steps": [{"op": "hash.pixels"}]}).path


def test_a_pipeline_that_adds_to_a_dataset_may_not_compact_it(digits: str) -> None:
    source = {"op": "read.dataset", "path": digits}
    with pytest.raises(RequestError, match="compact: true rewrites a dataset's shards"):
        plan({"name": "adds", "out": digits, "compact": True, "source": source})


def test_a_pipeline_that_adds_to_a_dataset_needs_a_name_of_its_own(digits: str) -> None:
    with pytest.raises(RequestError, match="'builder' is the name of the pipeline that built"):
        plan({"name": "builder", "out": digits, "source": {"op": "read.dataset", "path": digits}})


def test_a_pipeline_that_adds_to_a_dataset_may_not_write_a_layer_of_another_one(digits: str) -> None:
    steps = [{"op": "hash.pixels"}]
    with pytest.raises(RequestError, match="writes layer 'hashes', which pipeline builder writes already"):
        plan({"name": "adds", "out": digits, "source": {"op": "read.dataset", "path": digits}, "steps": steps})


def test_the_same_folder_written_another_way_is_still_the_same_dataset(digits: str) -> None:
    source = {"op": "read.dataset", "path": digits}
    assert plan({"name": "adds", "out": digits + "/", "source": source}).in_place
    assert plan({"name": "adds", "out": digits, "source": source}).in_place
    assert not plan({"name": "adds", "out": digits + "2", "source": source}).in_place


NUMBERS = [pa.int8(), pa.uint16(), pa.int32(), pa.uint64(), pa.float16(), pa.float32(), pa.float64()]
OTHERS = [pa.string(), pa.binary(), pa.bool_(), pa.list_(pa.int32())]


@given(st.sampled_from([*NUMBERS, *OTHERS]))
def test_every_type_fits_itself_and_a_reader_of_any_type(kind: pa.DataType) -> None:
    assert fits(kind, kind)
    assert fits(kind, pa.null())


@given(st.sampled_from(NUMBERS), st.sampled_from(OTHERS))
def test_numbers_never_stand_for_text_bytes_or_lists(number: pa.DataType, other: pa.DataType) -> None:
    assert not fits(number, other)
    assert not fits(other, number)


def test_fractions_do_not_stand_for_whole_numbers() -> None:
    assert fits(pa.int32(), pa.float64())
    assert not fits(pa.float64(), pa.int32())
    assert fits(pa.large_string(), pa.string())
