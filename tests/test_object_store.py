"""Datasets on an object store: a real S3 API on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from photos import layer_bytes, make_photos, pipeline

from reinforced.dataset import open_dataset
from reinforced.errors import RequestError
from reinforced.lease import Lease
from reinforced.run import run
from reinforced.storage import Storage
from reinforced.verify import verify

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        boto3.client("s3").create_bucket(Bucket="photos")
        yield "s3://photos"
    server.stop()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    make_photos(folder, 60)
    return folder


def test_a_dataset_on_s3_has_the_bytes_of_one_on_disk_and_resumes(photos: Path, bucket: str, tmp_path: Path) -> None:
    out = f"{bucket}/pets/made here"
    result = run(pipeline(photos, out), workers=2)
    local = run(pipeline(photos, tmp_path / "out"), workers=1)
    assert layer_bytes(out) == layer_bytes(tmp_path / "out")
    assert run(pipeline(photos, out), workers=1).shards_made == 0
    assert result.dataset.to_arrow().equals(local.dataset.to_arrow())
    query = "SELECT label_name, count(*) AS n FROM dataset JOIN hashed USING (shard, row) GROUP BY ALL ORDER BY ALL"
    assert result.dataset.sql(query).equals(local.dataset.sql(query))
    assert verify(out) == []


def test_a_layer_is_added_and_a_changed_step_is_made_again_on_s3(photos: Path, bucket: str, tmp_path: Path) -> None:
    out = f"{bucket}/added"
    run(pipeline(photos, out), workers=1)
    before = layer_bytes(out)
    steps = [{"op": "filter.where", "sql": "label = 1"}, {"op": "engine_operators.Draws", "into": "more"}]
    spec = {"name": "more", "out": out, "source": {"op": "read.dataset", "path": out}, "steps": steps}
    dataset = run(spec, workers=1).dataset
    assert {path: data for path, data in layer_bytes(out).items() if path in before} == before
    assert set(dataset.to_arrow().column("label").to_pylist()) == {1}
    changed = pipeline(photos, out)
    changed["steps"][4] = {"op": "engine_operators.DropHashed", "one_in": 3}
    assert "more" not in run(changed, workers=1).dataset.layers
    run(changed | {"out": str(tmp_path / "fresh")}, workers=1)
    assert layer_bytes(out) == layer_bytes(tmp_path / "fresh")


def test_one_writer_at_a_time_on_s3(bucket: str) -> None:
    storage = Storage(f"{bucket}/leased")
    with Lease(storage), pytest.raises(RequestError, match="is being written by process"), Lease(storage):
        pass
    with Lease(storage):
        assert storage.exists("_runs/lease.json")
    assert not storage.exists("_runs/lease.json")


def test_no_dataset_on_s3_is_said_in_one_line(bucket: str) -> None:
    with pytest.raises(RequestError, match=r"s3://photos/none is no dataset: it has no dataset.json"):
        open_dataset(f"{bucket}/none")


def test_some_rows_are_read_without_the_rest_of_the_file(bucket: str) -> None:
    storage = Storage(f"{bucket}/rows")
    table = pa.table({"a": np.random.default_rng(0).random(40_000), "b": range(40_000)})
    storage.write_table("t.parquet", table, row_group_size=4_000)
    (found,), rows = storage.read_rows("t.parquet", [(range(7_990, 8_030), ["a"])])
    assert found.equals(table.select(["a"]).slice(7_990, 40)) and rows == 40_000
    data = storage.read("t.parquet")
    storage.write("t.parquet", b"x" * 20_000 + data[20_000:])  # the first group
    assert storage.read_rows("t.parquet", [(range(7_990, 8_030), ["a"])])[0][0].equals(found)
    with pytest.raises(OSError):
        storage.read_rows("t.parquet", [(range(3_999, 4_001), ["a"])])
