"""Reinforce images: augment each many times and store what the teachers say of every result."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, PrivateAttr, model_validator

from reinforced import columns, counter, sparse
from reinforced.augment import Augment
from reinforced.batch import Batch
from reinforced.errors import RequestError
from reinforced.operator import Columns, Transform
from reinforced.reinforcement import METADATA_KEY, Reinforcement, pixel_crc
from reinforced.teachers import AnyTeacher, Combination, Ensemble

_HASHED_ONE_IN = 64
_SPREAD = ["crop_x", "crop_y", "crop_width", "crop_height", "shares.list.element"]
_COLUMNS = columns.layer_schemas()["reinforced"].fields
_LEAVES = [f"{name}.list.element" if "[" in str(f.type) else name for name, f in _COLUMNS.items()]
_PARQUET: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 9,
    "write_page_index": False,  # row groups are small: it would only make footers larger
    "use_dictionary": [name for name in _LEAVES if name not in (*_SPREAD, "row", "pixel_crc")],
    "column_encoding": dict.fromkeys(_SPREAD, "BYTE_STREAM_SPLIT") | {"row": "DELTA_BINARY_PACKED"},
    "write_statistics": ["draw", "row"],
}


class Reinforce(Transform):
    """Store, for each of `draws` augmentations of an image, its parameters and the teachers' sparse probabilities.

    The student then replays the augmentation bit for bit and learns from the stored probabilities at no cost (Faghri et
    al. 2023, *Reinforce Data, Multiply Impact*). `combine` says how several teachers' answers become one.
    """

    layer: ClassVar[str] = "reinforced"
    reads: ClassVar[tuple[str | pa.Field, ...]] = ("pixels",)
    parquet: ClassVar[dict[str, Any]] = _PARQUET
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "draws": 3,
            "top_k": 4,
            "augment": {"size_px": 8, "random_resized_crop": {}, "horizontal_flip": {}, "rand_augment": {}},
            "teachers": [{"factory": "reinforced.models.mlp", "arguments": {"inputs": 192}}],
        },
    )

    draws: Annotated[int, Field(ge=1, le=65_535, description="Reinforcements of each image.")]
    augment: Annotated[Augment, Field(description="What is done to the image before the teachers see it.")]
    teachers: Annotated[tuple[AnyTeacher, ...], Field(min_length=1, description="The networks asked, at least one.")]
    combine: Annotated[Combination, Field(description="Mean, or the most confident teacher for each view.")] = "mean"
    label_classes: Annotated[int | None, Field(ge=1, description="Classes the teachers must know, if given.")] = None
    top_k: Annotated[int, Field(ge=1, description="Classes stored for each; the others share the tail.")] = 10
    precision: Annotated[float, Field(gt=0, lt=1, description="Largest total variation error when stored.")] = 1e-3
    batch_size: Annotated[int, Field(ge=1, description="Images the teachers are asked about at once.")] = 64
    seed: Annotated[int, Field(description="Seed of the augmentations.")] = 0

    _loaded: Ensemble | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _check_precision(self) -> Reinforce:
        sparse.steps_for(self.top_k, self.precision)
        return self

    @property
    def rows_per_sample(self) -> int:
        """The draws."""
        return self.draws

    def outputs(self) -> pa.Schema:
        """Return the parameters' columns, classes, shares and pixel_crc."""
        kind = pa.list_(pa.uint16(), self.top_k)
        lists = [field.with_type(kind) for field in columns.resolve(["classes", "shares"])]
        return pa.schema([*self.augment.outputs(), *lists, columns.known_column("pixel_crc")])

    def ingredients(self) -> dict[str, str]:
        """Return the hashes of the teachers' weights."""
        return {f"{i}:{teacher.name}": teacher.content_hash() for i, teacher in enumerate(self.teachers)}

    def metadata(self) -> dict[str, str]:
        """Return the document that readers of the layer need; asks the teachers how many classes they know."""
        steps = sparse.steps_for(self.top_k, self.precision)
        chosen = {"seed": self.seed, "draws": self.draws, "top_k": self.top_k, "steps": steps}
        return {METADATA_KEY: Reinforcement.of(self._ready(), self.augment, **chosen).model_dump_json()}

    def setup(self) -> None:
        """Load the teachers. Raises: RequestError when top_k is more than the classes they know."""
        hardware: Any = {"cpus": max(1, int(self.resources.cpus)), "gpus": self.resources.gpus}
        asked: Any = {"combine": self.combine, "classes": self.label_classes, "batch_size": self.batch_size}
        self._loaded = Ensemble(self.teachers, self.augment.size, **asked, **hardware)
        if (classes := self._loaded.classes) < self.top_k:
            raise RequestError(f"reinforce: top_k {self.top_k} is more than the {classes} classes the teachers know")

    def transform(self, batch: Batch) -> Columns:
        """Return the draws of all images, image by image."""
        pixels, draws = batch.pixels, range(self.draws)
        widths, heights = [p.shape[1] for p in pixels], [p.shape[0] for p in pixels]
        made = self.augment.parameters(self.seed, batch.keys, draws, widths, heights)
        hashed = counter.words(self.seed, "reinforce.pixel_crc", batch.keys, draws, 1).ravel() < 2**32 // _HASHED_ONE_IN
        crcs = np.zeros(len(hashed), np.uint32)
        steps = sparse.steps_for(self.top_k, self.precision)
        made["classes"], made["shares"] = (np.empty((len(hashed), self.top_k), np.uint16) for _ in range(2))
        for start in range(0, len(hashed), self.batch_size):
            part = slice(start, min(start + self.batch_size, len(hashed)))
            rows = range(part.start, part.stop)
            seen = [self.augment.apply(pixels[i // self.draws], {n: v[i] for n, v in made.items()}) for i in rows]
            answers = self._ready().probabilities(np.stack(seen))
            made["classes"][part], made["shares"][part] = sparse.encode(answers, self.top_k, steps)
            crcs[part] = [pixel_crc(image) if hashed[i] else 0 for i, image in zip(rows, seen, strict=True)]
        return {name: _arrow(values) for name, values in made.items()} | {"pixel_crc": pa.array(crcs, mask=~hashed)}

    def _ready(self) -> Ensemble:
        if self._loaded is None:
            self.setup()
        assert self._loaded is not None
        return self._loaded

    def __getstate__(self) -> dict[Any, Any]:
        return super().__getstate__() | {"__pydantic_private__": {"_loaded": None}}


def _arrow(values: np.ndarray[Any, Any]) -> pa.Array:
    flat = pa.array(values.reshape(-1))
    return flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
