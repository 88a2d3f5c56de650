"""Soft labels of TinyViT: for each epoch a seed and the most probable classes of every image."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from reinforced import columns
from reinforced.augment import Augment
from reinforced.errors import RequestError
from reinforced.reinforcement import Origin

from ._imported import Imported, Published, Size, Values
from ._order import image_order, order_signature
from ._tinyvit_epochs import Epoch, find_epochs

_NOTE = (
    "its views follow from the column `seed` and TinyViT's own generator alone, so they cannot be made here: make them "
    "there with that seed, and read classes and shares from the layer"
)


class ImportTinyVit(Imported):
    """Brings in soft labels in the form of TinyViT (Wu et al. 2022, *Fast Pretraining Distillation*).

    A folder `logits_top{k}_epoch{n}` an epoch, which becomes a draw; in it `rank{r}-keys.txt` and `rank{r}-values.bin`,
    a record of int32 seed, int16 classes and float16 probabilities for each key. A key is the image's index (see
    `order`) or the name of its file without suffix: of the sample's `path`, or the value of `key_column`. The seed is
    stored, the views cannot be replayed.
    """

    path: Annotated[str, Field(description="Folder that holds the epochs.")]
    classes: Annotated[int, Field(ge=2, le=32_768, description="Classes that the teacher knew.")]
    order: Annotated[
        str | None,
        Field(
            description="For keys that are indices: text file of all images' paths by index, or the dataset whose "
            "paths are to be sorted; default: keys are names."
        ),
    ] = None
    size_px: Annotated[int, Field(description="Side of the views the teacher saw.")] = 224

    def open(self) -> Published:
        """Find the epochs and read all keys: 4 bytes of memory for each and epoch, beside the names."""
        folders, top_k = find_epochs(Path(self.path))
        record = np.dtype([("seed", "<i4"), ("classes", "<i2", top_k), ("probabilities", "<f2", top_k)])
        names: dict[str, int] = {}
        places = [Epoch(folder, record, names) for folder in folders]
        said = "\n".join(f"{file}:{size}" for epoch in places for file, size in epoch.files)
        signatures = {"epochs": hashlib.sha256(said.encode()).hexdigest()}
        index = None
        if self.order is not None:
            index, signatures["order"] = image_order(self.order), order_signature(self.order)
            if len(index) != len(names):
                raise RequestError(
                    f"{self.path} has {len(names):,} keys and order {self.order} {len(index):,} images: places in it "
                    "would be those of other images; give a text file of all paths (order)"
                )
        origin = Origin(form="tinyvit", replay="no", note=_NOTE)
        found = names, places, index
        return Published(len(folders), top_k, self.classes, Augment(size_px=self.size_px), origin, signatures, found)

    def parameters(self) -> pa.Schema:
        """Return seed."""
        return columns.resolve(["seed"])

    def name_of(self, value: Any) -> str:
        """Return the key of the image in the files."""
        _, _, index = self.published.found
        if index is not None and self.key_column is None:
            if value not in index:
                raise ValueError(f"order {self.order} does not have path {value}")
            return str(index[value])
        return str(value) if self.key_column is not None else PurePosixPath(str(value)).stem

    def entries(self, names: Sequence[Any], sizes: Sequence[Size]) -> Values:  # noqa: ARG002
        """Read the images' records of each epoch."""
        keys, epochs, _ = self.published.found
        if missing := [name for name in names if name not in keys]:
            raise ValueError(f"{self.path} has no key {missing[0]}")
        numbers = np.array([keys[name] for name in names])
        records = np.stack([epoch.records(numbers) for epoch in epochs], axis=1).reshape(-1)
        if (least := records["classes"].min()) < 0:
            raise ValueError(f"{self.path} has class {least} for one of {', '.join(names)}: its record is damaged")
        return {column: records[column] for column in ("seed", "classes", "probabilities")}
