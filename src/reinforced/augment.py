"""Augmentations with stored parameters: drawn as integers from the sample's key, replayed bit for bit.

Everything random is defined in integers from counter-based words, so no library's generator and no rounding of `exp` or
`log` decides a parameter. One function, `Augment.apply`, makes the pixels for the teachers and again for the student.
Each augmentation draws from words of its own name: adding one changes no other's parameters.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from reinforced import columns, counter
from reinforced.augmentation import Augmentation, Parameters, Settings, ViewAugmentation
from reinforced.auto_augment import AutoAugment
from reinforced.blur import GaussianBlur
from reinforced.colour import ColourJitter, Grayscale
from reinforced.geometry import HorizontalFlip, RandomCrop, RandomResizedCrop
from reinforced.images import Pixels
from reinforced.mixing import PARTNER, CutMix, Mixing, MixUp, partners
from reinforced.rand_augment import RandAugment, TrivialAugment
from reinforced.random_erasing import RandomErasing
from reinforced.resize import Backend, resize

TRANSFORM_VERSION = 1
"""Rises when the same parameters give other pixels, or the same seed other parameters."""

_MAX_SIDE_PX = 65_535


class Augment(Settings):
    """What is done to an image before the teachers see it: crop, resize, then the others in the order given here."""

    size_px: Annotated[
        int | tuple[int, int], Field(description="Side, or [width, height], that crop or image is resized to.")
    ]
    backend: Annotated[
        Backend,
        Field(description="What resizes: `exact` is Pillow; `fast` is PyTorch, in a fraction of the time."),
    ] = "exact"
    random_resized_crop: Annotated[
        RandomResizedCrop | None, Field(description="Random crop; omitted: the whole image is resized.")
    ] = None
    random_crop: Annotated[RandomCrop | None, Field(description="Random shift after padding the resized view.")] = None
    horizontal_flip: Annotated[HorizontalFlip | None, Field(description="Random mirroring.")] = None
    rand_augment: Annotated[RandAugment | None, Field(description="Random colour and geometry operations.")] = None
    auto_augment: Annotated[AutoAugment | None, Field(description="A pair of operations from a learned policy.")] = None
    trivial_augment: Annotated[TrivialAugment | None, Field(description="One operation of random strength.")] = None
    colour_jitter: Annotated[
        ColourJitter | None, Field(description="Random brightness, contrast, saturation and hue.")
    ] = None
    grayscale: Annotated[Grayscale | None, Field(description="Random loss of colour.")] = None
    gaussian_blur: Annotated[GaussianBlur | None, Field(description="Random blur.")] = None
    random_erasing: Annotated[RandomErasing | None, Field(description="A random box painted over.")] = None
    mix_up: Annotated[MixUp | None, Field(description="A blend with another image of the shard.")] = None
    cut_mix: Annotated[CutMix | None, Field(description="A box taken from another image of the shard.")] = None

    @field_validator("size_px")
    @classmethod
    def _check_size(cls, value: int | tuple[int, int]) -> int | tuple[int, int]:
        sides = value if isinstance(value, tuple) else (value, value)
        if not all(1 <= side <= _MAX_SIDE_PX for side in sides):
            raise ValueError(f"size_px {value} must be from 1 to {_MAX_SIDE_PX}")
        return value

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of every augmented image."""
        return self.size_px if isinstance(self.size_px, tuple) else (self.size_px, self.size_px)

    @functools.cached_property
    def augmentations(self) -> dict[str, Augmentation]:
        """The configured augmentations by name."""
        return {
            name: value for name in type(self).model_fields if isinstance(value := getattr(self, name), Augmentation)
        }

    @functools.cached_property
    def mixing(self) -> list[Mixing]:
        """The configured augmentations that need a partner, in order."""
        return [part for part in self.augmentations.values() if isinstance(part, Mixing)]

    def outputs(self) -> pa.Schema:
        """Return the columns of all parameters."""
        fields = [field for part in self.augmentations.values() for field in part.outputs()]
        return pa.schema([*fields, *columns.resolve([PARTNER] if self.mixing else [])])

    def parameters(
        self, seed: int, keys: Sequence[str], draws: Sequence[int], widths: Sequence[int], heights: Sequence[int]
    ) -> Parameters:
        """Draw the parameters of some draws of some images; arrays of shape (images x draws, ...), image by image.

        Partners for mixing are places among these images. Raises: ValueError for an image with a side longer than
        65,535 px, more than the columns hold.
        """
        image = [np.array(sides, np.int64).reshape(-1, 1) for sides in (widths, heights)]
        view = [np.full_like(image[0], side) for side in self.size]
        if len(keys) and max(image[0].max(), image[1].max()) > _MAX_SIDE_PX:
            raise ValueError(f"an image with a side over {_MAX_SIDE_PX} px cannot be reinforced: resize it first")
        found: Parameters = {}
        for name, part in self.augmentations.items():
            draw = functools.partial(counter.words, seed, f"augment.{name}", keys, draws)
            width, height = view if isinstance(part, ViewAugmentation | Mixing) else image
            for column, values in part.draw(draw, width, height).items():
                kind = part.outputs().field(column).type
                element = kind.value_type if pa.types.is_fixed_size_list(kind) else kind
                found[column] = values.reshape(-1, *values.shape[2:]).astype(element.to_pandas_dtype())
        if self.mixing:
            other = partners(counter.words(seed, "augment.partner", keys, draws, 1)[..., 0], len(keys)).ravel()
            mixed = np.any([part.happens(found) for part in self.mixing], axis=0)
            found[PARTNER] = np.where(mixed, other, np.repeat(np.arange(len(keys)), len(draws))).astype(np.uint32)
        return found

    def apply(self, pixels: Pixels, row: Mapping[str, Any]) -> Pixels:
        """Augment one decoded image (uint8 (h, w, 3)) by the parameters of one row, but for mixing.

        Returns: the view, uint8 (height, width, 3).
        Raises: ImageError when the crop lies outside: this is not the image the row was drawn for.
        """
        if self.random_resized_crop is not None:
            pixels = self.random_resized_crop.crop(pixels, row)
        image = resize(pixels, self.size, self.backend)
        for part in self.augmentations.values():
            if isinstance(part, ViewAugmentation):
                image = part.apply(image, row)
        return np.array(image)

    def view(self, images: Callable[[int], Pixels], parameters: Parameters, row: int, draws: int = 1) -> Pixels:
        """Augment an image by row `image * draws + draw` of the parameters, and mix it with its partner's view.

        images: gives the decoded image of a number. Returns: uint8 (height, width, 3).
        """
        image, draw = divmod(row, draws)
        own = {name: values[row] for name, values in parameters.items()}
        view = self.apply(images(image), own)
        if (partner := int(own.get(PARTNER, image))) == image:
            return view
        other = {name: values[partner * draws + draw] for name, values in parameters.items()}
        return self.mix(view, self.apply(images(partner), other), own)

    def plain(self, pixels: Pixels) -> Pixels:
        """Resize a whole decoded image to the view's size with nothing random, whatever this does to its shape."""
        return np.array(resize(pixels, self.size, self.backend))

    def mix(self, view: Pixels, partner: Pixels, row: Mapping[str, Any]) -> Pixels:
        """Mix a view with its partner's by the parameters of one row: first MixUp, then CutMix."""
        for part in self.mixing:
            view = part.mix(view, partner, row)
        return view
