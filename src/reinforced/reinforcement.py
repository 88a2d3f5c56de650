"""What a reinforced layer says about itself: one JSON document in its Parquet metadata, versioned."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reinforced import columns
from reinforced.augment import TRANSFORM_VERSION, Augment
from reinforced.errors import RequestError
from reinforced.forward import Compute
from reinforced.images import Pixels
from reinforced.mixing import PARTNER
from reinforced.resize import LIBRARIES, Backend
from reinforced.teacher import Measured, Preprocessing, Teacher
from reinforced.teachers import KINDS, Combination, Ensemble

FORMAT_VERSION = 1
METADATA_KEY = "reinforcement"
"""Name of the document; in a Parquet file's metadata it is `reinforced.reinforcement`."""

_SPREAD = ["crop_x", "crop_y", "crop_width", "crop_height", PARTNER, "shares.list.element", "class_places.list.element"]
_COLUMNS = columns.layer_schemas()["reinforced"].fields
_LEAVES = [f"{name}.list.element" if "list" in str(f.type) else name for name, f in _COLUMNS.items()]
PARQUET: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 9,
    "write_page_index": False,  # row groups are small: it would only make footers larger
    "use_dictionary": [name for name in _LEAVES if name not in (*_SPREAD, "row", "pixel_crc")],
    "column_encoding": dict.fromkeys(_SPREAD, "BYTE_STREAM_SPLIT") | {"row": "DELTA_BINARY_PACKED"},
    "write_statistics": ["draw", "row"],
}
"""Encodings that suit the layer's columns."""


class TeacherRecord(BaseModel):
    """Who taught: enough to tell whether another run asked the same network in the same way."""

    kind: str = ""
    name: str
    sha256: str
    size: tuple[int, int] | None = None
    interpolation: str = "bilinear"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    temperature: float
    labels: dict[str, Any] | None = None
    weight: float
    measured: Measured | None = None

    @classmethod
    def of(cls, teacher: Teacher, sha256: str, preprocessing: Preprocessing) -> TeacherRecord:
        """Describe a teacher whose network takes its pixels in this way."""
        stated = {name: getattr(teacher, name) for name in ("name", "temperature", "weight", "measured")}
        kind = next(kind for kind, found in KINDS.items() if isinstance(teacher, found))
        labels = teacher.labels.model_dump(mode="json") if teacher.labels else None
        return cls(kind=kind, sha256=sha256, labels=labels, **stated, **asdict(preprocessing))


class Origin(BaseModel):
    """Where imported reinforcements come from, and how far their views can be made again here."""

    form: str
    replay: Literal["yes", "approximate", "no"]
    note: str
    teachers: str = ""


class Reinforcement(BaseModel):
    """How the rows of a reinforced layer were made and how to read them; `docs/format.md` is the reference."""

    model_config = ConfigDict(frozen=True)

    format_version: int = FORMAT_VERSION
    transform_version: int = TRANSFORM_VERSION
    backends: Annotated[dict[str, str], Field(description="Libraries that decoded and resized, with their versions.")]
    seed: int
    first_draw: int = 0
    draws: int
    classes: int
    top_k: int
    steps: int
    augment: Augment
    teachers: tuple[TeacherRecord, ...]
    combine: Combination = "mean"
    compute: Compute = "float32"
    compiled: bool = False
    origin: Origin | None = None

    @classmethod
    def of(cls, ensemble: Ensemble | None, augment: Augment, **chosen: int) -> Reinforcement:
        """Describe what these teachers (or nobody) and this configuration make; `chosen` are the fields of integers."""
        said: dict[str, Any] = {"backends": backends(augment.backend), "augment": augment, **chosen}
        if ensemble is None:
            return cls(classes=0, teachers=(), **said)
        asked = zip(ensemble.teachers, ensemble.hashes, ensemble.preprocessing, strict=True)
        teachers = tuple(TeacherRecord.of(*one) for one in asked)
        how: dict[str, Any] = {name: getattr(ensemble, name) for name in ("classes", "combine", "compute", "compiled")}
        return cls(teachers=teachers, **how, **said)

    @classmethod
    def parse(cls, metadata: Mapping[str, str], where: str) -> Reinforcement:
        """Read the document from a layer's metadata. Raises: RequestError when it is missing, damaged or newer."""
        document = metadata.get(f"reinforced.{METADATA_KEY}") or metadata.get(METADATA_KEY)
        if document is None:
            raise RequestError(f"{where} has no reinforced layer: its metadata lacks reinforced.{METADATA_KEY}")
        stated = _Versions.model_validate_json(document)
        if stated.format_version > FORMAT_VERSION or stated.transform_version > TRANSFORM_VERSION:
            raise RequestError(
                f"{where} was written by a newer version (format {stated.format_version}, transforms "
                f"{stated.transform_version}; this one reads {FORMAT_VERSION} and {TRANSFORM_VERSION}): upgrade"
            )
        try:
            return cls.model_validate_json(document)
        except ValidationError as error:
            raise RequestError(f"{where}: its description of the reinforcement is damaged: {error}") from error

    def check_origin(self, where: str) -> None:
        """Warn when the views of an imported layer are only close to those the teachers saw.

        Raises: RequestError when they cannot be made at all.
        """
        if self.origin is not None and self.origin.replay == "no":
            raise RequestError(f"{where} was imported from {self.origin.form}: {self.origin.note}")
        if self.origin is not None and self.origin.replay == "approximate":
            warnings.warn(f"{where} was imported from {self.origin.form}: {self.origin.note}", stacklevel=3)

    def check_backends(self, where: str) -> None:
        """Warn when an image library here is not the version that made the layer: pixels may then differ.

        Raises: RequestError when it is not installed at all.
        """
        for name, made_with in self.backends.items():
            try:
                here = _version(name)
            except PackageNotFoundError as error:
                raise RequestError(
                    f"{where} was made with {name} {made_with}, which is not installed: its pixels cannot be made "
                    f"without it; install {name}"
                ) from error
            if here != made_with:
                warnings.warn(
                    f"{where} was made with {name} {made_with}, here is {here}: "
                    "pixels may differ from what the teachers saw; stored pixel hashes are checked",
                    stacklevel=3,
                )


class _Versions(BaseModel):
    format_version: int
    transform_version: int


def backends(backend: Backend = "exact") -> dict[str, str]:
    """Return the versions of the libraries that decide on the pixels of a backend."""
    return {name: _version(name) for name in LIBRARIES[backend]}


def _version(name: str) -> str:
    return version(name).partition("+")[0]  # what follows tells PyTorch's builds apart, by the devices they know


def pixel_crc(pixels: Pixels) -> int:
    """Return the CRC-32 of augmented pixels, as stored in the column of that name."""
    return zlib.crc32(pixels.tobytes())
