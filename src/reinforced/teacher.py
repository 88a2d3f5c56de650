"""What a teacher is: where its network comes from, how it wants its pixels, how its logits become probabilities."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from reinforced.augmentation import Settings
from reinforced.errors import RequestError
from reinforced.label_adapters import LabelMap, LabelMetric, parse_adapter
from reinforced.weight_files import hash_files

if TYPE_CHECKING:
    from torch import Tensor, device

Network = Callable[["Tensor"], "Tensor"]
"""Prepared float32 images (N, 3, height, width) to logits (N, classes)."""

Triple = tuple[float, float, float]
Interpolation = Literal["bilinear", "bicubic"]
Side = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Preprocessing:
    """How uint8 images become a network's input: resized (None: taken as they are), scaled to 0..1, normalized."""

    size: tuple[int, int] | None = None
    interpolation: Interpolation = "bilinear"
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Loaded:
    """A network ready to be asked, and the preprocessing its own configuration states."""

    network: Network
    preprocessing: Preprocessing = Preprocessing()
    features: Network | None = None
    """What it sees before it decides: prepared images to (N, dimensions), for comparing teachers; None: its answer."""
    tokens: Network | None = None
    """Its features of each place of the image, row by row: (N, places, width); None: it has none that it can give."""
    channels_last: bool = False
    """Whether a GPU may be given its images with the channels last in memory, which convolutions run faster on."""


class Measured(Settings):
    """How good a teacher was on images it did not learn from: carried into the layer's metadata."""

    split: Annotated[str, Field(description="The part of the dataset it was measured on.")]
    images: Annotated[int, Field(ge=1, description="How many images that were.")]
    accuracy: Annotated[float, Field(ge=0, le=1, description="Share of images whose label it found most probable.")]
    ece: Annotated[float, Field(ge=0, le=1, description="Expected calibration error in 15 bins of equal width.")]


class Teacher(Settings):
    """What every kind of teacher has: how it wants its pixels, and how its logits become probabilities."""

    native: ClassVar[bool] = True
    """Whether PyTorch runs it, so that the arithmetic can be chosen."""

    size_px: Annotated[
        Side | tuple[Side, Side] | None,
        Field(description="Side, or width and height, of its input; images are resized. Default: its configuration's."),
    ] = None
    interpolation: Annotated[
        Interpolation | None, Field(description="How images are resized; default: its configuration's, else bilinear.")
    ] = None
    mean: Annotated[
        Triple | None,
        Field(
            description="Subtracted from the channels, scaled to 0..1 first; default: its configuration's, else 0.",
        ),
    ] = None
    std: Annotated[
        Triple | None,
        Field(description="The channels are divided by these after that; default: its configuration's, else 1."),
    ] = None
    temperature: Annotated[float, Field(gt=0, description="Logits are divided by it before the softmax.")] = 1.0
    labels: Annotated[
        LabelMap | LabelMetric | None,
        BeforeValidator(parse_adapter),
        Field(description="How its classes become the dataset's labels; default: they are the labels."),
    ] = None
    weight: Annotated[float, Field(gt=0, description="Weight of its probabilities in the ensemble's mean.")] = 1.0
    made_by: Annotated[
        str | None, Field(description="The command that makes its files, for whoever does not have them.")
    ] = None
    measured: Annotated[
        Measured | None, Field(description="How good it is on held-out images, for the layer's metadata.")
    ] = None

    @field_validator("std")
    @classmethod
    def _check_std(cls, value: Triple | None) -> Triple | None:
        if value is not None and min(value) <= 0:
            raise ValueError(f"std {list(value)} must be greater than 0")
        return value

    @property
    @abstractmethod
    def name(self) -> str:
        """What messages and the layer's metadata call it."""

    @abstractmethod
    def files(self) -> tuple[str, ...]:
        """Return the files its answers depend on, in a fixed order."""

    @abstractmethod
    def load(self, device: device) -> Loaded:
        """Load the network in evaluation mode. Raises: RequestError when it cannot be loaded."""

    def content_hash(self) -> str:
        """Return the SHA-256 of its file; of several, that of their hexadecimal hashes in a row; empty without any.

        Raises: RequestError when one is not there, with what makes it.
        """
        try:
            return hash_files((*self.files(), *(self.labels.files() if self.labels else ())))
        except RequestError as error:
            if self.made_by is None:
                raise
            raise RequestError(f"{error}. What makes it: {self.made_by}") from error

    def preprocessing(self, own: Preprocessing) -> Preprocessing:
        """Return a configuration's preprocessing with what the settings say in the place of what it says."""
        size = (self.size_px, self.size_px) if isinstance(self.size_px, int) else self.size_px
        given = {"size": size, "interpolation": self.interpolation, "mean": self.mean, "std": self.std}
        return replace(own, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
