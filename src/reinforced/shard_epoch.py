"""The samples of one shard in one epoch: its images with one draw of their reinforcements."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reinforced import sparse
from reinforced.augmentation import Parameters
from reinforced.errors import RequestError
from reinforced.images import ImageError, Pixels, decode
from reinforced.reinforcement import Reinforcement
from reinforced.sample import Batch, Sample


@dataclass(frozen=True)
class ShardEpoch:
    """The kept rows of one shard with one draw of their reinforcements."""

    name: str
    images: pa.Table
    parameters: Parameters
    targets: sparse.SparseProbabilities
    reinforcement: Reinforcement
    originals: frozenset[int] = frozenset()
    """Rows that are given as they are, with their label."""

    @property
    def bytes(self) -> int:
        """How much memory the encoded images take."""
        return int(self.images.nbytes)

    def sample(self, row: int, image: Pixels | None = None) -> Sample:
        """Decode (unless its image is given) and augment one row.

        Raises: RequestError naming shard and key when the image is not what it was.
        """
        pixels = self.view(row, self.image(row) if image is None else image)
        targets = self.targets
        return Sample(
            pixels, targets.classes[row], targets.probabilities[row], targets.tail[row], int(self.labels[row])
        )

    @functools.cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """The labels of the rows, -1 where there is none."""
        if "label" not in self.images.column_names:
            return np.full(self.images.num_rows, -1)
        return self.images.column("label").cast(pa.int64()).fill_null(-1).to_numpy()  # type: ignore[no-any-return]

    def image(self, row: int) -> Pixels:
        """Decode the image of one row, uint8 (h, w, 3). Raises: RequestError naming shard and key when it is none."""
        try:
            return decode(self.images.column("image")[row].as_py() or b"")
        except ImageError as error:
            raise self._changed(row, error) from error

    def view(self, row: int, image: Pixels) -> Pixels:
        """Augment the decoded image of one row, and mix it with its partner's view where it has one."""
        if row in self.originals:
            return self.reinforcement.augment.plain(image)
        try:
            return self.reinforcement.augment.view(lambda i: image if i == row else self.image(i), self.parameters, row)
        except ImageError as error:
            raise self._changed(row, error) from error

    def row(self, row: int) -> dict[str, Any]:
        """Return the parameters of one row."""
        return {name: values[row] for name, values in self.parameters.items()}

    def _changed(self, row: int, error: ImageError) -> RequestError:
        return RequestError(f"shard {self.name}, sample {self.images.column('key')[row].as_py()}: {error}")


def gathered(places: Sequence[tuple[ShardEpoch, int]]) -> Batch:
    """Return the samples of some rows, at least one, as a batch; the targets are taken shard by shard."""
    pixels = np.stack([shard.view(row, shard.image(row)) for shard, row in places])
    numbers = {id(shard): shard for shard, _ in places}
    owners, rows = np.array([id(shard) for shard, _ in places]), np.array([row for _, row in places])
    count, top_k = len(places), places[0][0].targets.classes.shape[1]
    classes, probabilities = np.empty((count, top_k), np.uint16), np.empty((count, top_k), np.float32)
    tail, labels = np.empty(count, np.float32), np.empty(count, np.int64)
    for owner, shard in numbers.items():
        mine = np.flatnonzero(owners == owner)
        of, targets = rows[mine], shard.targets
        classes[mine], probabilities[mine], tail[mine] = (
            targets.classes[of],
            targets.probabilities[of],
            targets.tail[of],
        )
        labels[mine] = shard.labels[of]
    return Batch(pixels, classes, probabilities, tail, labels)
