"""This project on the same work, timed like the others: from the call of `run` to its return."""

from __future__ import annotations

from typing import Any

from job import Job, answer

import reinforced


def pipeline(job: Job) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"op": "filter.image", "min_side_px": job.min_side_px}]
    if job.task == "hash":
        steps += [{"op": "hash.pixels"}, {"op": "dedup.exact", "by": "pixels"}]
    source = {"op": "read.images", "path": str(job.images)}
    return {"name": "benchmark", "out": str(job.out / "result"), "source": source, "steps": steps}


def work(job: Job) -> None:
    reinforced.run(pipeline(job), engine="local", workers=job.workers)


if __name__ == "__main__":
    answer(work)
