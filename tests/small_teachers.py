"""Networks small enough to be teachers in tests, named in configurations by their dotted path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
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


def remembering(classes: int = 4) -> nn.Module:
    """Return a network whose batch normalization has seen images with much red and little blue."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    ).append(nn.Linear(32, classes))
    with torch.no_grad():
        seen = torch.rand(64, 3, 16, 16) * torch.tensor([1.0, 0.5, 0.1]).view(1, 3, 1, 1)
        for _ in range(40):
            model(seen)
    return model


def small_clip(place: Path, side_px: int) -> Any:
    """Write a CLIP model of a few parameters into a folder, as open_clip lays it out, and return it."""
    import open_clip

    place.mkdir(parents=True)
    vision = {"image_size": side_px, "layers": 1, "width": 64, "patch_size": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
    model = {"embed_dim": 8, "vision_cfg": vision, "text_cfg": text}
    pixels = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    (place / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": pixels}))
    torch.manual_seed(0)
    network = open_clip.CLIP(**model).eval()
    save_file(network.state_dict(), place / "open_clip_model.safetensors")
    return network
