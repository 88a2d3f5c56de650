"""Augmented views made ahead of the teachers: while they look at one batch, threads make the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reinforced import counter, sparse
from reinforced.augment import Augment
from reinforced.batch import Batch
from reinforced.images import Pixels
from reinforced.operator import Columns
from reinforced.reinforcement import pixel_crc

_HASHED_ONE_IN = 64
_DRAWN_AT_ONCE = 1 << 16
_MIXED_PIXELS = 1 << 26
"""Decoded pixels kept for images that may be asked for as partners, 200 MB as RGB."""


class Views:
    """The augmented views of a batch's images, some draws of each, image by image, with their parameters."""

    def __init__(self, augment: Augment, seed: int, batch: Batch, draws: range) -> None:
        """Draw the parameters; the views are made when they are asked for."""
        self.augment, self.draws = augment, len(draws)
        self._pixels = batch.decoder(_MIXED_PIXELS) if augment.mixing else batch.pixels.__getitem__
        keys, (widths, heights) = batch.keys, batch.sizes()
        # Drawing takes a hundred times the memory of what is drawn; a partner is drawn among all images at once.
        images = max(1, len(keys) if augment.mixing else _DRAWN_AT_ONCE // self.draws)
        parts = [
            augment.parameters(seed, keys[part], draws, widths[part], heights[part])
            for part in (slice(i, i + images) for i in range(0, max(len(keys), 1), images))
        ]
        self.parameters = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        chosen = counter.words(seed, "reinforce.pixel_crc", batch.keys, draws, 1).ravel()
        self._hashed = chosen < 2**32 // _HASHED_ONE_IN
        self._crcs, self._made = np.zeros(len(self._hashed), np.uint32), np.zeros(len(self._hashed), bool)

    def columns(self) -> dict[str, pa.Array]:
        """Return the parameters as columns."""
        return {name: arrow_column(values) for name, values in self.parameters.items()}

    def pixel_crcs(self) -> pa.Array:
        """Return the CRC-32 of one in 64 views, null for the others; makes those of them that nobody looked at."""
        for row in np.flatnonzero(self._hashed & ~self._made).tolist():
            self._view(row)
        return pa.array(self._crcs, mask=~self._hashed)

    def __len__(self) -> int:
        return len(self._hashed)

    def batches(self, size: int, threads: int) -> Iterator[Pixels]:
        """Yield all views in order, in batches of at most `size`: uint8 (n, height, width, 3)."""
        parts = [range(start, min(start + size, len(self))) for start in range(0, len(self), size)]
        return made_ahead(self._view, parts, threads)

    def _view(self, row: int) -> Pixels:
        made = self.augment.view(self._pixels, self.parameters, row, self.draws)
        if self._hashed[row]:
            self._crcs[row], self._made[row] = pixel_crc(made), True
        return made


def arrow_column(values: npt.NDArray[Any]) -> pa.Array:
    """Return values (rows, ...) as a column: one value a row, or lists as long as each further axis."""
    found = pa.array(values.reshape(-1))
    for length in reversed(values.shape[1:]):
        found = pa.FixedSizeListArray.from_arrays(found, length)
    return found


def made_ahead(make: Callable[[int], Pixels], parts: Sequence[range], threads: int = 1) -> Iterator[Pixels]:
    """Yield for each part the images that `make` returns for its numbers, in order: uint8 (n, height, width, 3).

    One part is made in so many threads while the caller has the one before; which thread made an image changes nothing.
    Raises: what `make` raises, when that part's turn comes.
    """

    def begin(part: range) -> list[Future[list[Pixels]]]:
        step = -(-len(part) // threads)
        return [pool.submit(_make_all, make, part[i : i + step]) for i in range(0, len(part), step)]

    pool = ThreadPoolExecutor(threads, "augment")
    try:
        following = begin(parts[0]) if parts else []
        for i in range(len(parts)):
            current, following = following, begin(parts[i + 1]) if i + 1 < len(parts) else []
            yield np.stack([image for future in current for image in future.result()])
    finally:
        pool.shutdown(cancel_futures=True)


def _make_all(make: Callable[[int], Pixels], numbers: range) -> list[Pixels]:
    return [make(i) for i in numbers]


def said(classes: sparse.Classes, shares: sparse.Shares, draws: int) -> Columns:
    """Return the columns that hold what the teachers said of some images' draws, image by image; both (rows, top_k)."""
    tables, places = sparse.tabulate(classes.reshape(-1, draws, classes.shape[1]))
    table = pa.array([t if draw == 0 else None for t in tables for draw in range(draws)], pa.list_(pa.uint16()))
    places = places.reshape(shares.shape)
    return {"class_table": table, "class_places": arrow_column(places), "shares": arrow_column(shares)}
