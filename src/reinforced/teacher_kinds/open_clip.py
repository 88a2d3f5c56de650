"""Zero-shot teachers from open_clip."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import Field, field_validator

from reinforced.errors import RequestError
from reinforced.features import by_place
from reinforced.teacher import Loaded, Preprocessing, Teacher
from reinforced.weight_files import read_file
from reinforced.weights import Weights, base_name, files_of, fill

if TYPE_CHECKING:
    from torch import Tensor, device
    from torch.nn import Module

_FOLDER_FILES = ("open_clip_config.json", "open_clip_model.safetensors")
TEXTS_AT_ONCE = 256
_TOKENIZER_SETTINGS = {"clean", "strip_sep_token"}
"""What a model's configuration may pass to its tokenizer; another, `trust_remote_code`, would run code beside it."""

Lines = tuple[str, ...]


class OpenClipTeacher(Teacher):
    """A CLIP model that classifies by comparing an image with texts about each class, with no training at all.

    A class is the mean of its prompts' normalized embeddings, normalized again; its logit is the scaled cosine to the
    image's (Radford et al. 2021, *Learning Transferable Visual Models From Natural Language Supervision*).
    """

    open_clip: Annotated[
        str, Field(description="The architecture's name, or a local folder with open_clip_config.json and its weights.")
    ]
    weights: Annotated[
        Weights | None,
        Field(description="Its weights: a file, a soup or task vectors; default: the folder's safetensors file."),
    ] = None
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

    @property
    def name(self) -> str:
        """The architecture's or the folder's name."""
        return base_name(self.open_clip)

    def files(self) -> tuple[str, ...]:
        """Return the model's files, and those of class names and templates if they are in files."""
        place, model = Path(self.open_clip), list(files_of(self.weights))
        if self._is_folder:
            text = {path.name for path in place.iterdir() if path.suffix in (".json", ".txt", ".model")}
            names = [*sorted(text | {_FOLDER_FILES[0]}), *([] if self.weights else _FOLDER_FILES[1:])]
            model = [*(str(place / name) for name in names), *model]
        return (*model, *(lines for lines in (self.class_names, self.templates) if isinstance(lines, str)))

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

        return Loaded(logits, _preprocessing(open_clip.get_model_preprocess_cfg(module)), features, tokens)

    def build(self, device: device) -> tuple[Module, Any]:
        """Return the model with its weights, in evaluation mode, and its tokenizer; nothing is downloaded."""
        import open_clip

        weights = self.weights or (str(Path(self.open_clip) / _FOLDER_FILES[1]) if self._is_folder else None)
        if weights is None:
            raise RequestError(f"teacher {self.name} needs `weights`: {self.open_clip} is no folder with them")
        place = f"local-dir:{self.open_clip}" if self._is_folder else self.open_clip
        try:
            settings = self._tokenizer_settings(open_clip.get_model_config(place) or {})
            module = open_clip.create_model(place, load_weights=False, pretrained_image=False, pretrained_text=False)
            tokenizer = open_clip.get_tokenizer(place, **settings)
        except RequestError:
            raise
        except (RuntimeError, ValueError, OSError, KeyError, TypeError) as error:
            raise RequestError(f"teacher {self.name}: open_clip cannot build it: {error}") from error
        fill(module, weights, f"open_clip's {self.name}")
        return module.to(device).eval(), tokenizer

    @property
    def _is_folder(self) -> bool:
        return Path(self.open_clip).is_dir()

    def _tokenizer_settings(self, config: dict[str, Any]) -> dict[str, bool]:
        """Return what its tokenizer must be told. Raises: RequestError when the text side is not in local files."""
        text = config.get("text_cfg", {})
        if text.get("hf_model_name") or (text.get("hf_tokenizer_name") and not self._is_folder):
            raise RequestError(
                f"teacher {self.name}: its text model or tokenizer lies on a hub, and nothing is downloaded: give a "
                "local folder with the tokenizer's files, of a model whose text side is open_clip's own"
            )
        if refused := sorted(set(text.get("tokenizer_kwargs", {})) - _TOKENIZER_SETTINGS):
            raise RequestError(f"teacher {self.name}: its configuration passes {refused} to the tokenizer")
        return {"trust_remote_code": False} if text.get("hf_tokenizer_name") else {}

    def _class_embeddings(self, module: Module, tokenizer: Any, device: device) -> Tensor:
        import torch

        names, templates = self._lines("class_names"), self._lines("templates")
        if lacking := [template for template in templates if "{}" not in template]:
            raise RequestError(f"teacher {self.name}: template '{lacking[0]}' has no {{}} for the class")
        prompts = [template.replace("{}", name) for name in names for template in templates]
        means = encoded(module, tokenizer, prompts, device).reshape(len(names), len(templates), -1).mean(dim=1)
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


def encoded(module: Module, tokenizer: Any, texts: Sequence[str], device: device, normalize: bool = True) -> Tensor:
    """Return the embeddings of texts, (texts, dimensions), each of Euclidean length 1 if normalized."""
    import torch

    with torch.inference_mode():
        parts = [
            module.encode_text(tokenizer(list(texts[start : start + TEXTS_AT_ONCE])).to(device), normalize=normalize)  # type: ignore[operator]
            for start in range(0, len(texts), TEXTS_AT_ONCE)
        ]
    return torch.cat(parts)


def _preprocessing(given: dict[str, Any]) -> Preprocessing:
    size = given["size"]
    height, width = (size, size) if isinstance(size, int) else size
    return Preprocessing(
        size=(width, height),
        interpolation="bicubic" if given["interpolation"] == "bicubic" else "bilinear",
        mean=tuple(given["mean"]),
        std=tuple(given["std"]),
    )
