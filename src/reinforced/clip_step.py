"""What steps share that ask several CLIP models: embeddings side by side, and the document that says whose they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from reinforced import columns
from reinforced.clip import ClipEncoder, Embeddings, OpenClipModel
from reinforced.errors import RequestError
from reinforced.forward import Compute, Forward
from reinforced.images import Pixels
from reinforced.operator import Transform
from reinforced.reinforcement import PARQUET as REINFORCED
from reinforced.weight_files import hash_files

FORMAT_VERSION = 1
METADATA_KEY, CAPTIONS_KEY = "clip_teachers", "captions"
_SPLIT = ("view_embedding", "caption_embedding")
PARQUET: dict[str, Any] = REINFORCED | {
    "column_encoding": REINFORCED["column_encoding"] | {f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in _SPLIT}
}
"""Encodings that suit the layers: high bytes of unit vectors are alike, apart from the low ones they compress."""

Stored = npt.NDArray[np.float16]


class ClipTeacherRecord(BaseModel):
    """One CLIP teacher: its place in the stored vectors follows from the dimensions of those before it."""

    model_config = ConfigDict(frozen=True)

    name: str
    sha256: str
    dimensions: int
    logit_scale: float
    size: tuple[int, int]
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class ClipTeachers(BaseModel):
    """The document of a layer of CLIP embeddings: whose they are, in the order in which they are stored."""

    model_config = ConfigDict(frozen=True)

    format_version: int = FORMAT_VERSION
    teachers: tuple[ClipTeacherRecord, ...]

    @property
    def dimensions(self) -> list[int]:
        """The length of each teacher's embeddings."""
        return [teacher.dimensions for teacher in self.teachers]

    @property
    def logit_scales(self) -> list[float]:
        """By how much each teacher multiplies cosines before the softmax."""
        return [teacher.logit_scale for teacher in self.teachers]

    @classmethod
    def parse(cls, metadata: Mapping[str, str], where: str) -> ClipTeachers:
        """Read the document from a layer's metadata. Raises: RequestError when it is missing or newer."""
        if METADATA_KEY not in metadata:
            raise RequestError(f"{where} has no CLIP embeddings: its metadata lacks reinforced.{METADATA_KEY}")
        found = cls.model_validate_json(metadata[METADATA_KEY])
        if found.format_version > FORMAT_VERSION:
            raise RequestError(f"{where} has format {found.format_version}, this reads {FORMAT_VERSION}: upgrade")
        return found


class ClipStep(Transform):
    """A step that stores unit embeddings of several CLIP models side by side, as one list of float16.

    Parquet has no bfloat16; float16 takes as many bytes and is eight times as fine for numbers of unit vectors.
    """

    alone: ClassVar[bool] = True
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    teachers: Annotated[tuple[OpenClipModel, ...], Field(min_length=1, description="The CLIP models, in order.")]
    batch_size: Annotated[int, Field(ge=1, description="Images or texts the models are asked about at once.")] = 64
    compute: Annotated[Compute, Field(description="Arithmetic of the models' layers.")] = "float32"

    _loaded: ClipEnsemble | None = PrivateAttr(None)

    def embedding(self, name: str) -> pa.Field:
        """Return the described column, as long as all teachers' spaces together."""
        length = sum(model.dimensions() for model in self.teachers)
        return columns.known_column(name).with_type(pa.list_(pa.float16(), length))

    def ingredients(self) -> dict[str, str]:
        """Return the hashes of the models' files."""
        return {f"{i}:{model.name}": hash_files(model.files()) for i, model in enumerate(self.teachers)}

    def metadata(self) -> dict[str, str]:
        """Return the document on the teachers."""
        hashes = self.ingredients().values()
        asked = zip(self.teachers, hashes, self.ensemble.encoders, strict=True)
        records = tuple(
            ClipTeacherRecord(
                name=model.name,
                sha256=sha256,
                dimensions=model.dimensions(),
                logit_scale=encoder.logit_scale,
                **vars(encoder.how),
            )
            for model, sha256, encoder in asked
        )
        return {METADATA_KEY: ClipTeachers(teachers=records).model_dump_json()}

    def setup(self) -> None:
        """Load the models."""
        self._loaded = ClipEnsemble(self)

    @property
    def ensemble(self) -> ClipEnsemble:
        """The loaded models."""
        if self._loaded is None:
            self.setup()
        assert self._loaded is not None
        return self._loaded

    def __getstate__(self) -> dict[Any, Any]:
        """Leave the models behind: each worker loads its own."""
        return super().__getstate__() | {"__pydantic_private__": {"_loaded": None}}


class ClipEnsemble:
    """CLIP models on one device; every batch of images is copied there once for all of them."""

    def __init__(self, step: ClipStep) -> None:
        """Load a step's models. Raises: RequestError when one cannot be built from local files."""
        self.encoders = [ClipEncoder(model, step.batch_size, step.resources) for model in step.teachers]
        self._names = ", ".join(model.name for model in step.teachers)
        self._width = sum(model.dimensions() for model in step.teachers)
        self._bfloat16 = step.compute == "bfloat16"
        self._forward = Forward(
            [encoder.loaded for encoder in self.encoders],
            self.encoders[0].device,
            batch_size=step.batch_size,
            cpus=max(1, int(step.resources.cpus)),
            compute=step.compute,
        )

    def images(self, batches: Iterable[Pixels]) -> Stored:
        """Embed batches of uint8 images (n, height, width, 3), resized whole: (all images, dimensions)."""
        return self._stored(np.concatenate(found, axis=1) for found in self._forward.answers(batches))

    def texts(self, texts: Sequence[str]) -> Stored:
        """Embed texts: (n, dimensions)."""
        import torch

        with torch.autocast(self.encoders[0].device.type, torch.bfloat16, enabled=self._bfloat16):
            found = [encoder.texts(texts) for encoder in self.encoders] if texts else []
        return self._stored([np.concatenate(found, axis=1)] if found else [])

    def _stored(self, parts: Iterable[Embeddings]) -> Stored:
        def checked() -> Iterator[Stored]:
            for part in parts:
                if not np.isfinite(part).all():
                    raise ValueError(f"an embedding by {self._names} has NaN or infinity")
                yield part.astype(np.float16)

        return np.concatenate([np.empty((0, self._width), np.float16), *checked()])


def text_of_draw(caption: str | None, synthetic: Sequence[str | None] | None, draw: int) -> str:
    """Return an image's caption for draw 0, else one of its synthetic ones. Raises: ValueError when there is none."""
    if caption is None:
        raise ValueError("the row has no caption")
    if not synthetic or None in synthetic:
        raise ValueError(f"the row has no synthetic captions, or one of them is null: {synthetic}")
    chosen = caption if draw == 0 else synthetic[(draw - 1) % len(synthetic)]
    assert chosen is not None
    return chosen
