"""Soft labels of FKD: crops in relative coordinates, flips, and the most probable classes of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from reinforced.augment import Augment
from reinforced.errors import RequestError
from reinforced.reinforcement import Origin

from ._archive import Archive
from ._imported import Imported, Published, Size, Values, joined
from ._pickles import Array, load

_NOTE = (
    "crops and flips are as published; the teacher saw them resized bicubically to its own size, and FKD's students as "
    "here, bilinearly"
)


class ImportFkd(Imported):
    """Brings in soft labels in the form of FKD (Shen and Xing 2022, *A Fast Knowledge Distillation Framework*).

    One `CLASS/NAME.tar` an image, written by torch.save: relative crops, flips, and [2, k] class indices and
    probabilities, or [2] of the most probable, or its index alone (`hard`). It is found by the last folder and the
    name, up to its first dot, of the sample's `path`, or of the value of `key_column`.
    """

    path: Annotated[str, Field(description="Folder or uncompressed tar of the soft labels of one split.")]
    classes: Annotated[int, Field(ge=2, le=65_536, description="Classes that the teacher knew.")]
    size_px: Annotated[
        int | tuple[int, int], Field(description="Side, or [width, height], that crops are resized to.")
    ] = 224

    def open(self) -> Published:
        """List the files and read the first for the number of crops and classes."""
        archive = Archive(self.path)
        files: dict[str, str] = {}
        for file in archive.files:
            if file.endswith(".tar") and files.setdefault(self.name_of(file), file) != file:
                raise RequestError(
                    f"{self.path} has {file} and {files[self.name_of(file)]}, so samples cannot be told apart; give "
                    "the folder of one split"
                )
        if not files:
            raise RequestError(f"{self.path} holds no CLASS/NAME.tar with soft labels of FKD")
        first = min(files.values())
        try:
            crops, _, labels = _read(archive, first)
        except ValueError as error:
            raise RequestError(f"{self.path}: {error}") from error
        augment = Augment.model_validate({"size_px": self.size_px, "random_resized_crop": {}, "horizontal_flip": {}})
        origin = Origin(form="fkd", replay="yes", note=_NOTE)
        signatures = {"archive": archive.signature}
        return Published(len(crops), labels.shape[2], self.classes, augment, origin, signatures, (archive, files))

    def name_of(self, value: Any) -> str:
        """Return class folder and name, up to its first dot."""
        path = PurePosixPath(str(value))
        return f"{path.parent.name}/{path.name.partition('.')[0]}"

    def entries(self, names: Sequence[Any], sizes: Sequence[Size]) -> Values:
        """Read each image's file and turn its crops into pixels."""
        return joined([self._entry(name, *size) for name, size in zip(names, sizes, strict=True)])

    def _entry(self, name: Any, width: int, height: int) -> Values:
        archive, files = self.published.found
        if name not in files:
            raise ValueError(f"{self.path} has no file {name}.tar for this sample")
        crops, flips, labels = _read(archive, files[name])
        if labels.shape[::2] != (self.published.draws, self.published.top_k):
            raise ValueError(
                f"{files[name]} has {labels.shape[2]} classes of {len(labels)} crops, the first file "
                f"{self.published.top_k} of {self.published.draws}"
            )
        exact = crops * np.array([height, width, height, width])
        top, left, high, wide = np.rint(exact).astype(np.int64).T
        fits = (left + wide <= width) & (top + high <= height) & (np.minimum(wide, high) > 0) & (crops.min(axis=1) >= 0)
        if not fits.all() or np.abs(exact - np.rint(exact)).max() > 0.02:
            raise ValueError(
                f"{files[name]} has crops that no {width}x{height} px image can have had: of another image"
            )
        box = {"crop_x": left, "crop_y": top, "crop_width": wide, "crop_height": high}
        return box | {"flip": flips, "classes": labels[:, 0], "probabilities": labels[:, 1]}


def _read(archive: Archive, file: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Return crops (n, 4), flips (n,) and labels (n, 2, k), which the file has in one of three shapes."""
    data = archive.read(file)
    try:
        found = load(data)
        crops, flips, labels = (part.values if isinstance(part, Array) else None for part in found)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} {error}") from error
    if crops is None or flips is None or labels is None or crops.shape != (len(flips), 4) or len(labels) != len(flips):
        raise ValueError(f"{file} is not [crops (n, 4), flips (n,), labels] as FKD writes it")
    labels = np.stack([labels, np.ones(len(labels))], axis=1) if labels.ndim == 1 else labels
    labels = labels[:, :, None] if labels.ndim == 2 else labels
    if labels.ndim != 3 or labels.shape[1] != 2 or flips.ndim != 1 or not np.isfinite(crops).all():
        raise ValueError(f"{file} has labels of shape {labels.shape}: they must be (n, 2, k)")
    return crops.astype(np.float64), flips.astype(bool), labels.astype(np.float64)
