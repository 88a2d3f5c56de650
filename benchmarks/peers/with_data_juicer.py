"""Data-Juicer's default executor on a recipe: its own operators where it has them, two custom ones where it has not.

Its image deduplicator compares perceptual hashes, so exact deduplication runs its document deduplicator on the hash
column. The pixels are decoded once, and the bytes join last, so that no step copies them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from job import Job, answer


def work(job: Job) -> None:
    job.out.mkdir(parents=True)
    os.environ["BENCHMARK_DECODER"] = job.decoder
    from data_juicer.config import init_configs
    from data_juicer.core import DefaultExecutor

    samples = job.out / "input.jsonl"
    paths = sorted(job.images.glob("*.jpg"))
    samples.write_text("".join(json.dumps({"text": path.stem, "images": [str(path)]}) + "\n" for path in paths))
    recipe = job.out / "recipe.json"
    recipe.write_text(json.dumps(_recipe(job, samples)))
    DefaultExecutor(init_configs(["--config", str(recipe)])).run()


def _recipe(job: Job, samples: Path) -> dict[str, Any]:
    size = {"min_width": job.min_side_px, "min_height": job.min_side_px}
    process: list[dict[str, Any]] = [{"image_shape_filter": size}]
    if job.task == "hash":
        process = [
            {"image_pixel_filter": {"min_side_px": job.min_side_px}},
            {"document_deduplicator": {"text_key": "pixel_sha256"}},
            {"image_bytes_mapper": {}},
        ]
    return {
        "dataset_path": str(samples),
        "export_path": str(job.out / "result.parquet"),
        "np": job.workers,
        "text_keys": "text",
        "use_cache": False,
        "open_monitor": False,
        "strict_preflight": False,  # it refuses a column that an earlier step adds
        "custom_operator_paths": [str(Path(__file__).with_name("data_juicer_operators.py"))],
        "process": process,
    }


if __name__ == "__main__":
    answer(work)
