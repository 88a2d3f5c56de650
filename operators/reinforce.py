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
from reinforced.mixing import PARTNER
from reinforced.operator import Columns, Transform
from reinforced.reinforcement import METADATA_KEY, Reinforcement, pixel_crc
from reinforced.teachers import AnyTeacher, Combination, Ensemble

_HASHED_ONE_IN = 64
_LAST_DRAW = 65_535
_SPREAD = ["crop_x", "crop_y", "crop_width", "crop_height", PARTNER, "shares.list.element", "class_places.list.element"]
_MIXED_PIXELS = 1 << 26
"""Decoded pixels kept for images that may be asked for as partners, 200 MB as RGB."""
_COLUMNS = columns.layer_schemas()["reinforced"].fields
_LEAVES = [f"{name}.list.element" if "list" in str(f.type) else name for name, f in _COLUMNS.items()]
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
    al. 2023, *Reinforce Data, Multiply Impact*). `combine` says how several teachers' answers become one. Without
    teachers the parameters alone are stored, for methods that learn from views. MixUp and CutMix take their partners
    from the same shard: let the source shuffle where neighbours are alike. More draws of the same images later are
    another step, with `first_draw` where the first one ended and a layer of its own (`into`).
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
    teachers: Annotated[tuple[AnyTeacher, ...], Field(description="The networks asked; none stores views alone.")] = ()
    combine: Annotated[Combination, Field(description="Mean, or the most confident teacher for each view.")] = "mean"
    label_classes: Annotated[int | None, Field(ge=1, description="Classes the teachers must know, if given.")] = None
    top_k: Annotated[int, Field(ge=1, description="Classes stored for each; the others share the tail.")] = 10
    precision: Annotated[float, Field(gt=0, lt=1, description="Largest total variation error when stored.")] = 1e-3
    batch_size: Annotated[int, Field(ge=1, description="Images the teachers are asked about at once.")] = 64
    first_draw: Annotated[int, Field(ge=0, description="Number of the first draw; others add to an earlier layer.")] = 0
    seed: Annotated[int, Field(description="Seed of the augmentations.")] = 0

    _loaded: Ensemble | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _check_numbers(self) -> Reinforce:
        sparse.steps_for(self.top_k, self.precision)
        if (last := self.first_draw + self.draws - 1) > _LAST_DRAW:
            raise ValueError(f"the last draw would be number {last}; they go up to {_LAST_DRAW}: lower draws")
        return self

    @property
    def rows_per_sample(self) -> int:
        """The draws."""
        return self.draws

    @property
    def first_draw_number(self) -> int:
        """The number of the first draw."""
        return self.first_draw

    @property
    def whole_shard(self) -> bool:
        """Whether views are mixed with others of their shard."""
        return bool(self.augment.mixing)

    def outputs(self) -> pa.Schema:
        """Return the parameters' columns, those of the classes and their shares, and pixel_crc."""
        kind = pa.list_(pa.uint16(), self.top_k)
        lists = [field.with_type(kind) for field in columns.resolve(["class_places", "shares"])]
        said = [columns.known_column("class_table"), *lists] if self.teachers else []
        return pa.schema([*self.augment.outputs(), *said, columns.known_column("pixel_crc")])

    def ingredients(self) -> dict[str, str]:
        """Return the hashes of the teachers' weights."""
        return {f"{i}:{teacher.name}": teacher.content_hash() for i, teacher in enumerate(self.teachers)}

    def metadata(self) -> dict[str, str]:
        """Return the document that readers of the layer need; asks the teachers how many classes they know."""
        steps = sparse.steps_for(self.top_k, self.precision)
        chosen = {"seed": self.seed, "first_draw": self.first_draw, "draws": self.draws}
        said = {"top_k": self.top_k, "steps": steps} if self.teachers else {"top_k": 0, "steps": 0}
        made = Reinforcement.of(self._ready() if self.teachers else None, self.augment, **chosen, **said)
        return {METADATA_KEY: made.model_dump_json()}

    def setup(self) -> None:
        """Load the teachers. Raises: RequestError when top_k is more than the classes they know."""
        if not self.teachers:
            return
        hardware: Any = {"cpus": max(1, int(self.resources.cpus)), "gpus": self.resources.gpus}
        asked: Any = {"combine": self.combine, "classes": self.label_classes, "batch_size": self.batch_size}
        self._loaded = Ensemble(self.teachers, self.augment.size, **asked, **hardware)
        if (classes := self._loaded.classes) < self.top_k:
            raise RequestError(f"reinforce: top_k {self.top_k} is more than the {classes} classes the teachers know")

    def transform(self, batch: Batch) -> Columns:
        """Return the draws of all images, image by image."""
        draws = range(self.first_draw, self.first_draw + self.draws)
        pixels = batch.decoder(_MIXED_PIXELS) if self.whole_shard else batch.pixels.__getitem__
        made = self.augment.parameters(self.seed, batch.keys, draws, *batch.sizes())
        hashed = counter.words(self.seed, "reinforce.pixel_crc", batch.keys, draws, 1).ravel() < 2**32 // _HASHED_ONE_IN
        crcs = np.zeros(len(hashed), np.uint32)
        answers = []
        for start in range(0, len(hashed), self.batch_size):
            rows = range(start, min(start + self.batch_size, len(hashed)))
            seen = [self.augment.view(pixels, made, row, self.draws) for row in rows]
            crcs[rows.start : rows.stop] = [
                pixel_crc(view) if hashed[row] else 0 for row, view in zip(rows, seen, strict=True)
            ]
            if self.teachers:
                answers.append(self._ready().probabilities(np.stack(seen)))
        found: dict[str, Any] = {name: _arrow(values) for name, values in made.items()}
        if self.teachers:
            none = np.empty((0, self._ready().classes), np.float32)
            steps = sparse.steps_for(self.top_k, self.precision)
            classes, shares = sparse.encode(np.concatenate([none, *answers]), self.top_k, steps)
            found |= said(classes, shares, self.draws)
        return found | {"pixel_crc": pa.array(crcs, mask=~hashed)}

    def _ready(self) -> Ensemble:
        if self._loaded is None:
            self.setup()
        assert self._loaded is not None
        return self._loaded

    def __getstate__(self) -> dict[Any, Any]:
        return super().__getstate__() | {"__pydantic_private__": {"_loaded": None}}


def said(classes: sparse.Classes, shares: sparse.Shares, draws: int) -> Columns:
    """Return the columns that hold what the teachers said of some images' draws, image by image; both (rows, top_k)."""
    tables, places = sparse.tabulate(classes.reshape(-1, draws, classes.shape[1]))
    table = pa.array([t if draw == 0 else None for t in tables for draw in range(draws)], pa.list_(pa.uint16()))
    return {"class_table": table, "class_places": _arrow(places.reshape(shares.shape)), "shares": _arrow(shares)}


def _arrow(values: np.ndarray[Any, Any]) -> pa.Array:
    flat = pa.array(values.reshape(-1))
    return flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
