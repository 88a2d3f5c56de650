"""Augmented views made ahead of the teachers: while they look at one batch, threads make the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from reinforced import counter
from reinforced.augment import Augment
from reinforced.batch import Batch
from reinforced.images import Pixels
from reinforced.reinforcement import pixel_crc

_HASHED_ONE_IN = 64


class Views:
    """The augmented views of a batch's images, some draws of each, image by image, with their parameters."""

    def __init__(self, augment: Augment, seed: int, batch: Batch, draws: range) -> None:
        """Draw the parameters; the views are made when they are asked for."""
        self.augment, self.pixels, self.draws = augment, batch.pixels, len(draws)
        widths, heights = [p.shape[1] for p in self.pixels], [p.shape[0] for p in self.pixels]
        self.parameters = augment.parameters(seed, batch.keys, draws, widths, heights)
        chosen = counter.words(seed, "reinforce.pixel_crc", batch.keys, draws, 1).ravel()
        self._hashed = chosen < 2**32 // _HASHED_ONE_IN
        self._crcs = np.zeros(len(self._hashed), np.uint32)

    def pixel_crcs(self) -> pa.Array:
        """Return the CRC-32 of one in 64 views, null for the others; all views must have been made."""
        return pa.array(self._crcs, mask=~self._hashed)

    def __len__(self) -> int:
        return len(self._hashed)

    def batches(self, size: int, threads: int) -> Iterator[Pixels]:
        """Yield all views in order, in batches of at most `size`: uint8 (n, height, width, 3)."""
        parts = [range(start, min(start + size, len(self))) for start in range(0, len(self), size)]
        return made_ahead(self._view, parts, threads)

    def _view(self, row: int) -> Pixels:
        image = self.pixels[row // self.draws]
        made = self.augment.apply(image, {name: values[row] for name, values in self.parameters.items()})
        if self._hashed[row]:
            self._crcs[row] = pixel_crc(made)
        return made


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
