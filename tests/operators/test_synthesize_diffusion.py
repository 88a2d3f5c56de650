from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore")  # diffusers and peft warn of each other's versions

from tiny_diffusion import make_adapter, make_pipeline  # noqa: E402

from reinforced.errors import RequestError  # noqa: E402
from reinforced.images import decode  # noqa: E402
from reinforced.operators.synthesize.diffusion import SynthesizeDiffusion  # noqa: E402


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pipeline(tmp_path_factory.mktemp("diffusion") / "pipeline")


def source(pipeline: Path, **parameters: Any) -> SynthesizeDiffusion:
    chosen = {"pipeline": str(pipeline), "prompts": ["a cat", "a dog"], "instances": 2, "steps": 2}
    return SynthesizeDiffusion.model_validate({**chosen, "width_px": 16, "height_px": 24, **parameters})


def read(one: SynthesizeDiffusion) -> list[dict[str, Any]]:
    one.columns()
    return pa.concat_tables([one.read(shard) for shard in one.shards()]).to_pylist()


def test_every_image_has_its_prompt_a_seed_of_its_own_and_the_hash_of_the_weights(pipeline: Path) -> None:
    rows = read(source(pipeline))
    assert [row["key"] for row in rows] == ["00000/000000", "00000/000001", "00001/000000", "00001/000001"]
    assert [row["prompt"] for row in rows] == ["a cat"] * 2 + ["a dog"] * 2
    assert [row["label"] for row in rows] == [0, 0, 1, 1]
    assert len({row["diffusion_seed"] for row in rows}) == len({row["image"] for row in rows}) == 4
    assert {row["checkpoint_sha256"] for row in rows} == {source(pipeline).ingredients()["checkpoint"]}
    assert {decode(row["image"]).shape for row in rows} == {(24, 16, 3)}
    assert read(source(pipeline, shard_rows=1)) == rows


def test_an_adapter_changes_images_and_hash(pipeline: Path, tmp_path: Path) -> None:
    adapter = make_adapter(pipeline, tmp_path / "lora.safetensors")
    plain, adapted = read(source(pipeline, instances=1)), read(source(pipeline, instances=1, adapter=str(adapter)))
    for before, after in zip(plain, adapted, strict=True):
        assert before["diffusion_seed"] == after["diffusion_seed"]
        assert before["image"] != after["image"]
        assert before["checkpoint_sha256"] != after["checkpoint_sha256"]


def test_prompts_come_from_a_column(pipeline: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"caption": ["a cat", None, "a dog"]}), tmp_path / "captions.parquet")
    column = {"path": str(tmp_path / "captions.parquet"), "column": "caption"}
    assert read(source(pipeline, prompts=column)) == read(source(pipeline))
    with pytest.raises(RequestError, match="no column 'text'"):
        source(pipeline, prompts=column | {"column": "text"}).columns()


def test_a_folder_that_is_no_pipeline_is_refused_in_the_plan(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"has no model_index.json"):
        source(tmp_path).columns()
