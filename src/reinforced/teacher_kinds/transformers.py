"""Teachers from transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from reinforced.errors import RequestError
from reinforced.features import before_head, by_place
from reinforced.teacher import Loaded, Preprocessing, Teacher
from reinforced.weight_files import read_file
from reinforced.weights import base_name

if TYPE_CHECKING:
    from torch import Tensor, device

_CONFIGURATION, _PREPROCESSOR, _INDEX = "config.json", "preprocessor_config.json", "model.safetensors.index.json"
_BICUBIC = 3
"""Pillow's number for it, which is what these files hold."""


class TransformersTeacher(Teacher):
    """An image classifier in a folder that transformers saved: configuration, preprocessor and safetensors weights."""

    transformers: Annotated[
        str, Field(description="Local folder with config.json, preprocessor_config.json and model.safetensors.")
    ]

    @property
    def name(self) -> str:
        """The folder's name."""
        return base_name(self.transformers)

    def files(self) -> tuple[str, ...]:
        """Return the configuration, the preprocessor's if it is there, and all files of weights."""
        folder = Path(self.transformers)
        names = [name for name in (_CONFIGURATION, _PREPROCESSOR) if name == _CONFIGURATION or (folder / name).exists()]
        if (folder / _INDEX).exists():
            parts = json.loads((folder / _INDEX).read_text("utf-8"))["weight_map"].values()
            names += [_INDEX, *sorted(set(parts))]
        else:
            names.append("model.safetensors")
        return tuple(str(folder / name) for name in names)

    def load(self, device: device) -> Loaded:
        """Load the network from the folder alone: nothing is downloaded, and no code in the folder is run."""
        from safetensors import SafetensorError
        from transformers import AutoModelForImageClassification

        self.content_hash()  # a file that is missing is named by us, not by whatever looks for it first
        try:
            module, report = AutoModelForImageClassification.from_pretrained(
                self.transformers,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            raise RequestError(f"teacher {self.name} is no image classifier that can be loaded: {error}") from error
        lacking = sorted([*report["missing_keys"], *report["mismatched_keys"]], key=str)
        if lacking:
            raise RequestError(f"teacher {self.name}: its weights do not fit its configuration: {lacking[:5]} missing")
        network = module.to(device).eval()

        def logits(images: Tensor) -> Tensor:
            found: Tensor = network(pixel_values=images).logits
            return found

        def tokens(images: Tensor) -> Tensor:
            seen = by_place(network.base_model(pixel_values=images).last_hidden_state)
            patch = getattr(network.config, "patch_size", None)
            if not isinstance(patch, int):
                return seen
            return seen[:, -(images.shape[2] // patch) * (images.shape[3] // patch) :]  # not the class token before

        return Loaded(logits, self._preprocessing(), before_head(network, logits), tokens)

    def _preprocessing(self) -> Preprocessing:
        path = Path(self.transformers) / _PREPROCESSOR
        if not path.exists():
            if self.mean is None or self.std is None:
                raise RequestError(
                    f"teacher {self.name} has no {_PREPROCESSOR} that says how it wants its pixels: give mean and std"
                )
            return Preprocessing()
        given: dict[str, Any] = json.loads(read_file(str(path)))
        if not given.get("do_rescale", True) or abs(given.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-3:
            raise RequestError(f"teacher {self.name}: its {_PREPROCESSOR} does not scale pixels to 0..1: export it")
        normal = {"mean": tuple(given["image_mean"]), "std": tuple(given["image_std"])}
        return Preprocessing(
            size=_size(given),
            interpolation="bicubic" if given.get("resample") == _BICUBIC else "bilinear",
            **(normal if given.get("do_normalize", True) else {}),
        )


def _size(given: dict[str, Any]) -> tuple[int, int] | None:
    """Return (width, height) of what the preprocessor hands on: its crop if it crops, else what it resizes to."""
    size = given.get("crop_size") if given.get("do_center_crop") else given.get("size")
    if isinstance(size, int):
        return size, size
    if not size:
        return None
    if "height" in size:
        return size["width"], size["height"]
    return size["shortest_edge"], size["shortest_edge"]
