"""The small network that ships with the package: teacher and student for images of a few pixels.

A teacher in YAML names it as `factory: reinforced.models.mlp` with its `arguments` and safetensors weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def mlp(inputs: int, hidden: int = 32, classes: int = 10) -> nn.Module:
    """Build a multilayer perceptron with one hidden layer of `hidden` rectified units.

    Takes normalized float images of `inputs` values each, of any shape after the first axis, and returns logits
    (N, classes).
    """
    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, classes))
