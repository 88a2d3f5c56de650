"""Reinforce images: augment each many times and store what the teachers say of every result."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field, PrivateAttr, model_validator

from reinforced import columns, sparse
from reinforced.augment import Augment
from reinforced.batch import Batch
from reinforced.errors import RequestError
from reinforced.forward import Compute
from reinforced.label_column import checked_labels
from reinforced.operator import Columns, Transform
from reinforced.reinforcement import METADATA_KEY, PARQUET, Reinforcement
from reinforced.teachers import ON_LABEL, AnyTeacher, Combination, Ensemble
from reinforced.views import Views, said

_LAST_DRAW = 65_535


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
    parquet: ClassVar[dict[str, Any]] = PARQUET
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
    combine: Annotated[
        Combination, Field(description="Mean, or for each view the teacher most confident, or so on the image's label.")
    ] = "mean"
    label_classes: Annotated[int | None, Field(ge=1, description="Classes the teachers must know, if given.")] = None
    top_k: Annotated[int, Field(ge=1, description="Classes stored for each; the others share the tail.")] = 10
    precision: Annotated[float, Field(gt=0, lt=1, description="Largest total variation error when stored.")] = 1e-3
    batch_size: Annotated[
        Annotated[int, Field(ge=1)] | Literal["auto"],
        Field(description="Images the teachers are asked about at once; auto: as a GPU's memory allows, 64 on a CPU."),
    ] = 64
    compute: Annotated[Compute, Field(description="Arithmetic of the teachers' layers.")] = "float32"
    compile: Annotated[bool, Field(description="Whether PyTorch compiles the teachers first.")] = False
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

    def inputs(self) -> pa.Schema:
        """Return the image and, where labels are counted or looked at, the label."""
        return columns.resolve(["image", *(["label"] if self.combine == ON_LABEL or self.label_classes else [])])

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
        chosen = self.model_dump(include={"combine", "batch_size", "compute", "compile"})
        self._loaded = Ensemble(self.teachers, self.augment.size, classes=self.label_classes, **chosen, **hardware)
        if (classes := self._loaded.classes) < self.top_k:
            raise RequestError(f"reinforce: top_k {self.top_k} is more than the {classes} classes the teachers know")

    def transform(self, batch: Batch) -> Columns:
        """Return the draws of all images, image by image."""
        labels = None
        if self.teachers and "label" in self.inputs().names:  # first, as it costs nothing
            labels = checked_labels(batch, self._ready().classes, needed=self.combine == ON_LABEL).repeat(self.draws)
        views = Views(self.augment, self.seed, batch, range(self.first_draw, self.first_draw + self.draws))
        found = views.columns()
        if self.teachers:
            ensemble, threads = self._ready(), max(1, int(self.resources.cpus))
            answers = ensemble.answers(views.batches(ensemble.batch_size, threads), labels)
            steps = sparse.steps_for(self.top_k, self.precision)
            found |= said(*sparse.encode_all(answers, self.top_k, steps), self.draws)
        return found | {"pixel_crc": views.pixel_crcs()}

    def _ready(self) -> Ensemble:
        if self._loaded is None:
            self.setup()
        assert self._loaded is not None
        return self._loaded

    def __getstate__(self) -> dict[Any, Any]:
        return super().__getstate__() | {"__pydantic_private__": {"_loaded": None}}
