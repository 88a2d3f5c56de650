"""Fractals rendered while training: the pictures of `synthesize.fractal`, made in the workers instead of read."""

from __future__ import annotations

import operator
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as MapDataset

from reinforced import images
from reinforced.registry import find_operator
from reinforced.synthesis import Synthesis


class FractalDataset(MapDataset[tuple[Tensor, int]]):
    """The pictures of `synthesize.fractal` by index, as (uint8 (3, size, size), class), stored nowhere.

    Picture i is row i of the stored dataset with the same parameters and seed. It is rendered by the same code, in each
    DataLoader worker, which keeps the codes of the last 4,096 classes.

    as_stored: pass each picture through its encoding, so that not even JPEG's losses differ; by default the pixels are
    those before encoding. parameters: those of `synthesize.fractal`. Raises: RequestError without Numba.
    """

    def __init__(self, *, as_stored: bool = False, **parameters: Any) -> None:
        self.source = cast(Synthesis, find_operator("synthesize.fractal")(**parameters))
        self.source.columns()  # says what is missing before a worker starts
        self.as_stored = as_stored

    def __len__(self) -> int:
        return self.source.classes * self.source.instances

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        label, instance = divmod(range(len(self))[operator.index(index)], self.source.instances)
        pixels = self.source.make(label, instance).pixels
        if self.as_stored:
            pixels = images.decode(self.source.encode(pixels))
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), label
