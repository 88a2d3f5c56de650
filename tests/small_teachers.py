"""Networks small enough to be teachers in tests, named in configurations by their dotted path."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def cnn(width: int = 4, classes: int = 10) -> nn.Module:
    """Return a convolutional network for images of any size."""
    layers = [nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, classes))


class Means(nn.Module):
    """Says the channels' means: easy to compute by hand; with `poison`, NaN for images that have a white pixel."""

    def __init__(self, outputs: int = 3, poison: bool = False) -> None:
        super().__init__()
        self.outputs, self.poison = outputs, poison

    def forward(self, images: Tensor) -> Tensor:
        logits = images.mean(dim=(2, 3)).repeat(1, 2)[:, : self.outputs]
        return (
            torch.where(images.amin(dim=1).amax(dim=(1, 2)) > 0.999, torch.nan, logits.T).T if self.poison else logits
        )
