"""LitData: optimized chunks of JPEGs, which it decodes itself with torchvision into the tensors that are cropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import litdata
import torch
from epochs import BATCH_SIZE, CROP_AND_FLIP, Batches, answer


def sample(labelled: tuple[int, str]) -> dict[str, Any]:
    label, path = labelled
    return {"image": litdata.Jpeg(path=path), "label": label}


def write(files: list[Path], folder: Path) -> None:
    inputs = [(label, str(file)) for label, file in enumerate(files)]
    litdata.optimize(fn=sample, inputs=inputs, output_dir=str(folder), num_workers=1, chunk_bytes="64MB")


def crop(sample: dict[str, Any]) -> tuple[torch.Tensor, int]:
    return CROP_AND_FLIP(sample["image"]), sample["label"]


def batches(folder: Path) -> Batches:
    dataset = litdata.StreamingDataset(str(folder), shuffle=True, transform=crop)
    return litdata.StreamingDataLoader(dataset, batch_size=BATCH_SIZE, num_workers=0)  # type: ignore[no-any-return]


if __name__ == "__main__":
    answer(write, batches)
