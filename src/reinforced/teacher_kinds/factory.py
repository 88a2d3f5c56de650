"""Teachers built by a Python function."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from reinforced.errors import RequestError
from reinforced.features import at_layer, tokens_at_layer
from reinforced.teacher import Loaded, Teacher
from reinforced.weights import Weights, base_name, files_of, fill, name_of

if TYPE_CHECKING:
    from torch import device
    from torch.nn import Module


class FactoryTeacher(Teacher):
    """A network built by a Python function, with weights from a safetensors file."""

    factory: Annotated[str, Field(description="Dotted name of the function that builds the network.")]
    arguments: Annotated[dict[str, Any], Field(default_factory=dict, description="Keyword arguments for the function.")]
    weights: Annotated[
        Weights | None, Field(description="Its weights: a safetensors file, a soup or task vectors.")
    ] = None
    features: Annotated[
        str | None,
        Field(description="Layer whose output `teachers probe` and `embed.image` take; default: its answer."),
    ] = None

    @property
    def name(self) -> str:
        """The weights' name, or the function's."""
        return base_name(self.factory) if self.weights is None else name_of(self.weights)

    def files(self) -> tuple[str, ...]:
        """Return the files of weights."""
        return files_of(self.weights)

    def load(self, device: device) -> Loaded:
        """Build the network and load its weights, all of them and no others; without any it starts from seed 0."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module: Module = self._function()(**self.arguments)
        if self.weights is not None:
            fill(module, self.weights, self.factory)
        module = module.to(device).eval()
        layer = (module, module, self.features)
        return Loaded(module, features=at_layer(*layer), tokens=tokens_at_layer(*layer))

    def _function(self) -> Any:
        module, _, name = self.factory.rpartition(".")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise RequestError(f"teacher factory '{self.factory}' cannot be imported: {error}") from error
