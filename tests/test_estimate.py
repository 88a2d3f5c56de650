from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import reinforced
from reinforced.cli import main
from reinforced.errors import RequestError
from reinforced.estimate import estimate
from reinforced.memory import row_bytes
from reinforced.plan import plan

TEACHER = {"factory": "reinforced.models.mlp", "arguments": {"inputs": 192}}
REINFORCE: dict[str, Any] = {
    "op": "reinforce",
    "draws": 40,
    "top_k": 4,
    "augment": {"size_px": 8, "random_resized_crop": {}, "rand_augment": {}},
    "teachers": [TEACHER],
}


def pipeline(out: Path, *steps: dict[str, Any], **source: Any) -> dict[str, Any]:
    return {"name": "digits", "out": str(out), "source": {"op": "read.digits"} | source, "steps": list(steps)}


def test_the_layers_size_is_foretold(tmp_path: Path) -> None:
    spec = pipeline(tmp_path / "out", REINFORCE)
    (found,) = estimate(plan(spec))
    assert (found.rows, found.rows_known, found.views) == (1797, True, 1797 * 40)
    assert not (tmp_path / "out").exists()
    dataset = reinforced.run(spec).dataset
    made = sum(info.files["reinforced"][0] for info in dataset.shards)
    assert 0.5 * made < found.layer_bytes < 2 * made
    assert found.device == "cpu" and found.gpu_hours == 0
    assert found.cpu_hours == pytest.approx(found.views * found.seconds_per_view / 3600)


def test_a_pipeline_without_draws_has_nothing_to_measure(tmp_path: Path) -> None:
    assert estimate(plan(pipeline(tmp_path / "out", {"op": "filter.image", "min_side_px": 4}))) == []


def test_plan_measures_only_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(pipeline(tmp_path / "out", REINFORCE | {"draws": 2})))
    assert main(["plan", str(path), "--json"]) == 0
    assert "estimates" not in json.loads(capsys.readouterr().out)
    assert main(["plan", str(path), "--json", "--measure"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["estimates"]
    assert found["step"] == "reinforce" and found["views"] == 2 * 1797 and found["cpu_hours"] > 0
    assert main(["plan", str(path), "--measure"]) == 0
    assert "CPU-hours" in capsys.readouterr().out


def test_shards_of_unknown_length_are_said_to_be_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan(pipeline(tmp_path / "out", REINFORCE, shard_rows=500))
    monkeypatch.setattr(type(made.source.operator), "rows_of", lambda self, shard: None)
    (found,) = estimate(made)
    assert (found.rows, found.rows_known) == (2000, False)


@pytest.mark.parametrize("memory", ["100MiB", None])
def test_draws_that_would_not_fit_into_memory_are_refused_with_the_numbers(tmp_path: Path, memory: str | None) -> None:
    step = REINFORCE | {"draws": 65_535, "resources": {"memory": memory}}
    shard_rows = 1797 if memory else 100_000_000
    with pytest.raises(RequestError, match=r"65,535 draws of [\d,]+ rows a shard .* more than .* lower draws or top_k"):
        plan(pipeline(tmp_path / "out", step, shard_rows=shard_rows))
    plan(pipeline(tmp_path / "out", REINFORCE | {"resources": {"memory": memory}}, shard_rows=300))


def test_a_rows_bytes_are_those_arrow_takes() -> None:
    schema = pa.schema([("a", pa.uint16()), ("b", pa.list_(pa.uint16(), 5)), ("c", pa.bool_()), ("d", pa.float32())])
    assert row_bytes(schema) == 2 + 10 + 1 + 4
