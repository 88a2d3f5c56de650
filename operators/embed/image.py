"""Embed images: store what a network sees before it decides."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, PrivateAttr

from reinforced import columns
from reinforced.batch import Batch
from reinforced.embedder import Embedder
from reinforced.errors import RequestError
from reinforced.forward import BatchSize, Compute, Floats
from reinforced.operator import Columns, Transform
from reinforced.reinforcement import TeacherRecord
from reinforced.teachers import AnyTeacher
from reinforced.views import arrow_column

_LEAST_NORM = 1e-12


class EmbedImage(Transform):
    """Adds a network's features of each image, resized whole: a vector, or with `tokens` one for each place.

    They are what `teachers probe` judges networks by: the input of the head, or the layer that `features` names. A
    second network is another step with its own `into` and `column`. Parquet has no bfloat16: what is computed in it is
    stored as float16, whose finer steps hold it exactly between 6e-5 and 65,504, or as float32.
    """

    layer: ClassVar[str] = "embeddings"
    reads: ClassVar[tuple[str | pa.Field, ...]] = ("pixels",)
    writes: ClassVar[tuple[str | pa.Field, ...]] = ("embedding",)
    parquet: ClassVar[dict[str, Any]] = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    alone: ClassVar[bool] = True
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"teacher": {"factory": "reinforced.models.mlp", "arguments": {"inputs": 192}, "features": "1", "size_px": 8}},
    )

    teacher: Annotated[AnyTeacher, Field(description="The network, of any kind a teacher can be.")]
    column: Annotated[str, Field(pattern=r"^\w+$", description="Name of the column.")] = "embedding"
    tokens: Annotated[bool, Field(description="Whether to store the features of each place, not one vector.")] = False
    normalize: Annotated[bool, Field(description="Whether each vector is divided by its Euclidean length.")] = True
    store: Annotated[Literal["float16", "float32"], Field(description="Type of the stored numbers.")] = "float16"
    shape: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...] | None,
        Field(description="[width] or, of tokens, [places, width]; default: planning loads the network and measures."),
    ] = None
    batch_size: Annotated[BatchSize, Field(description="Images at once; auto: as a GPU's memory allows.")] = 64
    compute: Annotated[Compute, Field(description="Arithmetic of the network's layers.")] = "float32"

    _embedder: Embedder | None = PrivateAttr(None)
    _measured: tuple[int, ...] | None = PrivateAttr(None)

    def outputs(self) -> pa.Schema:
        """Return the column, of fixed-size lists."""
        if self.shape is None and self._measured is None:
            self._measured = self._load(gpus=0).shape
        kind = columns.parse_type(self.store)
        for length in reversed(self.shape or self._measured or ()):
            kind = pa.list_(kind, length)
        return pa.schema([columns.known_column("embedding").with_name(self.column).with_type(kind)])

    def ingredients(self) -> dict[str, str]:
        """Return the hash of the weights."""
        return {self.teacher.name: self.teacher.content_hash()}

    def metadata(self) -> dict[str, str]:
        """Return the document on the network, its weights' hash and its preprocessing."""
        embedder = self._ready()
        own = TeacherRecord.of(self.teacher, self.teacher.content_hash(), embedder.preprocessing)
        asked = own.model_dump(mode="json", include={"kind", "name", "sha256", "size", "interpolation", "mean", "std"})
        chosen = self.model_dump(include={"column", "tokens", "normalize", "store", "compute"})
        return {"embeddings": json.dumps({**chosen, "shape": embedder.shape, "teacher": asked})}

    def setup(self) -> None:
        """Load the network. Raises: RequestError when it has no such features, or of another shape than is stated."""
        embedder = self._load(self.resources.gpus)
        if self.shape is not None and embedder.shape != self.shape:
            raise RequestError(
                f"embed.image: shape is {list(self.shape)}, features of {self.teacher.name} are {list(embedder.shape)}"
            )
        self._embedder, self._measured = embedder, embedder.shape

    def transform(self, batch: Batch) -> Columns:
        """Return a vector, or a list of them, a row."""
        return {self.column: arrow_column(self._stored(self._ready().embed(batch.pixels)))}

    def _stored(self, found: Floats) -> npt.NDArray[Any]:
        if self.normalize:
            found = found / np.maximum(np.linalg.norm(found, axis=-1, keepdims=True), _LEAST_NORM)
        with np.errstate(over="ignore"):
            stored = found.astype(self.store)
        if not np.isfinite(stored).all():
            raise ValueError(f"features of {self.teacher.name} are NaN, infinite or too large for {self.store}")
        return stored

    def _load(self, gpus: float) -> Embedder:
        chosen = self.model_dump(include={"tokens", "batch_size", "compute"})
        return Embedder(self.teacher, gpus=gpus, cpus=max(1, int(self.resources.cpus)), **chosen)

    def _ready(self) -> Embedder:
        if self._embedder is None:
            self.setup()
        assert self._embedder is not None
        return self._embedder

    def __getstate__(self) -> dict[Any, Any]:
        return super().__getstate__() | {"__pydantic_private__": {"_embedder": None, "_measured": self._measured}}
