"""Whatever is changed in a pipeline and wherever a run is stopped, the next one ends as if nothing had been there."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from photos import layer_bytes, make_photos, pipeline

from reinforced.run import run
from reinforced.storage import Storage
from reinforced.verify import verify


class Crash(BaseException):
    """Stands for the end of the process: nothing of ours catches it."""


@contextmanager
def crash_after(changes: int) -> Iterator[None]:
    """Stop the run at the given change to the disk: the file is written (or moved, removed), then all ends."""
    left = [changes]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("write", "move", "remove"):
            real = getattr(Storage, name)

            @functools.wraps(real)
            def counted(self: Storage, *args: Any, real: Any = real) -> Any:
                result = real(self, *args)
                if "lease" not in args[0]:
                    left[0] -= 1
                    if left[0] == 0:
                        raise Crash
                return result

            patch.setattr(Storage, name, counted)
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    make_photos(folder, 40)
    return folder


def grouping(photos: Path, out: Path) -> dict[str, Any]:
    """Return the pipeline with a global step that writes a layer, and a step that reads it."""
    spec = pipeline(photos, out)
    groups, reads = {"op": "engine_operators.Groups"}, {"op": "engine_operators.ReadsGroups"}
    return spec | {"steps": [*spec["steps"][:4], groups, reads, *spec["steps"][4:]]}


def variant(
    photos: Path, out: Path, side: int, factor: int, by: str, groups: int, one_in: int, draws: int, steps: int
) -> Any:
    """Return the pipeline with these parameters and the steps whose bit is set."""
    spec = grouping(photos, out)
    parameters: list[dict[str, Any]] = [
        {"min_side_px": side},
        {"factor": factor},
        {},
        {"by": by},
        {"groups": groups},
        {},
        {"one_in": one_in},
        {"draws": draws},
    ]
    changed = [step | more for step, more in zip(spec["steps"], parameters, strict=True)]
    return spec | {"steps": [step for i, step in enumerate(changed) if steps >> i & 1]}


VARIANTS = st.tuples(
    st.sampled_from([8, 49]),
    st.sampled_from([1, 2]),
    st.sampled_from(["bytes", "pixels"]),
    st.sampled_from([7, 50, 10**9]),
    st.sampled_from([2, 7, 10**9]),
    st.sampled_from([1, 3]),
    st.sampled_from([0xFF, 0b11111101, 0b11110111, 0b10111111, 0b01111111, 0b11111011, 0b11001111, 0b11011111]),
)


# A failing history is said as it was found: to shrink it, each of many shorter ones would run several pipelines.
@settings(max_examples=int(os.environ.get("HISTORIES", "15")), deadline=None, phases=[Phase.explicit, Phase.generate])
@given(history=st.lists(st.tuples(VARIANTS, st.integers(1, 60)), min_size=1, max_size=3), last=VARIANTS)
def test_after_any_history_of_changes_and_crashes_a_run_ends_in_the_bytes_of_one_from_nothing(
    photos: Path, history: list[tuple[Any, int]], last: Any
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out, fresh = Path(folder, "out"), Path(folder, "fresh")
        for values, changes in history:
            with contextlib.suppress(Crash), crash_after(changes):
                run(variant(photos, out, *values), workers=1)
        run(variant(photos, out, *last), workers=1)
        run(variant(photos, fresh, *last), workers=1)
        assert layer_bytes(out) == layer_bytes(fresh)
        assert verify(str(out)) == []


def test_a_crash_at_every_single_change_to_the_disk_is_mended_by_the_next_run(photos: Path, tmp_path: Path) -> None:
    run(grouping(photos, tmp_path / "fresh"), workers=1)
    expected = layer_bytes(tmp_path / "fresh")
    for changes in range(1, 200):
        out = tmp_path / "out"
        with crash_after(changes):
            try:
                run(grouping(photos, out), workers=1)
                break
            except Crash:
                pass
        run(grouping(photos, out), workers=1)
        assert layer_bytes(out) == expected, f"after a crash at change {changes}"
        shutil.rmtree(out)
    assert 15 < changes < 199, "the run has fewer changes than this"
