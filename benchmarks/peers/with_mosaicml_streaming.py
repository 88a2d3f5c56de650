"""MosaicML Streaming: MDS shards with a column of JPEGs and its dataset for ImageNet, which decodes with Pillow."""

from __future__ import annotations

from pathlib import Path

from epochs import BATCH_SIZE, PILLOW_TO_CROPS, Batches, answer
from PIL import Image
from streaming import MDSWriter, StreamingDataLoader
from streaming.vision import StreamingImageNet


def write(files: list[Path], folder: Path) -> None:
    with MDSWriter(out=str(folder), columns={"x": "jpeg", "y": "int"}) as shards:
        for label, file in enumerate(files):
            shards.write({"x": Image.open(file), "y": label})  # it keeps the bytes of a picture read from a file


def batches(folder: Path) -> Batches:
    one_node = {"num_canonical_nodes": 1}  # the default, 64, repeats photographs until 64 nodes had equal parts
    dataset = StreamingImageNet(
        local=str(folder), batch_size=BATCH_SIZE, shuffle=True, transform=PILLOW_TO_CROPS, **one_node
    )
    return StreamingDataLoader(dataset, batch_size=BATCH_SIZE, num_workers=0)  # type: ignore[no-any-return]


if __name__ == "__main__":
    answer(write, batches)
