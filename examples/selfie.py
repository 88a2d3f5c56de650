"""Which of the hidden patches belongs here? The others are the distractors (Trinh et al. 2019, *Selfie*).

python examples/selfie.py [folder]

Patches come from stored views; which are hidden, and which of them is asked for, follows from (seed, key, epoch).
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

SIDE, PATCH, BATCH, HIDDEN = 16, 4, 32, 4
GRID = SIDE // PATCH
DIGITS = {"op": "filter.where", "sql": "split = 'calibration'"}
VIEWS = {"size_px": SIDE, "random_resized_crop": {"scale": [0.5, 1.0]}}


class Selfie(nn.Module):
    """A patch network, attention over the patches that are seen, and a query for each hidden place."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.patch = nn.Sequential(nn.Linear(3 * PATCH**2, width), nn.ReLU(), nn.Linear(width, width))
        self.places = nn.Parameter(0.02 * torch.randn(GRID**2, width))
        self.attend = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
        self.query = nn.TransformerDecoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)

    def forward(self, patches: Tensor, order: Tensor) -> Tensor:
        """Return how well each hidden patch fits each hidden place: (images x hidden, hidden)."""
        at = torch.arange(len(patches))[:, None]
        hidden, seen = order[:, :HIDDEN], order[:, HIDDEN:]
        found = self.patch(patches)
        context = self.attend(found[at, seen] + self.places[seen])
        wanted = self.query(self.places[hidden], context)
        fits: Tensor = wanted @ found[at, hidden].transpose(1, 2) / found.shape[2] ** 0.5
        return fits.flatten(0, 1)


def main(folder: str, steps: int = 250) -> list[float]:
    """Build a dataset of views, train on it, and return the loss of every step."""
    made = [DIGITS, {"op": "reinforce", "draws": 8, "augment": VIEWS}]
    run = reinforced.run({"name": "views", "out": folder, "source": {"op": "read.digits"}, "steps": made})
    reader = ViewReader(run.dataset, {"reinforced": 1})
    torch.manual_seed(0)
    network, losses = Selfie(), []
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    answer = torch.arange(HIDDEN).repeat(BATCH)
    for epoch in range(-(-steps // (len(reader) // BATCH))):
        images = reader.images(epoch)
        for batch in zip(*[images] * BATCH, strict=False):
            pixels = torch.from_numpy(np.stack([image.views[0].sample.pixels for image in batch])).float() / 127.5 - 1
            patches = pixels.unfold(1, PATCH, PATCH).unfold(2, PATCH, PATCH).reshape(BATCH, GRID**2, -1)
            words = counter.words(0, "selfie.hidden", [image.key for image in batch], [epoch], GRID**2)[:, 0]
            loss = nn.functional.cross_entropy(network(patches, torch.from_numpy(words.argsort(axis=1))), answer)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
    return losses[:steps]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        losses = main(sys.argv[1] if len(sys.argv) > 1 else str(Path(temporary) / "views"))
    print(f"cross-entropy of {HIDDEN} patches: {losses[0]:.3f} at first, {np.mean(losses[-10:]):.3f} at last")
