"""Images made ahead of whoever looks at them: while one batch is looked at, threads make the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from reinforced.images import Pixels


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
