"""Where TinyViT's records are: in a folder an epoch, with a list of keys and a file of records for each process."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reinforced.errors import RequestError


class Epoch:
    """Where each key's record is, among those of all ranks of an epoch one after the other."""

    def __init__(self, folder: Path, record: np.dtype[Any], names: dict[str, int]) -> None:
        self.folder, self.dtype = folder, record
        self.files: list[tuple[Path, int]] = []
        self.starts = [0]
        numbers: list[npt.NDArray[np.int64]] = []
        for values in sorted(folder.glob("rank*-values.bin"), key=lambda file: (len(file.name), file.name)):
            with values.with_name(values.name.replace("-values.bin", "-keys.txt")).open(encoding="utf-8") as keys:
                numbers.append(np.array([names.setdefault(key.strip(), len(names)) for key in keys], np.int64))
            size = values.stat().st_size
            if size > len(numbers[-1]) * record.itemsize:
                raise RequestError(
                    f"{values} has {size:,} bytes, more than {len(numbers[-1]):,} records of {record.itemsize}: it was "
                    "not written with the k of its folder's name, or its keys are cut off"
                )
            self.files.append((values, size))
            self.starts.append(self.starts[-1] + len(numbers[-1]))
        self.places = np.full(len(names), -1, np.int32)
        for start, found in zip(self.starts, numbers, strict=False):
            self.places[found[::-1]] = np.arange(start + len(found) - 1, start - 1, -1)

    def records(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return the records of some keys by number. Raises: ValueError when one is missing or cut off."""
        if len(numbers) and numbers.max() >= len(self.places):
            raise ValueError(f"{self.folder} has no record of this key")
        places = self.places[numbers]
        if (places < 0).any():
            raise ValueError(f"{self.folder} has no record of this key")
        ranks = np.searchsorted(self.starts, places, side="right") - 1
        found = np.empty(len(numbers), self.dtype)
        for rank in np.unique(ranks):
            file, size = self.files[rank]
            rows = places[ranks == rank] - self.starts[rank]
            if rows.max() >= size // self.dtype.itemsize:
                raise ValueError(f"{file} is cut off before the record of this key")
            found[ranks == rank] = np.memmap(file, self.dtype, "r", shape=(size // self.dtype.itemsize,))[rows]
        return found


def find_epochs(path: Path) -> tuple[list[Path], int]:
    """Return the folders of the epochs in order, and their k."""
    named = [(re.fullmatch(r"logits_top(\d+)_epoch(\d+)", f.name), f) for f in path.iterdir()] if path.is_dir() else []
    found = sorted((int(match[2]), int(match[1]), folder) for match, folder in named if match and folder.is_dir())
    if not found:
        raise RequestError(f"'{path}' holds no folder logits_top{{k}}_epoch{{n}}; give the one with TinyViT's epochs")
    sizes = sorted({top_k for _, top_k, _ in found})
    if len(sizes) > 1 or len({epoch for epoch, _, _ in found}) < len(found):
        raise RequestError(f"{path} has epochs of top {', '.join(map(str, sizes))}; they must have the same k")
    return [folder for _, _, folder in found], sizes[0]
