"""Reinforce images for CLIP: augment each many times and store where CLIP teachers put every view."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from reinforced import columns
from reinforced.augment import Augment
from reinforced.batch import Batch
from reinforced.clip_step import PARQUET, ClipStep
from reinforced.operator import Columns
from reinforced.reinforcement import METADATA_KEY, Reinforcement
from reinforced.views import Views, arrow_column


class ReinforceClip(ClipStep):
    """Stores, for each of `draws` augmentations of an image, its parameters and CLIP teachers' embeddings of the view.

    With `embed.captions` it makes what a CLIP student learns from without asking the teachers (Vasu et al. 2024,
    *MobileCLIP: Fast Image-Text Models through Multi-Modal Reinforced Training*); `reinforced.multimodal` reads both.
    The embeddings stand side by side in the order of the teachers, each of unit length. Teachers see the whole view,
    resized where their input has another size.
    """

    layer: ClassVar[str] = "reinforced_clip"
    reads: ClassVar[tuple[str | pa.Field, ...]] = ("pixels",)
    parquet: ClassVar[dict[str, Any]] = PARQUET

    draws: Annotated[int, Field(ge=1, le=65_535, description="Reinforcements of each image.")]
    augment: Annotated[Augment, Field(description="What is done to the image before the teachers see it; no mixing.")]
    seed: Annotated[int, Field(description="Seed of the augmentations.")] = 0

    @field_validator("augment")
    @classmethod
    def _check_unmixed(cls, value: Augment) -> Augment:
        if value.mixing:
            raise ValueError("a view mixed from two images has no caption: leave out mix_up and cut_mix")
        return value

    @property
    def rows_per_sample(self) -> int:
        """The draws."""
        return self.draws

    def outputs(self) -> pa.Schema:
        """Return the parameters' columns, the embedding and pixel_crc."""
        made = [self.embedding("view_embedding"), columns.known_column("pixel_crc")]
        return pa.schema([*self.augment.outputs(), *made])

    def metadata(self) -> dict[str, str]:
        """Return the documents on the views and on the teachers."""
        chosen = {"seed": self.seed, "draws": self.draws, "top_k": 0, "steps": 0}
        views = Reinforcement.of(None, self.augment, **chosen).model_copy(update={"compute": self.compute})
        return super().metadata() | {METADATA_KEY: views.model_dump_json()}

    def transform(self, batch: Batch) -> Columns:
        """Return the draws of all images, image by image."""
        views = Views(self.augment, self.seed, batch, range(self.draws))
        found = self.ensemble.images(views.batches(self.batch_size, max(1, int(self.resources.cpus))))
        assert found.dtype == np.float16 and len(found) == len(views)
        return views.columns() | {"view_embedding": arrow_column(found), "pixel_crc": views.pixel_crcs()}
