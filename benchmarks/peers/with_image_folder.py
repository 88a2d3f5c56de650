"""Plain PyTorch: torchvision's ImageFolder on a folder a class, decoded by Pillow."""

from __future__ import annotations

import shutil
from pathlib import Path

from epochs import BATCH_SIZE, PILLOW_TO_CROPS, Batches, answer
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder


def write(files: list[Path], folder: Path) -> None:
    for file in files:
        (folder / file.stem).mkdir(parents=True)
        shutil.copy(file, folder / file.stem)


def batches(folder: Path) -> Batches:
    return DataLoader(ImageFolder(str(folder), PILLOW_TO_CROPS), batch_size=BATCH_SIZE, shuffle=True)


if __name__ == "__main__":
    answer(write, batches)
