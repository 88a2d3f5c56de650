"""CLIP models of open_clip, from local files: images and texts to embeddings in one space."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from reinforced.augmentation import Settings
from reinforced.errors import RequestError
from reinforced.forward import Forward, threads
from reinforced.images import Pixels
from reinforced.operator import Resources
from reinforced.resize import fit
from reinforced.teacher import Loaded, Preprocessing
from reinforced.weight_files import hash_file
from reinforced.weights import Weights, base_name, files_of, fill

if TYPE_CHECKING:
    from torch import device

FOLDER_FILES = ("open_clip_config.json", "open_clip_model.safetensors")
_TOKENIZER_SETTINGS = {"clean", "strip_sep_token"}
"""What a model's configuration may pass to its tokenizer; another, `trust_remote_code`, would run code beside it."""

Embeddings = npt.NDArray[np.float32]


class OpenClipModel(Settings):
    """A CLIP model of open_clip and where its weights are."""

    open_clip: Annotated[
        str, Field(description="The architecture's name, or a local folder with open_clip_config.json and its weights.")
    ]
    weights: Annotated[
        Weights | None,
        Field(description="Its weights: a file, a soup or task vectors; default: the folder's safetensors file."),
    ] = None

    @property
    def name(self) -> str:
        """The architecture's or the folder's name."""
        return base_name(self.open_clip)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder rather than an architecture's name."""
        return Path(self.open_clip).is_dir()

    def files(self) -> tuple[str, ...]:
        """Return the model's files, in a fixed order."""
        place, weights = Path(self.open_clip), files_of(self.weights)
        if not self.is_folder:
            return weights
        text = {path.name for path in place.iterdir() if path.suffix in (".json", ".txt", ".model")}
        names = [*sorted(text | {FOLDER_FILES[0]}), *([] if self.weights else FOLDER_FILES[1:])]
        return (*(str(place / name) for name in names), *weights)

    def hashes(self) -> dict[str, str]:
        """Return the content hash of each file: an operator's ingredients."""
        return {file: hash_file(file) for file in self.files()}

    def dimensions(self) -> int:
        """Return the length of its embeddings, from the configuration alone."""
        if self.is_folder:
            path = Path(self.open_clip) / FOLDER_FILES[0]
            config = json.loads(path.read_text("utf-8"))["model_cfg"]
        else:
            import open_clip

            config = open_clip.get_model_config(self.open_clip) or {}
        if "embed_dim" not in config:
            raise RequestError(f"open_clip knows no model '{self.open_clip}', and no folder has that name")
        return int(config["embed_dim"])

    def build(self, device: device) -> tuple[Any, Any]:
        """Return the network with its weights, in evaluation mode, and the tokenizer; nothing is downloaded.

        Raises: RequestError when it cannot be built from local files.
        """
        import open_clip

        weights = self.weights or (str(Path(self.open_clip) / FOLDER_FILES[1]) if self.is_folder else None)
        if weights is None:
            raise RequestError(f"teacher {self.name} needs `weights`: {self.open_clip} is no folder with them")
        place = f"local-dir:{self.open_clip}" if self.is_folder else self.open_clip
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

    def _tokenizer_settings(self, config: dict[str, Any]) -> dict[str, bool]:
        """Return what its tokenizer must be told. Raises: RequestError when the text side is not in local files."""
        text = config.get("text_cfg", {})
        if text.get("hf_model_name") or (text.get("hf_tokenizer_name") and not self.is_folder):
            raise RequestError(
                f"teacher {self.name}: its text model or tokenizer lies on a hub, and nothing is downloaded: give a "
                "local folder with the tokenizer's files, of a model whose text side is open_clip's own"
            )
        if refused := sorted(set(text.get("tokenizer_kwargs", {})) - _TOKENIZER_SETTINGS):
            raise RequestError(f"teacher {self.name}: its configuration passes {refused} to the tokenizer")
        return {"trust_remote_code": False} if text.get("hf_tokenizer_name") else {}


class ClipEncoder:
    """A CLIP model ready to be asked; the answer for a row is the same however rows are batched."""

    def __init__(self, model: OpenClipModel, batch_size: int, resources: Resources) -> None:
        """Load the model. Raises: RequestError when it cannot be built."""
        import open_clip
        import torch

        self.device = torch.device("cuda" if resources.gpus > 0 and torch.cuda.is_available() else "cpu")
        self._batch_size, self._cpus = batch_size, max(1, int(resources.cpus))
        self._module, self._tokenizer = model.build(self.device)
        self.how = preprocessing(open_clip.get_model_preprocess_cfg(self._module))
        self.loaded = Loaded(lambda images: self._module.encode_image(images, normalize=True), self.how)
        self.logit_scale = float(self._module.logit_scale.detach().exp())
        self._forward = Forward([self.loaded], self.device, batch_size=batch_size, cpus=self._cpus)

    def images(self, pictures: Sequence[Pixels]) -> Embeddings:
        """Embed decoded images, resized to fill the model's input and cropped at the centre: (n, d) of unit length."""
        size, bicubic = self.how.size, self.how.interpolation == "bicubic"
        assert size is not None
        batches = (
            np.stack([fit(picture, size, bicubic=bicubic) for picture in pictures[start : start + self._batch_size]])
            for start in range(0, len(pictures), self._batch_size)
        )
        return np.concatenate([found for (found,) in self._forward.answers(batches)])

    def texts(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts, cut off where the model's context ends: (n, d) of unit length."""
        import torch

        found = []
        with torch.inference_mode(), threads(self._cpus):
            for start in range(0, len(texts), self._batch_size):
                part = list(texts[start : start + self._batch_size])
                padded = part + [""] * (self._batch_size - len(part))  # always the same shape, see Forward
                tokens = self._tokenizer(padded).to(self.device)
                found.append(self._module.encode_text(tokens, normalize=True)[: len(part)].float().cpu().numpy())
        return np.concatenate(found)


def preprocessing(given: dict[str, Any]) -> Preprocessing:
    """Return how a model of open_clip wants its pixels, from its own configuration."""
    size = given["size"]
    height, width = (size, size) if isinstance(size, int) else size
    return Preprocessing(
        size=(width, height),
        interpolation="bicubic" if given["interpolation"] == "bicubic" else "bilinear",
        mean=tuple(given["mean"]),
        std=tuple(given["std"]),
    )
