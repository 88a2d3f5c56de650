"""The number of threads that PyTorch computes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def compute_threads(count: int) -> Iterator[None]:
    """Compute on so many threads: the number decides how sums are split, and so how they round."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
