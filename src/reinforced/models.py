"""Small networks that ship with the package, as teachers and students for images of a few pixels.

A teacher in YAML names one as `factory: reinforced.models.mlp` with its `arguments` and safetensors weights.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from reinforced.whitened import WhitenedCnn


def mlp(inputs: int, hidden: int = 32, classes: int = 10) -> nn.Module:
    """Build a multilayer perceptron with one hidden layer of `hidden` rectified units.

    Takes normalized float images of `inputs` values each, of any shape after the first axis, and returns logits
    (N, classes).
    """
    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, classes))


def resnet(depth: int = 20, classes: int = 10, width: int = 16) -> nn.Module:
    """Build a residual network for images of about 32 px; `depth` counts its layers with weights and is 6n + 2.

    Takes normalized float images (N, 3, height, width) and returns logits (N, classes). Three stages of n blocks with
    `width`, 2 `width` and 4 `width` channels; where the shape changes the shortcut is a 1 x 1 convolution with batch
    normalization (option B). He et al. 2015, *Deep Residual Learning for Image Recognition*, section 4.2.
    Raises: ValueError for another depth.
    """
    from torch import nn

    from reinforced.residual import Block

    if depth < 8 or (depth - 2) % 6:
        raise ValueError(f"a residual network has depth 8, 14, 20, 26, ... (6n + 2), not {depth}")
    blocks: list[nn.Module] = []
    for before, after in pairwise((width, width, 2 * width, 4 * width)):
        blocks.append(Block(before, after, stride=2 if after > before else 1))
        blocks += [Block(after, after, stride=1) for _ in range((depth - 2) // 6 - 1)]
    model = nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, classes),
    )
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


def whitened_cnn(classes: int = 10, widths: tuple[int, int, int] = (64, 256, 256)) -> WhitenedCnn:
    """Build a plain convolutional network for 32 px images that learns in few epochs.

    Takes normalized float images (N, 3, 32, 32) and returns logits (N, classes). Its first layer, 24 filters of 2 x 2,
    is for filters that whiten the patches of the training images and are not trained; three pairs of convolutions
    follow, each with a max pooling, batch normalization without scale and GELU. Convolutions are multiplied in
    bfloat16, whose rounding is far below what a teacher is unsure of. The design is that of Jordan 2024, *94% on
    CIFAR-10 in 3.29 Seconds on a Single GPU*.
    """
    from reinforced.whitened import WhitenedCnn

    return WhitenedCnn(classes, widths)
