"""Pixels that show the same place should look the same in two views (Xie et al. 2020, *Propagate Yourself*, PixPro).

python examples/pixpro.py [folder]

The stored crop boxes and flips say where in the image each cell of a view's feature map lies; near cells are pairs.
"""

from __future__ import annotations

import copy
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sklearn.datasets
import torch
from torch import Tensor, nn

import reinforced
from reinforced.view_reader import View, ViewReader

SIDE, GRID, BATCH, THRESHOLD, MOMENTUM = 32, 8, 8, 0.7, 0.95
VIEWS = {"size_px": SIDE, "random_resized_crop": {"scale": [0.2, 1.0]}, "horizontal_flip": {}, "colour_jitter": {}}


def cells(views: Sequence[View]) -> tuple[Tensor, Tensor]:
    """Return the centres of feature cells in px of the image, (n, cells, 2), and the diagonal of a cell, (n,)."""
    box = torch.tensor([[float(v.parameters[f"crop_{name}"]) for name in ("x", "y", "width", "height")] for v in views])
    flip = torch.tensor([bool(view.parameters["flip"]) for view in views])
    middle = (torch.arange(GRID) + 0.5) / GRID
    across = torch.where(flip[:, None], 1 - middle, middle) * box[:, 2:3] + box[:, 0:1]
    down = middle * box[:, 3:4] + box[:, 1:2]
    y, x = down[:, :, None].expand(-1, -1, GRID), across[:, None, :].expand(-1, GRID, -1)
    return torch.stack([x, y], dim=-1).flatten(1, 2), box[:, 2:].norm(dim=1) / GRID


def positives(one: Sequence[View], other: Sequence[View]) -> Tensor:
    """Return which cells of two views lie nearer than 0.7 of the larger cell's diagonal: bool (n, cells, cells)."""
    (here, own), (there, its) = cells(one), cells(other)
    return torch.cdist(here, there) / torch.maximum(own, its)[:, None, None] < THRESHOLD


class Encoder(nn.Module):
    """Feature maps with every cell's vector of length 1, (n, cells, width)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        first, second = nn.Conv2d(3, width, 3, stride=2, padding=1), nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.layers = nn.Sequential(first, nn.BatchNorm2d(width), nn.ReLU(), second, nn.BatchNorm2d(width))

    def forward(self, views: Sequence[View]) -> Tensor:
        pixels = torch.from_numpy(np.stack([view.sample.pixels for view in views])).permute(0, 3, 1, 2)
        return nn.functional.normalize(self.layers(pixels / 127.5 - 1).flatten(2).transpose(1, 2), dim=2)


def propagated(features: Tensor, transform: nn.Module) -> Tensor:
    """Give each cell what is like it in the whole view: PixPro's pixel propagation."""
    likeness = (features @ features.transpose(1, 2)).clamp(min=0) ** 2
    return nn.functional.normalize(likeness @ transform(features), dim=2)


def main(folder: str, steps: int = 60) -> list[float]:
    """Build a dataset of views of 48 tiles of two photos, train on it, and return the loss of every step."""
    tiles = {"op": "generate.tiles", "rows": 4, "columns": 6}
    source = {"op": "read.images", "path": str(Path(sklearn.datasets.__file__).parent / "images")}
    made = [tiles, {"op": "reinforce", "draws": 8, "augment": VIEWS}]
    reader = ViewReader(
        reinforced.run({"name": "views", "out": folder, "source": source, "steps": made}).dataset, {"reinforced": 2}
    )
    torch.manual_seed(0)
    encoder, transform, losses = Encoder(), nn.Linear(32, 32), []
    target = copy.deepcopy(encoder).requires_grad_(False)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *transform.parameters()], lr=2e-3)
    for epoch in range(-(-steps // (len(reader) // BATCH))):
        images = reader.images(epoch)
        for batch in zip(*[images] * BATCH, strict=False):
            first, second = ([image.views[i] for image in batch] for i in range(2))
            near, loss = positives(first, second), torch.zeros(())
            for one, other, pairs in ((first, second, near), (second, first, near.transpose(1, 2))):
                alike = propagated(encoder(one), transform) @ target(other).transpose(1, 2)
                loss = loss - alike[pairs].mean() / 2
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            for slow, fast in zip(target.parameters(), encoder.parameters(), strict=True):
                slow.lerp_(fast.detach(), 1 - MOMENTUM)
            losses.append(loss.item())
    return losses[:steps]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        losses = main(sys.argv[1] if len(sys.argv) > 1 else str(Path(temporary) / "views"))
    print(f"minus the cosine of pairs: {losses[0]:.3f} at first, {np.mean(losses[-10:]):.3f} at last")
