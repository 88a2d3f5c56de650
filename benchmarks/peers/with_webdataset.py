"""WebDataset as its examples train on ImageNet: tar files of JPEGs, decoded by Pillow, batched by the dataset."""

from __future__ import annotations

from pathlib import Path

import webdataset as wds
from epochs import BATCH_SIZE, PILLOW_TO_CROPS, SHUFFLED, Batches, answer


def write(files: list[Path], folder: Path) -> None:
    folder.mkdir()
    with wds.ShardWriter(str(folder / "%06d.tar")) as shards:
        for label, file in enumerate(files):
            shards.write({"__key__": file.stem, "jpg": file.read_bytes(), "cls": label})


def batches(folder: Path) -> Batches:
    dataset = wds.WebDataset(sorted(map(str, folder.glob("*.tar"))), shardshuffle=100).shuffle(SHUFFLED).decode("pil")
    dataset = dataset.to_tuple("jpg", "cls").map_tuple(PILLOW_TO_CROPS, int).batched(BATCH_SIZE)
    return wds.WebLoader(dataset, batch_size=None, num_workers=0)  # type: ignore[no-any-return]


if __name__ == "__main__":
    answer(write, batches)
