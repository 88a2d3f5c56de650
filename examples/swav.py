"""Multi-crop clustering: predict the cluster of one crop from another (Caron et al. 2020, *SwAV*).

python examples/swav.py [folder]

Two layers of stored crops, large and small, are read together: two global and four local views of every image.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import reinforced
from reinforced.view_reader import ViewReader

DIGITS: dict[str, object] = {"op": "filter.where", "sql": "split = 'calibration'"}
GLOBAL, LOCAL, BATCH, PROTOTYPES, TEMPERATURE = 2, 4, 32, 16, 0.1


def sinkhorn(scores: Tensor, rounds: int = 3, sharpness: float = 0.05) -> Tensor:
    """Turn scores (images, prototypes) into soft clusters of equal size; each row sums to 1."""
    found = torch.exp((scores - scores.max()) / sharpness)
    for _ in range(rounds):
        found = found / found.sum(dim=0, keepdim=True)
        found = found / found.sum(dim=1, keepdim=True)
    return found


def network() -> nn.Sequential:
    """Return an encoder for crops of any size; without its normalization all images get one vector."""
    convolutions = [nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.BatchNorm1d(256), nn.Linear(256, 32))


def main(folder: str, steps: int = 100) -> list[float]:
    """Build a dataset of crops, train on it, and return the loss of every step."""
    large = {"size_px": 16, "random_resized_crop": {"scale": [0.5, 1.0]}}
    small = {"size_px": 8, "random_resized_crop": {"scale": [0.2, 0.5]}}
    made: list[dict[str, object]] = [
        DIGITS,
        {"op": "reinforce", "into": "global", "draws": GLOBAL, "augment": large},
        {"op": "reinforce", "into": "local", "draws": LOCAL, "augment": small, "seed": 1},
    ]
    run = reinforced.run({"name": "crops", "out": folder, "source": {"op": "read.digits"}, "steps": made})
    reader = ViewReader(run.dataset, {"global": GLOBAL, "local": LOCAL})
    torch.manual_seed(0)
    encoder, prototypes = network(), nn.Parameter(torch.randn(PROTOTYPES, 32))
    optimizer, losses = torch.optim.AdamW([*encoder.parameters(), prototypes], lr=1e-3), []
    for epoch in range(-(-steps // (len(reader) // BATCH))):
        images = reader.images(epoch)
        for batch in zip(*[images] * BATCH, strict=False):
            scores = []
            for place in range(GLOBAL + LOCAL):
                view = np.stack([image.views[place].sample.pixels for image in batch])
                seen = encoder(torch.from_numpy(view).permute(0, 3, 1, 2) / 127.5 - 1)
                unit = [nn.functional.normalize(values, dim=1) for values in (seen, prototypes)]
                scores.append(unit[0] @ unit[1].T)
            codes = [sinkhorn(score.detach()) for score in scores[:GLOBAL]]
            pairs = [(i, j) for i, j in itertools.product(range(GLOBAL), range(len(scores))) if i != j]
            each = [nn.functional.cross_entropy(scores[j] / TEMPERATURE, codes[i]) for i, j in pairs]
            loss = torch.stack(each).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
    return losses[:steps]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        losses = main(sys.argv[1] if len(sys.argv) > 1 else str(Path(temporary) / "crops"))
    print(f"swapped prediction: {losses[0]:.3f} at first, {np.mean(losses[-10:]):.3f} at last")
