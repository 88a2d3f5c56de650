"""One layer of reinforcements of a dataset, read draw by draw: parameters, partners and what the teachers said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reinforced import sparse
from reinforced.augmentation import Parameters
from reinforced.dataset import Dataset
from reinforced.errors import RequestError
from reinforced.mixing import PARTNER
from reinforced.reinforcement import Reinforcement


class DrawLayer:
    """The draws of the kept rows of a dataset's shards.

    kept: for each shard which rows were kept, None for all. Raises: RequestError if the layer is missing, made by a
    newer version or with libraries that are not here, or if an image is gone that others were mixed with.
    """

    def __init__(self, dataset: Dataset, name: str, kept: Sequence[pa.BooleanArray | None]) -> None:
        self.dataset, self.name, self.kept = dataset, name, kept
        self.where = f"{dataset.path}, layer '{name}'"
        self.reinforcement = Reinforcement.parse(dataset.metadata(name), self.where)
        self.reinforcement.check_backends(self.where)
        self.mixes = bool(self.reinforcement.augment.mixing)
        self._parameters = self.reinforcement.augment.outputs().names
        for shard, rows in enumerate(kept):
            if self.mixes and rows is not None and rows.false_count:
                for draw in range(self.reinforcement.draws):
                    self._partners(
                        shard, as_numpy(self.tables(shard, [(draw, [PARTNER])])[0].column(PARTNER), self.where)
                    )

    def read(self, shard: int, draw: int) -> tuple[Parameters, sparse.SparseProbabilities]:
        """Return one draw (from 0 in this layer) of a shard's kept rows; `mix_row` counts among the kept.

        Without teachers no classes are listed, and the tail is 1. Raises: RequestError for a row without reinforcement.
        """
        said = bool(self.reinforcement.classes)
        parts = [
            (draw, [*self._parameters, *(("class_places", "shares") if said else ())]),
            (0, ["class_table"] if said else []),
        ]
        made, tables = self.tables(shard, parts)
        where = f"{self.where}, shard {self.dataset.shards[shard].name}"
        parameters = {name: as_numpy(made.column(name), where) for name in made.column_names}
        if self.mixes:
            parameters[PARTNER] = self._partners(shard, parameters[PARTNER])
        count = made.num_rows
        if not said:
            empty = np.zeros((count, 0), np.uint16)
            return parameters, sparse.SparseProbabilities(empty, empty.astype(np.float32), np.ones(count, np.float32))
        places, shares = parameters.pop("class_places"), parameters.pop("shares")
        classes = _looked_up(tables.column("class_table"), places, where)
        return parameters, sparse.decode(classes, shares, self.reinforcement.steps)

    def tables(self, shard: int, parts: Sequence[tuple[int, Sequence[str]]]) -> list[pa.Table]:
        """Read columns of some draws of a shard's kept rows; parts: draw and columns of each."""
        made, kept = self.dataset.read_draws(self.name, self.dataset.shards[shard], parts), self.kept[shard]
        return made if kept is None else [table.filter(kept) for table in made]

    def _mask(self, shard: int) -> npt.NDArray[np.bool_]:
        kept, rows = self.kept[shard], self.dataset.shards[shard].rows
        return np.ones(rows, bool) if kept is None else kept.to_numpy(zero_copy_only=False)

    def _partners(self, shard: int, partner: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turn rows of the shard into places among the kept ones. Raises: RequestError for a partner that is gone."""
        mask = self._mask(shard)
        partner = partner.astype(np.int64)
        if len(partner) and not mask[partner].all():
            number = int(np.flatnonzero(~mask[partner])[0])
            name = self.dataset.shards[shard].name
            keys = self.dataset.read("samples", name, ["key"]).column("key")
            own = keys[int(np.flatnonzero(mask)[number])].as_py()
            raise RequestError(
                f"{self.where}, shard {name}: sample {own} was mixed with {keys[int(partner[number])].as_py()}, which "
                "was dropped since: reinforce the images that are left into another layer (into: ...)"
            )
        places: npt.NDArray[Any] = (np.cumsum(mask) - 1)[partner]
        return places


def _looked_up(tables: pa.ChunkedArray, places: npt.NDArray[Any], where: str) -> sparse.Classes:
    """Return the classes that stand at these places (rows, k) of the tables, one of each row."""
    if tables.null_count:
        raise RequestError(f"{where}: {tables.null_count} images that were kept have no classes; run it again")
    lists = tables.combine_chunks()
    values, offsets = lists.values.to_numpy(), lists.offsets.to_numpy()
    if len(places) and (places.max(axis=1) >= np.diff(offsets)).any():
        raise RequestError(f"{where}: a place is beyond its image's class_table: the layer is damaged")
    classes: sparse.Classes = values[offsets[:-1, None] + places]
    return classes


def as_numpy(column: pa.ChunkedArray, where: str) -> npt.NDArray[Any]:
    """Return a column as an array, fixed-size lists as its rows. Raises: RequestError when a value is missing."""
    if column.null_count:
        raise RequestError(f"{where}: {column.null_count} images that were kept have no reinforcement; run it again")
    array = column.combine_chunks()
    if pa.types.is_fixed_size_list(array.type):
        return array.flatten().to_numpy().reshape(len(array), array.type.list_size)  # type: ignore[no-any-return]
    return array.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
