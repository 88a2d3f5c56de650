"""What a network sees before it decides: taken from inside it, while it runs as it always does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reinforced.errors import RequestError, nearest

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from reinforced.teacher import Network


def before_head(module: Module, network: Network) -> Network:
    """Return a network's features: what goes into its last linear layer or convolution, (N, dimensions).

    network: what runs the module. Values over an image's places are averaged.
    """
    from torch import nn

    heads = [part for part in module.modules() if isinstance(part, (nn.Linear, nn.Conv2d))]
    return _taken(heads[-1], network, incoming=True) if heads else network


def at_layer(module: Module, network: Network, layer: str | None) -> Network:
    """Return a network's features: what a named submodule puts out, (N, dimensions), or without one its answer.

    Raises: RequestError for a layer that is not there, naming the nearest.
    """
    if layer is None:
        return lambda images: pooled(network(images))
    layers = dict(module.named_modules())
    if layer not in layers:
        raise RequestError(f"the network has no layer '{layer}'{nearest(layer, layers)}")
    return _taken(layers[layer], network, incoming=False)


def _taken(part: Module, network: Network, incoming: bool) -> Network:
    def features(images: Tensor) -> Tensor:
        seen: list[Tensor] = []

        def keep(_: Module, inputs: Any, output: Any) -> None:
            seen.append(inputs[0] if incoming else output)

        hook = part.register_forward_hook(keep)
        try:
            network(images)
        finally:
            hook.remove()
        return pooled(seen[-1])

    return features


def pooled(values: Tensor) -> Tensor:
    """Return one row of values an image: those of feature maps (N, C, H, W) or tokens (N, T, C) are averaged."""
    if values.ndim == 4:
        return values.mean(dim=(2, 3))
    return values.mean(dim=1) if values.ndim == 3 else values.flatten(1)
