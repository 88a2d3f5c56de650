"""Runs that are killed at random points and resumed end in the bytes of a run that was left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from photos import layer_bytes, make_photos, pipeline

from reinforced.errors import RequestError, RunError
from reinforced.run import run
from reinforced.verify import verify

SCRIPT = """
import json, sys
from reinforced.run import run
run(json.loads(sys.argv[1]), engine=sys.argv[2], workers=2)
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    make_photos(folder, 300)
    return folder


@pytest.fixture(scope="module")
def expected(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("reference")
    run(slow(photos, out, 0.0), workers=1)
    return layer_bytes(out)


def slow(photos: Path, out: Path, seconds: float, **changes: Any) -> dict[str, Any]:
    spec = pipeline(photos, out, **changes)
    spec["steps"][1] = {"op": "engine_operators.Slow", "seconds": seconds}
    return spec


def start(spec: dict[str, Any], engine: str) -> subprocess.Popen[bytes]:
    environment = {"PYTHONPATH": ":".join(p for p in sys.path if p)}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, json.dumps(spec), engine],
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_until_done(spec: dict[str, Any], engine: str, out: Path, longest_s: float, seed: int) -> int:
    """Kill the driver again and again, each time a little later at random, until a run gets through."""
    chance = random.Random(seed)
    for attempt in range(40):
        driver = start(spec, engine)
        delay = chance.uniform(0.3, longest_s) * (1 + attempt / 8)
        try:
            assert driver.wait(timeout=delay) == 0
            return attempt
        except subprocess.TimeoutExpired:
            driver.send_signal(signal.SIGKILL)
            driver.wait()
    raise AssertionError("no run got through")


@pytest.mark.parametrize("seed", range(2))
def test_a_driver_killed_at_random_points_resumes_to_the_same_bytes(
    photos: Path, expected: dict[str, bytes], tmp_path: Path, seed: int
) -> None:
    out = tmp_path / "out"
    kills = kill_until_done(slow(photos, out, 0.05), "local", out, 1.6, seed)
    run(slow(photos, out, 0.05), workers=1)
    assert kills > 0
    assert layer_bytes(out) == expected
    assert verify(str(out)) == []


def test_workers_killed_at_random_points_are_replaced_and_change_no_byte(
    photos: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    driver = start(slow(photos, out, 0.1), "local")
    chance, killed = random.Random(1), 0
    while driver.poll() is None and killed < 2:
        time.sleep(chance.uniform(0.5, 1.0))
        try:
            workers = psutil.Process(driver.pid).children()
        except psutil.NoSuchProcess:
            break
        if workers:
            chance.choice(workers).kill()
            killed += 1
    assert driver.wait(timeout=100) == 0
    assert killed > 0 and layer_bytes(out) == expected


def test_a_shard_that_is_deadly_once_is_done_by_another_worker(photos: Path, tmp_path: Path) -> None:
    keys = ["temple/00100", "flower/00033"]
    steps = [{"op": "engine_operators.Kills", "keys": keys, "marker": str(tmp_path)}]
    result = run(pipeline(photos, tmp_path / "out", steps=steps), workers=2)
    assert len(result.dataset) == 300
    assert all((tmp_path / key.replace("/", "_")).exists() for key in keys)


def test_a_shard_that_always_kills_its_worker_stops_the_run_by_name_and_keeps_the_others(
    photos: Path, tmp_path: Path
) -> None:
    steps = [{"op": "engine_operators.Kills", "keys": ["flower/00001"]}]
    spec = pipeline(photos, tmp_path / "out", steps=steps)
    with pytest.raises(RunError, match=r"shard 00000 took its worker down 3 times at engine_operators.Kills .signal 9"):
        run(spec, workers=2)
    done = list((tmp_path / "out" / "_runs" / "records" / "photos").iterdir())
    assert len(done) >= 2 and not any(path.name == "00000.json" for path in done)


def test_a_second_writer_is_refused_while_the_first_lives_and_not_after_its_death(
    photos: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = start(slow(photos, out, 0.3), "local")
    while not (out / "_runs" / "lease.json").exists():
        assert first.poll() is None
        time.sleep(0.02)
    with pytest.raises(RequestError, match=f"is being written by process {first.pid}"):
        run(slow(photos, out, 0.3), workers=1)
    first.kill()
    first.wait()
    run(slow(photos, out, 0.0), workers=1)
    assert layer_bytes(out) == expected


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
def test_a_ray_driver_killed_at_random_points_resumes_to_the_same_bytes(
    photos: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    kills = kill_until_done(slow(photos, out, 0.3), "ray", out, 14.0, 5)
    assert kills > 0 and layer_bytes(out) == expected
    assert verify(str(out)) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
def test_a_ray_node_killed_in_the_middle_costs_no_row_and_no_byte(
    photos: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    import ray
    from ray.cluster_utils import Cluster

    out = tmp_path / "out"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    result: list[Any] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            result.append(run(slow(photos, out, 1.0), engine="ray", address=cluster.address))
        except BaseException as error:
            failure.append(error)

    try:
        thread = threading.Thread(target=work)
        thread.start()
        records = out / "_runs" / "records" / "photos"
        while not (records.exists() and list(records.iterdir())) and thread.is_alive():
            time.sleep(0.2)
        cluster.remove_node(nodes[0], allow_graceful=False)
        thread.join(timeout=400)
        assert not failure and result, failure
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert layer_bytes(out) == expected
