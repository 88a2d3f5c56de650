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
    if not heads:
        return network
    taken = _taken(heads[-1], network, incoming=True)
    return lambda images: pooled(taken(images))


def at_layer(module: Module, network: Network, layer: str | None) -> Network:
    """Return a network's features: what a named submodule puts out, (N, dimensions), or without one its answer.

    Raises: RequestError for a layer that is not there, naming the nearest.
    """
    taken = network if layer is None else _output(module, network, layer)
    return lambda images: pooled(taken(images))


def tokens_at_layer(module: Module, network: Network, layer: str | None) -> Network | None:
    """Return what a named submodule puts out for each place, (N, places, width); None without a name.

    Raises: RequestError for a layer that is not there, naming the nearest.
    """
    if layer is None:
        return None
    taken = _output(module, network, layer)
    return lambda images: by_place(taken(images))


def _output(module: Module, network: Network, layer: str) -> Network:
    layers = dict(module.named_modules())
    if layer not in layers:
        raise RequestError(f"the network has no layer '{layer}'{nearest(layer, layers)}")
    return _taken(layers[layer], network, incoming=False)


def _taken(part: Module, network: Network, incoming: bool) -> Network:
    def taken(images: Tensor) -> Tensor:
        seen: list[Tensor] = []

        def keep(_: Module, inputs: Any, output: Any) -> None:
            seen.append((inputs[0] if incoming else output).clone())  # what follows may work in place

        hook = part.register_forward_hook(keep)
        try:
            network(images)
        finally:
            hook.remove()
        return seen[-1]

    return taken


def pooled(values: Tensor) -> Tensor:
    """Return one row of values an image: those of feature maps (N, C, H, W) or tokens (N, T, C) are averaged."""
    if values.ndim == 4:
        return values.mean(dim=(2, 3))
    return values.mean(dim=1) if values.ndim == 3 else values.flatten(1)


def by_place(values: Tensor) -> Tensor:
    """Return feature maps (N, C, H, W) as tokens (N, H x W, C), row by row, and tokens as they are.

    Raises: RequestError for values that are of no place.
    """
    if values.ndim == 4:
        return values.flatten(2).transpose(1, 2)
    if values.ndim != 3:
        raise RequestError(f"the layer puts out {tuple(values.shape)}, which has no places: name an earlier one")
    return values
