"""Zero-shot teachers from open_clip."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import Field, field_validator

from reinforced.clip import OpenClipModel, preprocessing
from reinforced.errors import RequestError
from reinforced.features import by_place
from reinforced.teacher import Loaded, Teacher
from reinforced.weight_files import read_file

if TYPE_CHECKING:
    from torch import Tensor, device
    from torch.nn import Module

_TEXTS_AT_ONCE = 256

Lines = tuple[str, ...]


class OpenClipTeacher(OpenClipModel, Teacher):
    """A CLIP model that classifies by comparing an image with texts about each class, with no training at all.

    A class is the mean of its prompts' normalized embeddings, normalized again; its logit is the scaled cosine to the
    image's (Radford et al. 2021, *Learning Transferable Visual Models From Natural Language Supervision*).
    """

    class_names: Annotated[
        Lines | str,
        Field(description="The classes in words, in the order of their labels, or a YAML or JSON file of them."),
    ]
    templates: Annotated[
        Lines | str,
        Field(description="Prompts with {} where the class goes; or a YAML or JSON file with a list of them."),
    ] = "package:prompts/photos.yaml"

    @field_validator("class_names", "templates")
    @classmethod
    def _check_lines(cls, value: Lines | str) -> Lines | str:
        if not value:
            raise ValueError("must not be empty")
        return value

    def files(self) -> tuple[str, ...]:
        """Return the model's files, and those of class names and templates if they are in files."""
        return (*super().files(), *(lines for lines in (self.class_names, self.templates) if isinstance(lines, str)))

    def load(self, device: device) -> Loaded:
        """Build the model, nothing is downloaded, load its weights, and embed the prompts of every class."""
        import open_clip
        import torch

        module, tokenizer = self.build(device)
        with torch.inference_mode():
            classes = self._class_embeddings(module, tokenizer, device)
            scale = module.logit_scale.exp()

        def logits(images: Tensor) -> Tensor:
            found: Tensor = scale * module.encode_image(images, normalize=True) @ classes.T
            return found

        def features(images: Tensor) -> Tensor:
            found: Tensor = module.encode_image(images, normalize=True)
            return found

        def tokens(images: Tensor) -> Tensor:
            chosen = {"image_indices": 1, "normalize_intermediates": True, "intermediates_only": True}
            return by_place(module.forward_intermediates(images, **chosen)["image_intermediates"][-1])

        return Loaded(logits, preprocessing(open_clip.get_model_preprocess_cfg(module)), features, tokens)

    def _class_embeddings(self, module: Module, tokenizer: Any, device: device) -> Tensor:
        import torch

        names, templates = self._lines("class_names"), self._lines("templates")
        if lacking := [template for template in templates if "{}" not in template]:
            raise RequestError(f"teacher {self.name}: template '{lacking[0]}' has no {{}} for the class")
        prompts = [template.replace("{}", name) for name in names for template in templates]
        parts = [
            module.encode_text(tokenizer(prompts[start : start + _TEXTS_AT_ONCE]).to(device), normalize=True)  # type: ignore[operator]
            for start in range(0, len(prompts), _TEXTS_AT_ONCE)
        ]
        means = torch.cat(parts).reshape(len(names), len(templates), -1).mean(dim=1)
        return torch.nn.functional.normalize(means, dim=-1)

    def _lines(self, field: str) -> Lines:
        value: Lines | str = getattr(self, field)
        if not isinstance(value, str):
            return value
        try:
            found = yaml.safe_load(read_file(value))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise RequestError(f"{field} '{value}' is no YAML or JSON file: {error}") from error
        if not isinstance(found, list) or not found or not all(isinstance(line, str) for line in found):
            raise RequestError(f"{field} '{value}' must be a list of texts, not {json.dumps(found, default=str)[:80]}")
        return tuple(found)
