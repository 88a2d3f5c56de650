"""The descriptions of its class that fit an image best: the second half of GIST."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, PrivateAttr

from reinforced import columns
from reinforced.batch import Batch
from reinforced.clip import ClipEncoder, OpenClipModel
from reinforced.dataset import open_dataset
from reinforced.errors import RequestError, RowErrors
from reinforced.forward import Floats
from reinforced.operator import Columns, Transform
from reinforced.plan import digest

_SCALE = 100.0
"""The factor of CLIP's cosines before a softmax, at which its training ends."""


class CaptionMatch(Transform):
    """Adds the descriptions of an image's own class that fit the image best by CLIP, best first, with how well they do.

    From Lewis et al. 2023, *GIST: Generating Image-Specific Text*: softmax(100 cos) within the class; other classes'
    descriptions do not compete. A row whose class has no description fails.
    """

    layer: ClassVar[str] = "captions"
    reads: ClassVar[tuple[str | pa.Field, ...]] = ("pixels", "label_name")
    writes: ClassVar[tuple[str | pa.Field, ...]] = (
        *("caption", "captions", "caption_similarities", "caption_probabilities"),
    )
    alone: ClassVar[bool] = True
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    descriptions: Annotated[str, Field(description="A dataset of descriptions, as caption.classes makes it.")]
    model: Annotated[OpenClipModel, Field(description="The CLIP model.")]
    top_k: Annotated[
        int, Field(ge=1, description="Descriptions kept for an image; fewer where its class has fewer.")
    ] = 5
    batch_size: Annotated[int, Field(ge=1, description="Images the model is asked about at once.")] = 64

    _encoder: ClipEncoder | None = PrivateAttr(None)
    _texts: dict[str, tuple[list[str], Floats]] = PrivateAttr(default_factory=dict)

    def outputs(self) -> pa.Schema:
        """Return the columns of captions and how they fit."""
        return columns.resolve(self.writes)

    def ingredients(self) -> dict[str, str]:
        """Return the hashes of the model and of the descriptions."""
        return {**self.model.hashes(), "descriptions": digest(self._read())}

    def _read(self) -> dict[str, list[str]]:
        """Return the descriptions of each class."""
        table = open_dataset(self.descriptions).to_arrow(columns=["label_name", "caption"])
        if not table.num_rows:
            raise RequestError(f"{self.descriptions} has no descriptions")
        found: dict[str, list[str]] = {}
        for name, text in zip(*(column.to_pylist() for column in table.columns), strict=True):
            found.setdefault(name, []).append(text)
        return {name: list(dict.fromkeys(texts)) for name, texts in found.items()}

    def setup(self) -> None:
        """Load the model and embed all descriptions."""
        classes = self._read()
        every = [text for texts in classes.values() for text in texts]
        self._encoder = ClipEncoder(self.model, self.batch_size, self.resources)
        vectors = self._encoder.texts(every)
        ends = np.cumsum([len(texts) for texts in classes.values()])[:-1]
        self._texts = dict(zip(classes, zip(classes.values(), np.split(vectors, ends), strict=True), strict=True))

    def transform(self, batch: Batch) -> Columns:
        """Return the best descriptions a row. Raises: RowErrors for classes without any."""
        assert self._encoder is not None, "setup() comes first"
        names = batch.values("label_name")
        lacking = {i: f"no description of class: {name}" for i, name in enumerate(names) if name not in self._texts}
        if lacking:
            raise RowErrors(lacking)
        images = self._encoder.images(batch.pixels)
        rows = [self._best(name, image) for name, image in zip(names, images, strict=True)]
        captions, similarities, probabilities = (list(column) for column in zip(*rows, strict=True))
        return {
            "caption": [texts[0] for texts in captions],
            "captions": captions,
            "caption_similarities": similarities,
            "caption_probabilities": probabilities,
        }

    def _best(self, name: str, image: Floats) -> tuple[list[str], list[float], list[float]]:
        texts, vectors = self._texts[name]
        cosines = (vectors @ image).astype(np.float64)
        weights = np.exp(_SCALE * (cosines - cosines.max()))
        best = np.argsort(-cosines, kind="stable")[: self.top_k]
        return [texts[i] for i in best], cosines[best].tolist(), (weights / weights.sum())[best].tolist()

    def __getstate__(self) -> dict[Any, Any]:
        return super().__getstate__() | {"__pydantic_private__": {"_encoder": None, "_texts": {}}}
