"""What an augmentation is: typed settings, integer parameters drawn from words of its own, columns to hold them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, model_validator

from reinforced import counter
from reinforced.errors import nearest

if TYPE_CHECKING:
    from PIL.Image import Image

Integers = npt.NDArray[np.int64]
Parameters = dict[str, npt.NDArray[Any]]
Draw = Callable[[int], counter.U32]


class Settings(BaseModel):
    """Configuration that refuses unknown keys and names the nearest known one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, given: Any) -> Any:
        unknown = [key for key in given if key not in cls.model_fields] if isinstance(given, dict) else []
        if unknown:
            raise ValueError(f"{cls.__name__} has no setting '{unknown[0]}'{nearest(unknown[0], cls.model_fields)}")
        return given


class Augmentation(Settings):
    """One augmentation: how its parameters are drawn and stored."""

    @abstractmethod
    def outputs(self) -> pa.Schema:
        """Return the columns that hold its parameters."""

    @abstractmethod
    def draw(self, draw: Draw, width: Integers, height: Integers) -> Parameters:
        """Draw parameters for images of these sizes (shape (images, 1)).

        `draw(count)` gives random words of shape (images, draws, count). Returns arrays of shape (images, draws, ...).
        """


class ViewAugmentation(Augmentation):
    """An augmentation of the resized view: `draw` is told the view's size, not the image's."""

    @abstractmethod
    def apply(self, image: Image, row: Mapping[str, Any]) -> Image:
        """Change an RGB view by the parameters of one row; keeps its size."""


def chosen(random_words: counter.U32, probability: float) -> npt.NDArray[np.bool_]:
    """Return which words say yes: those below the probability in units of 2**-32."""
    return random_words < np.uint64(round(probability * 2**32))
