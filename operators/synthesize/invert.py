"""Images that a classifier remembers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, PrivateAttr, model_validator

from reinforced import columns
from reinforced.errors import RequestError
from reinforced.forward import threads
from reinforced.inversion import Objective, invert
from reinforced.operator import ShardSpec, Source
from reinforced.synthesis import Encoding, encode
from reinforced.teacher import Loaded
from reinforced.teachers import AnyTeacher, Ensemble, load


class SynthesizeInvert(Source):
    """Makes images of each class out of a classifier alone, without data (DeepInversion, Yin et al. 2020).

    Noise is optimized until the teacher sees the class and its batch normalization the statistics of its training; a
    teacher without such layers gives images that convince it and nobody else. `probability` is what the verifier, or
    the teacher, says of the finished image: filter by it. `batch_size` images are optimized together, one of each
    class in turn, and depend on each other; the same ones whatever the shards. On a GPU set `resources: {gpus: 1}`.
    """

    writes: ClassVar = ("key", "image", "label", "probability", "teacher")
    alone: ClassVar = True
    examples: ClassVar = (
        {"teacher": {"factory": "reinforced.models.resnet", "arguments": {"depth": 8}, "size_px": 32}, "classes": 10},
    )

    teacher: Annotated[AnyTeacher, Field(description="The classifier: any teacher that PyTorch differentiates.")]
    verifier: Annotated[
        AnyTeacher | None, Field(description="Another teacher, which says `probability`; default: the teacher.")
    ] = None
    classes: Annotated[int, Field(ge=1, le=100_000, description="Number of classes: the first of the teacher's.")]
    instances: Annotated[int, Field(ge=1, le=1_000_000, description="Images of each class.")] = 10
    size_px: Annotated[
        int | None, Field(ge=2, le=1024, description="Width and height; default: those of the teacher's input.")
    ] = None
    objective: Annotated[Objective, Field(description="What is minimized, and how.")] = Objective()
    batch_size: Annotated[int, Field(ge=1, le=4096, description="Images optimized together.")] = 64
    encoding: Annotated[Encoding, Field(description="How images are stored: JPEG of quality 95, or PNG.")] = "png"
    shard_rows: Annotated[int, Field(gt=0, description="Images in a shard: a multiple of batch_size.")] = 256
    seed: Annotated[int, Field(ge=0, description="Decides the noise that images begin as, and the shifts.")] = 0

    _loaded: tuple[Loaded, Ensemble] | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _check_together(self) -> SynthesizeInvert:
        if self.shard_rows % self.batch_size:
            raise ValueError(f"shard_rows {self.shard_rows} must be a multiple of batch_size {self.batch_size}")
        if not self.teacher.native:
            raise ValueError(f"teacher {self.teacher.name} cannot be differentiated; give one that PyTorch runs")
        return self

    def columns(self) -> pa.Schema:
        """Return the columns of every shard."""
        return columns.resolve(self.writes)

    def ingredients(self) -> dict[str, str]:
        """Return the hashes of the weights."""
        return {t.name: t.content_hash() for t in (self.teacher, self.verifier or self.teacher)}

    def shards(self) -> Iterator[ShardSpec]:
        """Yield the first and the last image (exclusive) of every shard."""
        total = self.classes * self.instances
        for start in range(0, total, self.shard_rows):
            yield {"start": start, "stop": min(start + self.shard_rows, total)}

    def read(self, shard: ShardSpec) -> pa.Table:
        """Make the images of a shard, batch by batch."""
        rows: list[dict[str, Any]] = []
        for start in range(shard["start"], shard["stop"], self.batch_size):
            rows += self._batch(range(start, min(start + self.batch_size, shard["stop"])))
        return pa.Table.from_pylist(rows, schema=self.columns().append(pa.field("_error", pa.string())))

    def _batch(self, images: range) -> list[dict[str, Any]]:
        loaded, verifier = self._ready()
        labels = [i % self.classes for i in images]
        keys = [f"{label:05d}/{i // self.classes:06d}" for i, label in zip(images, labels, strict=True)]
        with threads(max(1, int(self.resources.cpus))):
            found = invert(loaded, labels, keys, self._size(loaded), self.objective, self.seed)
        finite = found.isfinite().all(dim=(1, 2, 3)).tolist()
        pixels = found.nan_to_num().mul(255).round().byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()
        said = verifier.probabilities(pixels)[np.arange(len(labels)), labels]
        return [
            {"key": key, "label": label, "probability": float(share), "teacher": self.teacher.name}
            | ({"image": encode(own, self.encoding)} if good else {"_error": "the optimization diverged"})
            for key, label, own, share, good in zip(keys, labels, pixels, said, finite, strict=True)
        ]

    def _size(self, loaded: Loaded) -> tuple[int, int]:
        size = (self.size_px, self.size_px) if self.size_px else loaded.preprocessing.size
        if size is None:
            raise RequestError(f"{self.name()}: teacher {self.teacher.name} takes any size; set size_px")
        return size

    def _ready(self) -> tuple[Loaded, Ensemble]:
        if self._loaded is None:
            import torch

            cpus, gpus = max(1, int(self.resources.cpus)), self.resources.gpus
            device = torch.device("cuda" if gpus > 0 and torch.cuda.is_available() else "cpu")
            loaded = load(self.teacher, device)
            verifier = Ensemble([self.verifier or self.teacher], self._size(loaded), cpus=cpus, gpus=gpus)
            if verifier.classes < self.classes:
                raise RequestError(f"{self.name()}: classes is {self.classes}, the teacher has {verifier.classes}")
            self._loaded = loaded, verifier
        return self._loaded

    def __getstate__(self) -> dict[Any, Any]:
        return super().__getstate__() | {"__pydantic_private__": {"_loaded": None}}
