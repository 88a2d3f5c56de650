"""Models that turn texts into vectors of unit length, from local files alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from reinforced.augmentation import Settings
from reinforced.clip import ClipEncoder, OpenClipModel
from reinforced.errors import RequestError
from reinforced.forward import Floats, threads
from reinforced.operator import Resources
from reinforced.weight_files import hash_file
from reinforced.weights import base_name

Encode = Callable[[Sequence[str]], Floats]
"""Texts to float32 (texts, dimensions), each of unit length."""

_FILES = (".json", ".safetensors", ".txt", ".model")
_SAFE = {"local_files_only": True, "trust_remote_code": False}


class TransformersText(Settings):
    """A text model of transformers in a local folder; a text is the mean of its last hidden states over its tokens."""

    transformers: Annotated[str, Field(description="Local folder with configuration, tokenizer and safetensors.")]

    @property
    def name(self) -> str:
        """The folder's name."""
        return base_name(self.transformers)

    def hashes(self) -> dict[str, str]:
        """Return the content hash of each file: an operator's ingredients."""
        files = [str(file) for file in sorted(Path(self.transformers).glob("*")) if file.suffix in _FILES]
        if not files:
            raise RequestError(f"'{self.transformers}' is no local folder of a transformers model")
        return {file: hash_file(file) for file in files}

    def dimensions(self) -> int:
        """Return the length of its vectors, from the configuration alone."""
        from transformers import AutoConfig

        try:
            return int(AutoConfig.from_pretrained(self.transformers, **_SAFE).get_text_config().hidden_size)
        except (OSError, ValueError, AttributeError) as error:
            raise RequestError(f"'{self.transformers}' has no configuration of a text model: {error}") from error

    def load(self, resources: Resources) -> Encode:
        """Load the model. Raises: RequestError when it cannot be loaded."""
        import torch
        from transformers import AutoModel, AutoTokenizer

        device = torch.device("cuda" if resources.gpus > 0 and torch.cuda.is_available() else "cpu")
        try:
            tokenizer: Any = AutoTokenizer.from_pretrained(self.transformers, **_SAFE)
            loaded: Any = AutoModel.from_pretrained(self.transformers, use_safetensors=True, **_SAFE)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise RequestError(f"{self.name} is no text model that can be loaded: {error}") from error
        network = loaded.to(device).eval()

        def encode(texts: Sequence[str]) -> Floats:
            found = []
            with torch.inference_mode(), threads(max(1, int(resources.cpus))):
                for text in texts:  # one by one: padding to the longest of a batch would change the last bits
                    given = tokenizer(text, return_tensors="pt", truncation=True).to(device)
                    mean = network(**given).last_hidden_state[0].float().mean(0)
                    found.append(torch.nn.functional.normalize(mean, dim=0).cpu().numpy())
            return np.stack(found)

        return encode


TextModel = OpenClipModel | TransformersText


def load_encoder(model: TextModel, resources: Resources, batch_size: int) -> Encode:
    """Load what encodes texts. Raises: RequestError when it cannot be loaded."""
    if isinstance(model, TransformersText):
        return model.load(resources)
    return ClipEncoder(model, batch_size, resources).texts
