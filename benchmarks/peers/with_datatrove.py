"""datatrove's local executor: one task a worker, and its own three stages of exact deduplication.

It has no reader of image files, so a pipeline function reads them. Only keys and hashes pass between the stages; the
bytes join at the end, so that none of them is written twice.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import ExactDedupFilter, ExactDedupSignature, ExactFindDedups
from datatrove.pipeline.dedup.exact_dedup import ExactDedupConfig
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter
from decoders import DECODERS, pixel_sha256
from job import Job, answer


def read_large_enough(data: Any, rank: int = 0, world_size: int = 1, *, job: Job) -> Iterator[Document]:
    decode = DECODERS[job.decoder]
    for path in sorted(job.images.glob("*.jpg"))[rank::world_size]:
        encoded = path.read_bytes()
        pixels = decode(encoded)
        if min(pixels.shape[:2]) >= job.min_side_px:
            metadata = {"image": encoded} if job.task == "filter" else {"pixel_sha256": pixel_sha256(pixels)}
            yield Document(text=str(path), id=path.stem, metadata=metadata)


def add_bytes(data: Iterator[Document], rank: int = 0, world_size: int = 1) -> Iterator[Document]:
    for document in data:
        document.metadata["image"] = Path(document.text).read_bytes()
        yield document


def content(document: Document) -> str:
    return str(document.metadata["pixel_sha256"])


def as_row(writer: ParquetWriter, document: Document) -> dict[str, Any]:
    metadata = {name: value for name, value in document.metadata.items() if name in ("image", "pixel_sha256")}
    return {"id": document.id, **metadata}


def work(job: Job) -> None:
    read = partial(read_large_enough, job=job)
    write = ParquetWriter(str(job.out / "result"), adapter=as_row)
    if job.task == "filter":
        _run(job, "filter", [read, write], job.workers)
        return
    rows, signatures, duplicates = (str(job.out / name) for name in ("rows", "signatures", "duplicates"))
    exact = ExactDedupConfig(content_getter=content)
    sign = ExactDedupSignature(signatures, exact)
    _run(job, "sign", [read, ParquetWriter(rows, expand_metadata=True), sign], job.workers)
    _run(job, "find", [ExactFindDedups(signatures, duplicates, exact, lines_to_buffer=1000)], 1)
    drop = ExactDedupFilter(duplicates, exact)
    _run(job, "drop", [ParquetReader(rows), drop, add_bytes, write], job.workers)


def _run(job: Job, name: str, steps: list[Any], tasks: int) -> None:
    LocalPipelineExecutor(steps, tasks=tasks, workers=tasks, logging_dir=str(job.out / "logs" / name)).run()


if __name__ == "__main__":
    logging.disable()
    answer(work)
