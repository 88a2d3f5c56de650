"""Learn all classes that the teachers see in a view, from a part of it: multi-labels and a mask, no label needed.

python examples/multi_label.py [folder]

Views are cut from two digits (CutMix); a class counts as there where its stored probability is above a threshold.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

import reinforced
from reinforced import counter
from reinforced.sample import stack
from reinforced.view_reader import ViewReader

SIDE, PATCH, BATCH, HIDDEN, THRESHOLD, CLASSES = 8, 2, 32, 0.25, 0.15, 10
GRID = SIDE // PATCH
DIGITS = {"op": "filter.where", "sql": "split = 'calibration'"}
TEACHERS = [
    {
        "factory": "reinforced.models.mlp",
        "arguments": {"inputs": 3 * SIDE**2, "hidden": 96 + 32 * i},
        "weights": f"package:weights/digits_{i}.safetensors",
        "mean": [0.327] * 3,
        "std": [0.346] * 3,
    }
    for i in range(3)
]


def main(folder: str, steps: int = 150) -> list[float]:
    """Build a reinforced dataset, train on it, and return the loss of every step."""
    reinforce = {
        "op": "reinforce",
        "draws": 4,
        "top_k": 4,
        "augment": {"size_px": SIDE, "cut_mix": {}},
        "teachers": TEACHERS,
    }
    run = reinforced.run(
        {"name": "mixed", "out": folder, "source": {"op": "read.digits"}, "steps": [DIGITS, reinforce]}
    )
    reader = ViewReader(run.dataset, {"reinforced": 1})
    torch.manual_seed(0)
    student, losses = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 64), nn.ReLU(), nn.Linear(64, CLASSES)), []
    optimizer = torch.optim.AdamW(student.parameters(), lr=3e-3)
    for epoch in range(-(-steps // (len(reader) // BATCH))):
        images = reader.images(epoch)
        for batch in zip(*[images] * BATCH, strict=False):
            seen = stack([image.views[0].sample for image in batch])
            there = torch.from_numpy(seen.dense(CLASSES, spread_tail=False) > THRESHOLD).float()
            words = counter.words(0, "multi_label.mask", [image.key for image in batch], [epoch], GRID**2)[:, 0]
            hidden = np.kron((words < HIDDEN * 2**32).reshape(-1, GRID, GRID), np.ones((1, PATCH, PATCH), bool))
            pixels = torch.from_numpy(np.where(hidden[..., None], 0, seen.pixels)).float() / 255
            loss = nn.functional.binary_cross_entropy_with_logits(student(pixels), there)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
    return losses[:steps]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        losses = main(sys.argv[1] if len(sys.argv) > 1 else str(Path(temporary) / "mixed"))
    print(f"binary cross-entropy: {losses[0]:.3f} at first, {np.mean(losses[-10:]):.3f} at last")
