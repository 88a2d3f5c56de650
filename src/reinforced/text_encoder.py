"""Models that turn texts into vectors, from local files alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field, SerializeAsAny

from reinforced.augmentation import Settings
from reinforced.errors import RequestError
from reinforced.forward import Floats
from reinforced.teacher_kinds.open_clip import OpenClipTeacher
from reinforced.weight_files import hash_file
from reinforced.weights import Weights, base_name

if TYPE_CHECKING:
    from torch import device

Encode = Callable[[Sequence[str]], Floats]
"""Texts to float32 (texts, dimensions)."""

_AT_ONCE = 64


class TextEncoder(Settings):
    """What every kind has: files, and a function from texts to vectors."""

    @property
    def name(self) -> str:
        """What messages call it."""
        raise NotImplementedError

    def content_hash(self) -> str:
        """Return a hash of its files."""
        raise NotImplementedError

    def load(self, on: device) -> Encode:
        """Load the model. Raises: RequestError when it cannot be loaded."""
        raise NotImplementedError


class ClipEncoder(TextEncoder):
    """The text side of a CLIP model of open_clip; its vectors lie in one space with those of its images."""

    open_clip: Annotated[
        str, Field(description="The architecture's name, or a local folder with open_clip_config.json and its weights.")
    ]
    weights: Annotated[
        Weights | None, Field(description="Its weights: a file; default: the folder's safetensors file.")
    ] = None

    @property
    def name(self) -> str:
        """The architecture's or the folder's name."""
        return base_name(self.open_clip)

    @property
    def image_side(self) -> OpenClipTeacher:
        """The same model as a network of images, whose features are normalized embeddings."""
        words = {"class_names": ("image",), "templates": ("{}",)}
        return OpenClipTeacher.model_validate({"open_clip": self.open_clip, "weights": self.weights, **words})

    def content_hash(self) -> str:
        """Return a hash of its files."""
        return self.image_side.content_hash()

    def load(self, on: device) -> Encode:
        """Return what gives the embeddings before normalization."""
        import torch

        module, tokenizer = self.image_side.build(on)

        def encode(texts: Sequence[str]) -> Floats:
            parts = (list(texts[start : start + _AT_ONCE]) for start in range(0, len(texts), _AT_ONCE))
            with torch.inference_mode():
                return np.concatenate([module.encode_text(tokenizer(p).to(on)).float().cpu().numpy() for p in parts])

        return encode


class TransformersEncoder(TextEncoder):
    """A text model of transformers in a local folder; a text is the mean of its last hidden states over its tokens."""

    transformers: Annotated[str, Field(description="Local folder with configuration, tokenizer and safetensors.")]

    @property
    def name(self) -> str:
        """The folder's name."""
        return base_name(self.transformers)

    def content_hash(self) -> str:
        """Return a hash of its files."""
        files = [f for f in sorted(Path(self.transformers).glob("*")) if f.suffix in (".json", ".safetensors", ".txt")]
        if not files:
            raise RequestError(f"'{self.transformers}' is no local folder of a transformers model")
        return "".join(hash_file(str(file))[:16] for file in files)

    def load(self, on: device) -> Encode:
        """Return what gives the means over tokens; padding does not count."""
        import torch
        from transformers import AutoModel, AutoTokenizer

        safe = {"local_files_only": True, "trust_remote_code": False}
        try:
            tokenizer: Any = AutoTokenizer.from_pretrained(self.transformers, **safe)
            loaded: Any = AutoModel.from_pretrained(self.transformers, use_safetensors=True, **safe)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise RequestError(f"{self.name} is no text model that can be loaded: {error}") from error
        network = loaded.to(on).eval()

        def encode(texts: Sequence[str]) -> Floats:
            found = []
            for start in range(0, len(texts), _AT_ONCE):
                part = list(texts[start : start + _AT_ONCE])
                given = tokenizer(part, return_tensors="pt", padding=True, truncation=True).to(on)
                with torch.inference_mode():
                    hidden = network(**given).last_hidden_state
                mask = given["attention_mask"][..., None]
                found.append(((hidden * mask).sum(1) / mask.sum(1)).float().cpu().numpy())
            return np.concatenate(found)

        return encode


KINDS: dict[str, type[TextEncoder]] = {"open_clip": ClipEncoder, "transformers": TransformersEncoder}


def parse_encoder(given: Any) -> TextEncoder:
    """Turn a mapping into the encoder that one of its keys names. Raises: ValueError if none does."""
    if isinstance(given, TextEncoder):
        return given
    kinds = [kind for kind in KINDS if isinstance(given, Mapping) and kind in given]
    if len(kinds) != 1:
        raise ValueError(f"an encoder is one of {', '.join(KINDS)}, such as {{open_clip: models/clip}}, not {given}")
    return KINDS[kinds[0]].model_validate(given)


AnyEncoder = Annotated[SerializeAsAny[TextEncoder], BeforeValidator(parse_encoder)]


def normalized(vectors: Floats) -> Floats:
    """Divide each vector by its Euclidean length; zero stays zero."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12), np.float32)
