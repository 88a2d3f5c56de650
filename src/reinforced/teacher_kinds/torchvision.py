"""Teachers from torchvision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from reinforced.errors import RequestError, nearest
from reinforced.features import before_head
from reinforced.teacher import Loaded, Preprocessing, Teacher
from reinforced.weights import Weights, files_of, fill

if TYPE_CHECKING:
    from torch import device


class TorchvisionTeacher(Teacher):
    """A classifier of torchvision's with weights from a file; preprocessing is that of its published weights."""

    torchvision: Annotated[str, Field(description="The model's name, such as resnet50.")]
    weights: Annotated[Weights, Field(description="Its weights: a safetensors file, a soup or task vectors.")]
    preset: Annotated[
        str, Field(description="Name of the published weights whose preprocessing to take, such as IMAGENET1K_V1.")
    ] = "DEFAULT"
    arguments: Annotated[
        dict[str, Any],
        Field(default_factory=dict, description="Keyword arguments for the model, such as `num_classes`."),
    ]

    @property
    def name(self) -> str:
        """The model's name."""
        return self.torchvision

    def files(self) -> tuple[str, ...]:
        """Return the files of weights."""
        return files_of(self.weights)

    def load(self, device: device) -> Loaded:
        """Build the network, nothing is downloaded, and load its weights."""
        from torchvision import models

        known = models.list_models(module=models)
        if self.torchvision not in known:
            raise RequestError(f"torchvision has no classifier '{self.torchvision}'{nearest(self.torchvision, known)}")
        presets = models.get_model_weights(self.torchvision).__members__
        if self.preset not in presets:
            raise RequestError(f"{self.torchvision} has no preset '{self.preset}'{nearest(self.preset, presets)}")
        try:
            module = models.get_model(self.torchvision, weights=None, **self.arguments)
        except (TypeError, ValueError) as error:
            raise RequestError(f"teacher {self.name}: it refuses arguments {self.arguments}: {error}") from error
        fill(module, self.weights, f"torchvision's {self.torchvision}")
        given = presets[self.preset].transforms()
        side = given.crop_size[0]
        preprocessing = Preprocessing(
            size=(side, side),
            interpolation="bicubic" if given.interpolation.value == "bicubic" else "bilinear",
            mean=tuple(given.mean),
            std=tuple(given.std),
        )
        module = module.to(device).eval()
        return Loaded(module, preprocessing, before_head(module, module), channels_last=True)
