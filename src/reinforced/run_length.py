"""Masks as COCO stores them: lengths of runs down the columns, written as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


def encode(mask: Mask) -> dict[str, Any]:
    """Return a mask, bool (height, width), as `size` [height, width] and `counts`, the text that pycocotools reads."""
    flat = mask.flatten(order="F")
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size)
    runs = np.diff(ends, prepend=0).tolist()
    if flat.size and flat[0]:
        runs = [0, *runs]  # the first run is of zeros
    return {"size": list(mask.shape), "counts": pack(runs)}


def decode(size: Sequence[int], counts: str) -> Mask:
    """Return the mask of `encode`. Raises: ValueError where the runs do not fill [height, width]."""
    runs = _as_runs(counts)
    height, width = size
    if sum(runs) != height * width or min(runs, default=0) < 0:
        raise ValueError(f"the mask's runs cover {sum(runs)} pixels, its size is {width} x {height}")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape((height, width), order="F")


def covered(counts: str) -> int:
    """Return the pixels that a mask's runs cover, inside and outside of it: its height times its width."""
    return sum(_as_runs(counts))


def pack(runs: list[int]) -> str:
    """Return runs as text: each as its difference from the one two before, five bits a character from the lowest."""
    letters = []
    for i, run in enumerate(runs):
        rest, more = (run - runs[i - 2] if i > 2 else run), True
        while more:
            group, rest = rest & 31, rest >> 5
            more = rest != (-1 if group & 16 else 0)
            letters.append(chr(48 + (group | 32 if more else group)))
    return "".join(letters)


def _as_runs(text: str) -> list[int]:
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        group = ord(letter) - 48
        if not 0 <= group < 64:
            raise ValueError(f"'{letter}' is no character of a mask's runs")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        value -= (group & 16) << (shift - 4)  # the last group's highest bit is the sign
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return runs
