"""Decontamination: samples that another collection has too."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, PrivateAttr

from reinforced import columns, embeddings, held_out
from reinforced.batch import Batch
from reinforced.operator import Filter, Verdicts
from reinforced.perceptual_hash import RADIUS, Kind, hamming, hash_array, perceptual_hash


class DedupAgainst(Filter):
    """Drops images that are near to one of another dataset, such as the test images a model will be measured on.

    `reference` is a dataset with the column of `hash.perceptual` (or of embeddings), a Parquet file with it, or a .txt
    of lines `HEXADECIMAL-HASH [key]`. The reason is `contaminated: <key of the reference>`, the score the distance:
    bits that differ, or 1 - cosine. The ledger keeps, and the report shows, the two images side by side.
    """

    examples: ClassVar = ()

    reference: Annotated[str, Field(description="Folder or URL of a dataset, or path of a .parquet or .txt file.")]
    hash: Annotated[Kind, Field(description="Perceptual hash to compare.")] = "phash"
    max_distance: Annotated[
        int | None, Field(ge=0, le=64, description="Most bits that differ; default: 6 of 64, 24 or (PDQ) 31 of 256.")
    ] = None
    min_quality: Annotated[
        int, Field(ge=0, le=100, description="Images with less to see than this are near to none.")
    ] = 5
    embedding: Annotated[str | None, Field(description="Column of embeddings to compare instead of hashes.")] = None
    min_similarity: Annotated[float, Field(gt=-1, le=1, description="Cosine from which embeddings are near.")] = 0.95
    pictures: Annotated[bool, Field(description="Keep the offending pairs side by side, 128 px each.")] = True

    _reference: held_out.HeldOut = PrivateAttr()
    _values: npt.NDArray[Any] = PrivateAttr()

    def __getstate__(self) -> dict[Any, Any]:
        """Leave the reference behind: each worker reads its own."""
        return super().__getstate__() | {"__pydantic_private__": {}}

    @property
    def _column(self) -> str:
        return self.embedding or self.hash

    def inputs(self) -> pa.Schema:
        """Return the image, and the embedding where that is compared."""
        found = columns.resolve(["image"])
        return found.append(pa.field(self.embedding, pa.null())) if self.embedding else found

    def check(self, available: pa.Schema) -> None:
        """Refuse a reference without the column, or with another type in it."""
        reference = held_out.read_held_out(self.reference, self._column)
        kind = reference.values.type
        if not reference.keys:
            return
        if self.embedding:
            embeddings.check(pa.field(f"{self.embedding} of the reference", kind))
            embeddings.check(available.field(self.embedding))
            if kind.list_size != (size := available.field(self.embedding).type.list_size):
                raise ValueError(f"embeddings of {self.reference} have {kind.list_size} dimensions, these have {size}")
        elif (wanted := columns.known_column(self.hash).type) != kind:
            raise ValueError(f"{self.reference} has hashes of type {kind}, but {self.hash} is {wanted}")

    def ingredients(self) -> dict[str, str]:
        """Return the digest of the reference."""
        return {self.reference: held_out.digest(self.reference, self._column)}

    def setup(self) -> None:
        """Read the reference."""
        self._reference = held_out.read_held_out(self.reference, self._column)
        read = embeddings.units if self.embedding else hash_array
        self._values = read(self._reference.values) if self._reference.keys else np.empty((0, 1))

    def judge(self, batch: Batch) -> Verdicts:
        """Find the nearest of the reference for each row."""
        if not self._reference.keys:
            return Verdicts([None] * len(batch))
        if self.embedding:
            queries = embeddings.units(batch.table.column(self.embedding))
            best, _ = held_out.best_matches(queries, self._values, lambda one, other: 1 - one @ other.T)
            # Once more, row by row: the last bits of a matrix product depend on how many rows it has.
            distance = 1 - (queries.astype(np.float64) * self._values[best]).sum(1)
            near = distance <= 1 - self.min_similarity
        else:
            limit = RADIUS[self.hash] if self.max_distance is None else self.max_distance
            hashes, quality = perceptual_hash(batch.values("image"), self.hash)
            best, distance = held_out.best_matches(hashes, self._values, lambda a, b: hamming(a[:, None], b[None]))
            near = (distance <= limit) & (quality >= self.min_quality)
        keys = [self._reference.keys[i] if offends else None for i, offends in zip(best, near, strict=True)]
        shown = [self._show(batch, row, key) if key is not None else None for row, key in enumerate(keys)]
        return Verdicts([key and f"contaminated: {key}" for key in keys], distance.tolist(), shown)

    def _show(self, batch: Batch, row: int, key: str) -> bytes | None:
        own = batch.table.column("image")[row].as_py()
        return held_out.side_by_side([own, self._reference.image(key)]) if self.pictures else None
