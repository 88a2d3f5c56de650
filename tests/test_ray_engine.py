"""The Ray engine on a local Ray with two cores: the same bytes, and clear errors where a plan cannot fit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from photos import layer_bytes, make_photos, pipeline

from reinforced.errors import RequestError, RunError
from reinforced.run import run

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", autouse=True)
def two_cores() -> Iterator[None]:
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    make_photos(folder, 100)
    return folder


def with_resources(photos: Path, out: Path, step: int, **resources: Any) -> dict[str, Any]:
    spec = pipeline(photos, out)
    spec["steps"][step] = spec["steps"][step] | {"resources": resources}
    return spec


def test_ray_gives_the_bytes_of_the_local_engine_and_resumes(photos: Path, tmp_path: Path) -> None:
    result = run(pipeline(photos, tmp_path / "ray"), engine="ray")
    local = run(pipeline(photos, tmp_path / "local"), workers=1)
    assert layer_bytes(tmp_path / "ray") == layer_bytes(tmp_path / "local")
    assert result.counts == local.counts
    assert run(pipeline(photos, tmp_path / "ray"), engine="ray").shards_made == 0
    assert run(pipeline(photos, tmp_path / "local"), engine="ray").shards_made == 0, "engines see each other's work"


def test_a_cpu_segment_and_a_pool_of_actors_share_two_cores_without_starving(photos: Path, tmp_path: Path) -> None:
    start = time.monotonic()
    spec = with_resources(photos, tmp_path / "out", 5, workers=[1, 8])
    spec["steps"] = [step for i, step in enumerate(spec["steps"]) if i != 3]
    assert len(run(spec, engine="ray").dataset) > 0
    assert time.monotonic() - start < 120


def test_pools_that_cannot_fit_together_are_refused_within_seconds(photos: Path, tmp_path: Path) -> None:
    spec = with_resources(photos, tmp_path / "out", 5, workers=2)
    spec["steps"] = [spec["steps"][0], spec["steps"][5]]
    start = time.monotonic()
    with pytest.raises(RequestError, match=r"the segments need 3 CPUs at the same time .* the cluster has 2: set"):
        run(spec, engine="ray")
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ({"gpus": 1}, r"Draws needs 1 GPUs a worker, the Ray cluster has 0 in all; set resources.gpus lower"),
        ({"cpus": 64}, r"Draws needs 64 CPUs a worker, the Ray cluster has 2 in all; set resources.cpus lower"),
    ],
)
def test_what_no_node_has_is_refused_before_anything_is_made(
    photos: Path, tmp_path: Path, resources: dict[str, Any], said: str
) -> None:
    with pytest.raises(RequestError, match=said):
        run(with_resources(photos, tmp_path / "out", 5, **resources), engine="ray")
    assert not (tmp_path / "out" / "samples").exists()


def test_an_error_of_a_worker_names_the_shard(photos: Path, tmp_path: Path) -> None:
    spec = pipeline(photos, tmp_path / "out", steps=[{"op": "engine_operators.NoWeights"}])
    with pytest.raises(RunError, match=r"shard 0000\d at engine_operators.NoWeights: FileNotFoundError: weights.safe"):
        run(spec, engine="ray")
