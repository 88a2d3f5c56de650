"""The convolutional network that learns in few epochs: see `reinforced.models.whitened_cnn`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_FILTERS = 24
"""Twelve directions of a 2 x 2 patch of three channels, each with both signs."""


class WhitenedCnn(nn.Module):
    """Whitening filters, three stages, a pooling and a linear layer whose logits are scaled by 1/9."""

    def __init__(self, classes: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        self.whiten = nn.Conv2d(3, _FILTERS, 2)
        self.whiten.weight.requires_grad_(False)
        befores = (_FILTERS, *widths)
        self.stages = nn.Sequential(*(_stage(b, a) for b, a in zip(befores, widths, strict=False)))
        self.head = nn.Linear(widths[-1], classes, bias=False)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Return float32 logits (N, classes) of normalized images (N, 3, 32, 32)."""
        with torch.autocast(images.device.type, torch.bfloat16):
            found = nn.functional.gelu(self.whiten(images.contiguous(memory_format=torch.channels_last)))
            found = nn.functional.max_pool2d(self.stages(found), 3).flatten(1)
        logits: Tensor = self.head(found.float()) / 9
        return logits

    @torch.no_grad()
    def set_whitening(self, images: Tensor, epsilon: float = 5e-4) -> None:
        """Set the first layer's filters to the principal directions of these images' patches, at unit variance."""
        patches = nn.functional.unfold(images, 2).transpose(1, 2).flatten(0, 1)  # (N * 31 * 31, 12)
        variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (directions / (variances + epsilon).sqrt()).T.reshape(-1, 3, 2, 2)
        self.whiten.weight.copy_(torch.cat([filters, -filters]))
        self.whiten.bias.zero_()  # type: ignore[union-attr]


def _stage(before: int, after: int) -> nn.Sequential:
    layers = [_convolution(before, after), nn.MaxPool2d(2), _normalization(after), nn.GELU()]
    return nn.Sequential(*layers, _convolution(after, after), _normalization(after), nn.GELU())


def _convolution(before: int, after: int) -> nn.Conv2d:
    layer = nn.Conv2d(before, after, 3, padding=1, bias=False)
    nn.init.dirac_(layer.weight[:before].detach())  # the first channels start as copies of the input
    return layer


def _normalization(channels: int) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(channels, eps=1e-5, momentum=0.4)
    layer.weight.requires_grad_(False)
    return layer
