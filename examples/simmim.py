"""Masked image modelling on stored views: paint what is hidden (Xie et al. 2021, *SimMIM*; Atito et al. 2021, *SiT*).

python examples/simmim.py [folder]

Which patches are hidden follows from (seed, key, epoch): it is stored nowhere, and every epoch hides others.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import reinforced
from reinforced import counter
from reinforced.view_reader import ViewReader

SIDE, PATCH, BATCH, HIDDEN = 16, 4, 32, 0.5
GRID = SIDE // PATCH
DIGITS = {"op": "filter.where", "sql": "split = 'calibration'"}
VIEWS = {"size_px": SIDE, "random_resized_crop": {"scale": [0.5, 1.0]}}


def simmim_mask(seed: int, keys: list[str], epoch: int) -> Tensor:
    """Hide half of the patches, each on its own: bool (images, patches)."""
    words = counter.words(seed, "simmim.mask", keys, [epoch], GRID**2)[:, 0]
    return torch.from_numpy(words.argsort(axis=1).argsort(axis=1) < HIDDEN * GRID**2)


def sit_mask(seed: int, keys: list[str], epoch: int) -> Tensor:
    """Hide boxes of connected patches until half of them are gone, as SiT does: bool (images, patches)."""
    found = np.zeros((len(keys), GRID, GRID), bool)
    boxes = counter.below(counter.words(seed, "sit.mask", keys, [epoch], 64)[:, 0], GRID).reshape(len(keys), 16, 4)
    for hidden, own in zip(found, boxes, strict=True):
        for x, y, width, height in own:
            if hidden.mean() < HIDDEN:
                hidden[y : y + 1 + height // 2, x : x + 1 + width // 2] = True
    return torch.from_numpy(found.reshape(len(keys), -1))


class Painter(nn.Module):
    """A small transformer over patches whose output is their pixels."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.embed, self.paint = nn.Linear(3 * PATCH**2, width), nn.Linear(width, 3 * PATCH**2)
        self.places = nn.Parameter(0.02 * torch.randn(GRID**2, width))
        self.hidden = nn.Parameter(torch.zeros(width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, patches: Tensor, mask: Tensor) -> Tensor:
        seen = torch.where(mask[..., None], self.hidden, self.embed(patches))
        found: Tensor = self.paint(self.layers(seen + self.places))
        return found


def main(folder: str, steps: int = 120, masks: str = "simmim") -> list[float]:
    """Build a dataset of views, train on it, and return the loss of every step."""
    reinforce = {"op": "reinforce", "draws": 4, "augment": VIEWS}
    pipeline = {"name": "views", "out": folder, "source": {"op": "read.digits"}, "steps": [DIGITS, reinforce]}
    reader = ViewReader(reinforced.run(pipeline).dataset, {"reinforced": 1})
    torch.manual_seed(0)
    painter, losses, hide = Painter(), [], {"simmim": simmim_mask, "sit": sit_mask}[masks]
    optimizer = torch.optim.AdamW(painter.parameters(), lr=2e-3)
    for epoch in range(-(-steps // (len(reader) // BATCH))):
        images = reader.images(epoch)
        for batch in zip(*[images] * BATCH, strict=False):
            pixels = torch.from_numpy(np.stack([image.views[0].sample.pixels for image in batch])).float() / 255
            patches = pixels.unfold(1, PATCH, PATCH).unfold(2, PATCH, PATCH).reshape(BATCH, GRID**2, -1)
            mask = hide(0, [image.key for image in batch], epoch)
            loss = (painter(patches, mask) - patches).abs()[mask].mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses[:steps]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        losses = main(sys.argv[1] if len(sys.argv) > 1 else str(Path(temporary) / "views"))
    print(f"mean error of hidden pixels: {losses[0]:.3f} at first, {np.mean(losses[-10:]):.3f} at last")
