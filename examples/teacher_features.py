"""Learn a teacher's features: those of the whole image, stored once, from every view of it.

python examples/teacher_features.py [folder]

`embed.image` stores what the teacher's hidden layer says of each image; the student's vector for a view is to point
the same way (feature distillation by cosine, as ScaleKD's first term).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

import reinforced
from reinforced.view_reader import ViewReader

SIDE, BATCH = 16, 32
DIGITS = {"op": "filter.where", "sql": "split = 'calibration'"}
TEACHER = {
    "factory": "reinforced.models.mlp",
    "arguments": {"inputs": 192, "hidden": 96},
    "weights": "package:weights/digits_0.safetensors",
    "mean": [0.327] * 3,
    "std": [0.346] * 3,
    "features": "1",
    "size_px": 8,
}
VIEWS = {"size_px": SIDE, "random_resized_crop": {"scale": [0.6, 1.0]}}


def main(folder: str, steps: int = 100) -> list[float]:
    """Build a dataset of views and features, train on it, and return the loss of every step."""
    made = [DIGITS, {"op": "embed.image", "teacher": TEACHER}, {"op": "reinforce", "draws": 4, "augment": VIEWS}]
    run = reinforced.run({"name": "features", "out": folder, "source": {"op": "read.digits"}, "steps": made})
    reader = ViewReader(run.dataset, {"reinforced": 1})
    stored = run.dataset.to_arrow(columns=["key", "embedding"])
    place = {key: row for row, key in enumerate(stored.column("key").to_pylist())}
    column = stored.column("embedding").combine_chunks()
    features = torch.from_numpy(column.flatten().to_numpy().reshape(len(column), -1).astype(np.float32))
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(3, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()]
    width = features.shape[1]
    student = nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(512, width))
    optimizer, losses = torch.optim.AdamW(student.parameters(), lr=2e-3), []
    for epoch in range(-(-steps // (len(reader) // BATCH))):
        images = reader.images(epoch)
        for batch in zip(*[images] * BATCH, strict=False):
            pixels = torch.from_numpy(np.stack([image.views[0].sample.pixels for image in batch])).permute(0, 3, 1, 2)
            wanted = features[[place[image.key] for image in batch]]
            loss = 1 - nn.functional.cosine_similarity(student(pixels / 127.5 - 1), wanted).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
    return losses[:steps]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        losses = main(sys.argv[1] if len(sys.argv) > 1 else str(Path(temporary) / "features"))
    print(f"1 - cosine: {losses[0]:.3f} at first, {np.mean(losses[-10:]):.3f} at last")
