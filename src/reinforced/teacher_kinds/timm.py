"""Teachers from timm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from reinforced.errors import RequestError, nearest
from reinforced.features import by_place, pooled
from reinforced.teacher import Loaded, Preprocessing, Teacher
from reinforced.weights import Weights, files_of, fill

if TYPE_CHECKING:
    from torch import Tensor, device


class TimmTeacher(Teacher):
    """A network of timm's with weights from a file; size, normalization and interpolation are its configuration's."""

    timm: Annotated[str, Field(description="The model's name, with the tag of its weights if it has several.")]
    weights: Annotated[Weights, Field(description="Its weights: a safetensors file, a soup or task vectors.")]
    arguments: Annotated[
        dict[str, Any],
        Field(default_factory=dict, description="Keyword arguments for the model, such as `num_classes`."),
    ]

    @property
    def name(self) -> str:
        """The model's name."""
        return self.timm

    def files(self) -> tuple[str, ...]:
        """Return the files of weights."""
        return files_of(self.weights)

    def load(self, device: device) -> Loaded:
        """Build the network, nothing is downloaded, and load its weights."""
        import timm
        from timm.data.config import resolve_data_config

        known = timm.list_models() + timm.list_pretrained()
        if self.timm not in known:
            raise RequestError(f"timm has no model '{self.timm}'{nearest(self.timm, known)}")
        try:
            module = timm.create_model(self.timm, pretrained=False, **self.arguments)
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            raise RequestError(f"teacher {self.name}: timm refuses arguments {self.arguments}: {error}") from error
        fill(module, self.weights, f"timm's {self.timm}")
        config = resolve_data_config({"img_size": self.arguments.get("img_size")}, model=module)  # type: ignore[no-untyped-call]
        _, height, width = config["input_size"]
        preprocessing = Preprocessing(
            size=(width, height),
            interpolation="bicubic" if config["interpolation"] == "bicubic" else "bilinear",
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
        )
        module = module.to(device).eval()

        def features(images: Tensor) -> Tensor:
            return pooled(module.forward_head(module.forward_features(images), pre_logits=True))  # type: ignore[operator]

        def tokens(images: Tensor) -> Tensor:
            seen = module.forward_features(images)  # type: ignore[operator]
            if seen.ndim == 3:
                return by_place(seen)[:, getattr(module, "num_prefix_tokens", 0) :]  # not the class token before
            last = getattr(module, "output_fmt", "NCHW") == "NHWC"
            return by_place(seen.permute(0, 3, 1, 2) if last else seen)

        return Loaded(module, preprocessing, features, tokens, channels_last=True)
