"""What all imports of published reinforcements share: matching of samples, the stored form, the layer's description."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, PrivateAttr

from reinforced import columns, sparse
from reinforced.augment import Augment
from reinforced.batch import Batch
from reinforced.errors import RequestError
from reinforced.images import orientation
from reinforced.operator import Columns, Transform
from reinforced.reinforcement import METADATA_KEY, Origin, Reinforcement, backends
from reinforced.views import said

from ..reinforce import Reinforce

Values = dict[str, npt.NDArray[Any]]
Size = tuple[int, int]


@dataclass(frozen=True)
class Published:
    """What is known of a publication before any sample is looked up, and what workers look samples up in."""

    draws: int
    top_k: int
    classes: int
    augment: Augment
    origin: Origin
    ingredients: Mapping[str, str]
    found: Any = field(repr=False)


class Imported(Transform):
    """Brings published reinforcements in as they are: one operator a published form."""

    layer: ClassVar[str] = "reinforced"
    reads: ClassVar[tuple[str | pa.Field, ...]] = ("image", "width", "height")
    parquet: ClassVar[dict[str, Any]] = Reinforce.parquet
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    key_column: Annotated[
        str | None, Field(description="Column whose values name the published entries; default: by the column `path`.")
    ] = None
    precision: Annotated[float, Field(gt=0, lt=1, description="Largest total variation error when stored.")] = 1e-3

    _published: Published | None = PrivateAttr(None)

    @abstractmethod
    def open(self) -> Published:
        """Look at what was published. Raises: RequestError when it cannot be brought in."""

    @abstractmethod
    def name_of(self, value: Any) -> Any:
        """Return the name of the published entry for a sample's `path`, or its value of `key_column`."""

    @abstractmethod
    def entries(self, names: Sequence[Any], sizes: Sequence[Size]) -> Values:
        """Return parameters, `classes` and `probabilities` of some samples, each (samples x draws, ...).

        sizes: of their images, (width, height) in px. Raises: ValueError where a sample has no good entry.
        """

    @property
    def published(self) -> Published:
        """What `open` found, looked at once."""
        if self._published is None:
            found = self.open()
            if not (1 <= found.draws <= 65_535 and 1 <= found.top_k <= found.classes <= 65_536):
                raise RequestError(
                    f"{found.draws} draws of {found.top_k} from {found.classes} classes cannot be stored: draws go up "
                    "to 65,535, classes to 65,536, and no more of them can be listed than there are"
                )
            sparse.steps_for(found.top_k, self.precision)
            self._published = found
        return self._published

    @property
    def rows_per_sample(self) -> int:
        """The draws found."""
        return self.published.draws

    def inputs(self) -> pa.Schema:
        """Return the image with its size, and the column that names the published entry, of any type."""
        return columns.resolve(self.reads).append(pa.field(self.key_column or "path", pa.null()))

    def outputs(self) -> pa.Schema:
        """Return the parameters' columns, those of the classes and their shares, and pixel_crc."""
        kind = pa.list_(pa.uint16(), self.published.top_k)
        lists = [found.with_type(kind) for found in columns.resolve(["class_places", "shares"])]
        table, crc = columns.resolve(["class_table", "pixel_crc"])
        return pa.schema([*self.parameters(), table, *lists, crc])

    def parameters(self) -> pa.Schema:
        """Return the columns that say how each view was made."""
        return self.published.augment.outputs()

    def ingredients(self) -> dict[str, str]:
        """Return the signatures of the publication and of the order of the images."""
        return dict(self.published.ingredients)

    def metadata(self) -> dict[str, str]:
        """Return the document that readers of the layer need, with its origin."""
        known = self.published
        document = Reinforcement(
            backends=backends(known.augment.backend),
            seed=0,
            draws=known.draws,
            classes=known.classes,
            top_k=known.top_k,
            steps=sparse.steps_for(known.top_k, self.precision),
            augment=known.augment,
            teachers=(),
            origin=known.origin,
        )
        return {METADATA_KEY: document.model_dump_json()}

    def setup(self) -> None:
        """Look at what was published."""
        assert self.published

    def transform(self, batch: Batch) -> Columns:
        """Return the published draws of all samples, sample by sample, with no hash of the pixels: none was published.

        Raises: ValueError where nothing is published for a sample, or it does not fit the image.
        """
        names = [self.name_of(value) for value in batch.values(self.key_column or "path")]
        if self.published.origin.replay != "no":
            _check_upright(batch)
        made = self.entries(names, list(zip(batch.values("width"), batch.values("height"), strict=True)))
        steps = sparse.steps_for(self.published.top_k, self.precision)
        known = made["classes"].astype(np.int64), made["probabilities"]
        classes, shares = sparse.encode_sparse(*known, steps, self.published.classes)
        parameters = {found.name: _arrow(made[found.name], found.type) for found in self.parameters()}
        crc = pa.nulls(len(classes), pa.uint32())
        return {**parameters, **said(classes, shares, self.published.draws), "pixel_crc": crc}

    def __getstate__(self) -> dict[Any, Any]:
        return super().__getstate__() | {"__pydantic_private__": {"_published": None}}


def joined(parts: Sequence[Values]) -> Values:
    """Put the rows of several one after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _check_upright(batch: Batch) -> None:
    for data in batch.values("image"):
        if (turned := orientation(data)) != 1:
            raise ValueError(
                f"the image has EXIF orientation {turned}, which the publication's loader ignored: its crops are of "
                "the picture as stored, not upright"
            )


def _arrow(values: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
    if not pa.types.is_fixed_size_list(kind):
        return pa.array(values, kind)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1), kind.value_type), kind.list_size)
