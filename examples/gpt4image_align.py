"""Train a classifier that also pulls its features towards the captions of its images: `gpt4image_align.py DATASET`.

The dataset has images, labels and `embed.text` vectors of a caption each; the recipe gpt4image makes one. The loss is
cross-entropy plus 0.3 times the symmetric InfoNCE between text vectors and projected features (Ding et al. 2024,
*GPT4Image*). The projection is used in training alone.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor, nn

import reinforced
from reinforced.images import decode
from reinforced.resize import resize

WEIGHT, TEMPERATURE = 0.3, 0.2


def info_nce(images: Tensor, texts: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Return the mean of both directions' cross-entropies: each image picks its text among the batch's, and back."""
    images, texts = (nn.functional.normalize(vectors, dim=1) for vectors in (images, texts))
    cosines, own = images @ texts.T / temperature, torch.arange(len(images))
    return (nn.functional.cross_entropy(cosines, own) + nn.functional.cross_entropy(cosines.T, own)) / 2


def head(width: int, text_width: int) -> nn.Module:
    """Return the projection from features to the space of the texts."""
    return nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, text_width))


def data(path: str, size_px: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return all images (n, 3, size_px, size_px) from -1 to 1, labels (n,) and text vectors (n, width)."""
    table = reinforced.open(path).to_arrow(columns=["image", "label", "text_embedding"])
    images = [np.array(resize(decode(image), (size_px, size_px), "exact")) for image in table["image"].to_pylist()]
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return pixels, torch.tensor(table["label"].to_pylist()), torch.tensor(table["text_embedding"].to_pylist())


def main(path: str, size_px: int = 32, steps: int = 200, batch: int = 64) -> list[tuple[float, float]]:
    """Train and return cross-entropy and InfoNCE of every step."""
    pixels, labels, texts = data(path, size_px)
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU()]
    backbone = nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(4), nn.Flatten())
    classifier, projection = nn.Linear(1024, int(labels.max()) + 1), head(1024, texts.shape[1])
    modules = nn.ModuleList([backbone, classifier, projection])
    optimizer, losses = torch.optim.AdamW(modules.parameters(), lr=1e-3), []
    for _ in range(steps):
        rows = torch.randint(len(pixels), (batch,))
        features = backbone(pixels[rows])
        guess = nn.functional.cross_entropy(classifier(features), labels[rows])
        aligned = info_nce(projection(features), texts[rows])
        optimizer.zero_grad()
        (guess + WEIGHT * aligned).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append((guess.item(), aligned.item()))
    return losses


if __name__ == "__main__":
    first, *_, last = main(sys.argv[1])
    print(f"cross-entropy {first[0]:.3f} at first, {last[0]:.3f} at last; InfoNCE {first[1]:.3f} and {last[1]:.3f}")
