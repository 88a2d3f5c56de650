"""Predicted aesthetic ratings."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, PrivateAttr

from reinforced.batch import Batch
from reinforced.embeddings import check, units
from reinforced.errors import RequestError
from reinforced.operator import Columns, Transform
from reinforced.weight_files import hash_file, read_state

Layer = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


class ScoreAesthetic(Transform):
    """Adds an aesthetic rating, predicted from the image's CLIP embedding by linear layers, one after the other.

    LAION's predictors are such: `head` is their file of weights, with nothing but linear layers between a ViT-L/14
    embedding of unit length and one number. `embed.clip` by the model that the head was trained on makes the column.
    """

    layer: ClassVar = "aesthetic_scores"
    writes: ClassVar = ("aesthetic_score",)
    alone: ClassVar = True
    examples: ClassVar = ()

    head: Annotated[str, Field(description="File of the layers' weights and biases: safetensors, or tensors alone.")]
    embedding: Annotated[str, Field(description="Column with the images' embeddings.")] = "clip_embedding"

    _layers: list[Layer] = PrivateAttr(default_factory=list)

    def __getstate__(self) -> dict[Any, Any]:
        """Leave the weights behind: each worker reads its own."""
        return super().__getstate__() | {"__pydantic_private__": {"_layers": []}}

    def inputs(self) -> pa.Schema:
        """Return the embedding."""
        return pa.schema([pa.field(self.embedding, pa.null())])

    def check(self, available: pa.Schema) -> None:
        """Refuse embeddings that the head does not take."""
        check(available.field(self.embedding))
        size, wanted = available.field(self.embedding).type.list_size, _read(self.head)[0][0].shape[1]
        if size != wanted:
            raise ValueError(f"column '{self.embedding}' has {size} dimensions, the head '{self.head}' takes {wanted}")

    def ingredients(self) -> dict[str, str]:
        """Return the hash of the head's file."""
        return {self.head: hash_file(self.head)}

    def setup(self) -> None:
        """Read the head."""
        self._layers = _read(self.head)

    def transform(self, batch: Batch) -> Columns:
        """Return a rating a row."""
        values = units(batch.table.column(self.embedding)).astype(np.float64)
        for weight, bias in self._layers:
            values = values @ weight.T + bias
        return {"aesthetic_score": values[:, 0].astype(np.float32)}


def _read(head: str) -> list[Layer]:
    """Return the layers in the order of the numbers in their names. Raises: RequestError unless they fit together."""
    state = {name: tensor.double().numpy() for name, tensor in read_state(head).items()}
    names = sorted((n for n in state if n.endswith("weight")), key=lambda n: [int(i) for i in re.findall(r"\d+", n)])
    layers = [(state[name], state.get(name.removesuffix("weight") + "bias")) for name in names]
    shapes = [weight.shape for weight, _ in layers]
    fitting = all(before[0] == after[1] for before, after in pairwise(shapes))
    if not layers or any(len(shape) != 2 for shape in shapes) or not fitting or shapes[-1][0] != 1:
        raise RequestError(
            f"head '{head}' must hold linear layers that lead to one number; its weights (out, in) have shapes {shapes}"
        )
    return [(weight, np.zeros(len(weight)) if bias is None else bias) for weight, bias in layers]
