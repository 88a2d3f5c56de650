"""The embedded engine: workers it cannot have are refused, and what a worker cannot do is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from photos import layer_bytes, make_photos, pipeline

from reinforced.errors import RequestError, RunError
from reinforced.run import run


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    make_photos(folder, 60)
    return folder


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ({"cpus": 4096}, "Draws needs 4096 CPU cores a worker, this machine has .*: --engine ray --address ADDRESS"),
        (
            {"gpus": 512},
            "Draws needs 512 GPUs a worker, this machine has .* set resources.gpus=0 to run it on CPU cores",
        ),
    ],
)
def test_what_this_machine_has_not_is_refused_before_anything_is_made(
    photos: Path, tmp_path: Path, resources: dict[str, Any], said: str
) -> None:
    spec = pipeline(photos, tmp_path / "out")
    spec["steps"][5] = spec["steps"][5] | {"resources": resources}
    with pytest.raises(RequestError, match=said):
        run(spec)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"workers": 0}, "workers is 0; it must be at least 1"),
        ({"engine": "spark"}, "engine 'spark' is unknown"),
        ({"address": "auto"}, "an address is that of a Ray cluster: add engine ray"),
    ],
)
def test_wrong_options_are_refused(photos: Path, tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        run(pipeline(photos, tmp_path / "out"), **options)
    assert not (tmp_path / "out").exists()


def test_a_script_without_a_main_guard_runs_with_workers_once(photos: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    spec = pipeline(photos, tmp_path / "out")
    script.write_text(
        f"print('started')\nfrom reinforced.run import run\nprint(len(run({spec!r}, workers=2).dataset))\n"
    )
    paths = ":".join(path for path in sys.path if path)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env={"PYTHONPATH": paths})
    assert done.stdout.splitlines()[0] == "started" and len(done.stdout.splitlines()) == 2, done.stderr
    run(pipeline(photos, tmp_path / "alone"), workers=1)
    assert layer_bytes(tmp_path / "out") == layer_bytes(tmp_path / "alone")


def test_an_error_of_a_worker_names_shard_and_step(photos: Path, tmp_path: Path) -> None:
    spec = pipeline(photos, tmp_path / "out", steps=[{"op": "engine_operators.NoWeights"}])
    with pytest.raises(RunError, match=r"shard 0000\d at engine_operators.NoWeights: FileNotFoundError: weights.safe"):
        run(spec, workers=2)
