"""Images out of a classifier: pixels changed until it sees a class, and inside it looks as in training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from reinforced import counter
from reinforced.augmentation import Settings
from reinforced.forward import Floats

if TYPE_CHECKING:
    from torch import Tensor

    from reinforced.teacher import Loaded


class Objective(Settings):
    """What is minimized, and how; the defaults are DeepInversion's (Yin et al. 2020) for images of 224 px."""

    steps: Annotated[int, Field(ge=1, le=100_000, description="Steps of Adam at full size.")] = 1000
    half_size_steps: Annotated[
        int, Field(ge=0, le=100_000, description="Steps at half the size before; 0 for a network of one size only.")
    ] = 2000
    learning_rate: Annotated[float, Field(gt=0, description="Of Adam; falls to 0 as a cosine in each size.")] = 0.2
    batch_norm: Annotated[
        float, Field(ge=0, description="Weight of the distance to the running statistics of batch normalization.")
    ] = 0.05
    first_factor: Annotated[float, Field(ge=0, description="Factor on that of the first layer.")] = 10.0
    total_variation: Annotated[float, Field(ge=0, description="Weight of the differences of neighbours.")] = 1e-4
    l2: Annotated[float, Field(ge=0, description="Weight of the length of the image.")] = 1e-5
    roll: Annotated[
        float, Field(ge=0, le=0.5, description="Largest random shift in each step, as a share of the side.")
    ] = 0.13


def invert(
    loaded: Loaded, labels: Sequence[int], keys: Sequence[str], size: tuple[int, int], objective: Objective, seed: int
) -> Tensor:
    """Optimize a batch of images from noise; returns float32 (n, 3, height, width) in [0, 1], on the network's device.

    The batch is one: its statistics are held against those of batch normalization, so an image depends on the others.
    size: width and height in px. keys: name the images; their noise depends on seed and key.
    """
    import torch
    from torch.nn import functional

    device = next((p.device for p in loaded.network.parameters()), torch.device("cpu"))  # type: ignore[attr-defined]
    mean, std = (
        torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (loaded.preprocessing.mean, loaded.preprocessing.std)
    )
    width, height = size
    halved = objective.half_size_steps > 0
    shape = (height // 2, width // 2) if halved else (height, width)
    images = torch.from_numpy(_noise(seed, keys, shape)).to(device)
    target = torch.tensor(labels, device=device)
    stages = ((objective.half_size_steps, shape), (objective.steps, (height, width)))
    for number, (steps, sides) in enumerate(stages):
        if images.shape[2:] != sides:
            images = functional.interpolate(images, sides, mode="bilinear")
        images = images.detach().requires_grad_()
        optimizer = torch.optim.Adam([images], objective.learning_rate, betas=(0.5, 0.9))
        shifts = _shifts(seed, f"{keys[0]}/{number}", steps, [round(objective.roll * side) for side in sides])
        with _statistics(loaded.network) as distances:
            for step, shift in enumerate(shifts):
                optimizer.param_groups[0]["lr"] = objective.learning_rate * (1 + math.cos(math.pi * step / steps)) / 2
                loss = _loss(loaded, images.roll(shift, (2, 3)), target, objective, distances)
                (images.grad,) = torch.autograd.grad(loss, images)
                optimizer.step()
                with torch.no_grad():
                    images.copy_(torch.clamp(images * std + mean, 0, 1).sub(mean).div(std))
    return (images.detach() * std + mean).clamp(0, 1)


def _loss(loaded: Loaded, images: Tensor, target: Tensor, objective: Objective, distances: list[Tensor]) -> Tensor:
    from torch.nn import functional

    distances.clear()
    loss: Tensor = functional.cross_entropy(loaded.network(images).float(), target)
    for layer, distance in enumerate(distances):
        loss = loss + objective.batch_norm * (objective.first_factor if layer == 0 else 1.0) * distance
    across, down = images.diff(dim=3), images.diff(dim=2)
    diagonals = images[..., 1:, 1:] - images[..., :-1, :-1], images[..., 1:, :-1] - images[..., :-1, 1:]
    loss = loss + objective.total_variation * sum(part.norm() for part in (across, down, *diagonals))
    total: Tensor = loss + objective.l2 * images.norm()
    return total


@contextmanager
def _statistics(network: object) -> Iterator[list[Tensor]]:
    """Collect, in each pass, how far mean and variance before each batch normalization are from the running ones."""
    from torch import nn

    found: list[Tensor] = []

    def measure(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.BatchNorm2d)
        if module.running_mean is not None and module.running_var is not None:
            mean, variance = inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3), correction=0)
            found.append((mean - module.running_mean).norm() + (variance - module.running_var).norm())

    modules = network.modules() if isinstance(network, nn.Module) else ()
    handles = [module.register_forward_pre_hook(measure) for module in modules if isinstance(module, nn.BatchNorm2d)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _noise(seed: int, keys: Sequence[str], shape: tuple[int, int]) -> Floats:
    """Return normal noise, float32 (n, 3, height, width), by Box and Muller's method."""
    count = 3 * shape[0] * shape[1]
    even = (counter.words(seed, "inversion.noise", keys, [0, 1], count).astype(np.float64) + 0.5) / 2**32
    normal = np.sqrt(-2 * np.log(even[:, 0])) * np.cos(2 * np.pi * even[:, 1])
    noise: Floats = normal.reshape(-1, 3, *shape).astype(np.float32)
    return noise


def _shifts(seed: int, key: str, steps: int, most: Sequence[int]) -> list[tuple[int, int]]:
    words = counter.words(seed, "inversion.roll", [key], range(steps), 2)[0]
    down, across = (counter.below(words[:, i], 2 * most[i] + 1) - most[i] for i in range(2))
    return list(zip(down.tolist(), across.tolist(), strict=True))
