"""Compose sprites over a background: where each is drawn, what of it stays visible, and the light on all of it."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import AfterValidator, Field, ValidationError

from reinforced.augmentation import Settings
from reinforced.errors import RequestError
from reinforced.images import Pixels
from reinforced.operations import enhance
from reinforced.storage import Storage
from reinforced.stream import Stream

if TYPE_CHECKING:
    from PIL.Image import Image

Owner = npt.NDArray[np.int16]
ATTEMPTS = 8
"""Places tried for a sprite before it is left out."""
OPAQUE = 128
"""Least alpha of a pixel that belongs to a sprite's mask."""


def _rising(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"{list(value)} must be in rising order")
    return value


_Rising = AfterValidator(_rising)
_Factor = Annotated[float, Field(ge=0, le=4)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Shift = Annotated[float, Field(ge=-0.5, le=0.5)]
_Angle = Annotated[float, Field(ge=-180, le=180)]
_Range = tuple[_Factor, _Factor]


class Randomizers(Settings):
    """What varies from scene to scene: each value is drawn evenly from its range [least, largest]."""

    objects: Annotated[
        tuple[Annotated[int, Field(ge=0, le=200)], Annotated[int, Field(ge=0, le=200)]],
        _Rising,
        Field(description="Sprites put into a scene; those that find no place are left out."),
    ] = (1, 8)
    scale: Annotated[
        tuple[Annotated[float, Field(gt=0, le=2)], Annotated[float, Field(gt=0, le=2)]],
        _Rising,
        Field(description="A sprite's longer side, as a share of the scene's shorter one."),
    ] = (0.2, 0.6)
    rotation_degrees: Annotated[
        tuple[_Angle, _Angle], _Rising, Field(description="Turn of a sprite, counter-clockwise.")
    ] = (-30, 30)
    flip_probability: Annotated[float, Field(ge=0, le=1, description="Share of sprites that are mirrored.")] = 0.5
    brightness: Annotated[_Range, _Rising, Field(description="Factor on a sprite or background.")] = (
        0.7,
        1.3,
    )
    saturation: Annotated[_Range, _Rising, Field(description="Factor on its distance from grey.")] = (0.6, 1.4)
    hue: Annotated[
        tuple[_Shift, _Shift], _Rising, Field(description="Shift of its hue, as a share of the colour circle.")
    ] = (-0.05, 0.05)
    light: Annotated[
        tuple[_Share, _Share],
        _Rising,
        Field(description="Strength s of light from a side: from 1 + s times as bright there to 1 - s opposite."),
    ] = (0, 0.5)
    tint: Annotated[_Range, _Rising, Field(description="Factor on each channel of the scene.")] = (0.9, 1.1)
    blur_px: Annotated[
        tuple[Annotated[float, Field(ge=0, le=20)], Annotated[float, Field(ge=0, le=20)]],
        _Rising,
        Field(description="Standard deviation of the Gaussian that blurs the scene."),
    ] = (0, 1)


def read_ranges(path: str) -> Randomizers:
    """Read ranges from a YAML file. Raises: RequestError if it is not there, or is none."""
    folder, _, name = path.rpartition("/")
    try:
        return Randomizers.model_validate(yaml.safe_load(Storage(folder or ".").read(name)))
    except FileNotFoundError:
        raise RequestError(f"synthesize.scene: randomizers: '{path}' does not exist; give a YAML file") from None
    except (yaml.YAMLError, ValidationError) as error:
        raise RequestError(f"synthesize.scene: randomizers: '{path}': {error}") from error


@dataclass(frozen=True)
class Sprite:
    """A cut-out picture, uint8 (height, width, 4), its class, and named points of it as (x, y) in px."""

    name: str
    pixels: Pixels
    label: int
    label_name: str
    keypoints: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass
class _Placed:
    sprite: Sprite
    layer: Pixels
    left: int
    top: int
    keypoints: dict[str, tuple[float, float]]

    @functools.cached_property
    def mask(self) -> npt.NDArray[np.bool_]:
        return self.layer[..., 3] >= OPAQUE


class Scene:
    """A background that sprites are put on; `owner` says which sprite (from 0) each pixel shows, -1 none."""

    def __init__(self, background: Pixels, ranges: Randomizers, stream: Stream) -> None:
        """Begin with a background, uint8 (height, width, 3)."""
        from PIL import Image

        self.ranges, self._stream = ranges, stream
        self.pixels: Pixels = np.asarray(self._jittered(Image.fromarray(background)))
        self.owner: Owner = np.full(background.shape[:2], -1, np.int16)
        self._placed: list[_Placed] = []

    def put(self, sprite: Sprite, min_visibility: float) -> bool:
        """Put a sprite in front at random; False where every place would leave it or another too little visible."""
        layer, keypoints = self._turned(sprite)
        height, width = self.owner.shape
        for _ in range(ATTEMPTS):
            left = self._stream.below(width) - layer.shape[1] // 2
            top = self._stream.below(height) - layer.shape[0] // 2
            moved = {name: (x + left, y + top) for name, (x, y) in keypoints.items()}
            placed = _Placed(sprite, layer, left, top, moved)
            owner = self._covered(placed)
            areas = np.bincount(owner[owner >= 0], minlength=len(self._placed) + 1)
            shares = [area / max(1, p.mask.sum()) for area, p in zip(areas, [*self._placed, placed], strict=True)]
            if min(areas) > 0 and min(shares) >= min_visibility:
                self.owner = owner
                self._placed.append(placed)
                self._blend(placed)
                return True
        return False

    def lit(self) -> tuple[Pixels, dict[str, Any]]:
        """Return the scene in its light, tinted and blurred, and the parameters of that, by column."""
        from PIL import Image, ImageFilter

        height, width = self.owner.shape
        strength, (across, down) = self._stream.uniform(*self.ranges.light), self._stream.direction()
        tint = [self._stream.uniform(*self.ranges.tint) for _ in range(3)]
        x, y = (np.arange(width) + 0.5) * 2 / width - 1, (np.arange(height) + 0.5) * 2 / height - 1
        gain = 1 + strength * np.clip(x[None, :] * across + y[:, None] * down, -1, 1)
        shown = np.clip(np.floor(self.pixels * gain[..., None] * np.array(tint) + 0.5), 0, 255).astype(np.uint8)
        blur_px = self._stream.uniform(*self.ranges.blur_px)
        blurred: Pixels = np.asarray(Image.fromarray(shown).filter(ImageFilter.GaussianBlur(blur_px)))
        light = {"light_strength": strength, "light_direction": [across, down], "light_tint": tint, "blur_px": blur_px}
        return blurred, light

    def objects(self) -> list[dict[str, Any]]:
        """Return what is known of each object, from the back to the front, as the column `objects` has it."""
        return [self._described(i, placed) for i, placed in enumerate(self._placed)]

    def semantic(self) -> npt.NDArray[np.integer]:
        """Return the class of each pixel plus one, 0 where the background shows."""
        table = np.array([0, *(placed.sprite.label + 1 for placed in self._placed)])
        return table[self.owner + 1]

    def _described(self, i: int, placed: _Placed) -> dict[str, Any]:
        from reinforced import run_length

        mask = self.owner == i
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        left, top, area = columns[0], rows[0], int(mask.sum())
        return {
            "label": placed.sprite.label,
            "label_name": placed.sprite.label_name,
            "box": [left, top, columns[-1] + 1 - left, rows[-1] + 1 - top],
            "area": area,
            "visibility": area / int(placed.mask.sum()),
            "mask": run_length.encode(mask),
            "keypoints": [self._seen(i, name, x, y) for name, (x, y) in placed.keypoints.items()],
            "crowd": False,
            "sprite": placed.sprite.name,
        }

    def _seen(self, i: int, name: str, x: float, y: float) -> dict[str, Any]:
        height, width = self.owner.shape
        if not (0 <= x < width and 0 <= y < height):
            return {"name": name, "x": 0.0, "y": 0.0, "visible": 0}
        return {"name": name, "x": x, "y": y, "visible": 1 if self.owner[int(y), int(x)] > i else 2}

    def _turned(self, sprite: Sprite) -> tuple[Pixels, dict[str, tuple[float, float]]]:
        """Mirror, colour, resize and turn a sprite; the points go with it."""
        from PIL import Image

        ranges, stream = self.ranges, self._stream
        flip = stream.chance(ranges.flip_probability)
        colour, alpha = Image.fromarray(sprite.pixels[..., :3]), Image.fromarray(sprite.pixels[..., 3])
        image = self._jittered(colour)
        image.putalpha(alpha)
        if flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        factor = stream.uniform(*ranges.scale) * min(self.owner.shape) / max(image.size)
        size = (max(2, round(image.width * factor)), max(2, round(image.height * factor)))
        angle = math.radians(stream.uniform(*ranges.rotation_degrees))
        # In multiples of 2**-24: libraries differ in the last bits of sine and cosine.
        cosine, sine = (round(f(angle) * 2**24) / 2**24 for f in (math.cos, math.sin))
        width = math.ceil(abs(size[0] * cosine) + abs(size[1] * sine))
        height = math.ceil(abs(size[0] * sine) + abs(size[1] * cosine))
        corner = (size[0] - width * cosine + height * sine) / 2, (size[1] - width * sine - height * cosine) / 2
        back = (cosine, -sine, corner[0], sine, cosine, corner[1])
        resized = image.resize(size, Image.Resampling.BICUBIC)
        turned = resized.transform((width, height), Image.Transform.AFFINE, back, Image.Resampling.BICUBIC)
        points = {}
        for name, (x, y) in sprite.keypoints.items():
            x = (image.width - x if flip else x) * size[0] / image.width - size[0] / 2
            y = y * size[1] / image.height - size[1] / 2
            points[name] = (x * cosine + y * sine + width / 2, y * cosine - x * sine + height / 2)
        return np.asarray(turned), points

    def _jittered(self, image: Image) -> Image:
        from reinforced.colour import turn_hue

        image = enhance(image, "brightness", self._stream.uniform(*self.ranges.brightness))
        image = enhance(image, "colour", self._stream.uniform(*self.ranges.saturation))
        return turn_hue(image, round(256 * self._stream.uniform(*self.ranges.hue)))

    def _slices(self, placed: _Placed) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Where a sprite lies in the scene, and what part of the sprite that is."""
        (height, width), (high, wide) = self.owner.shape, placed.layer.shape[:2]
        top, left = max(0, placed.top), max(0, placed.left)
        bottom, right = min(height, placed.top + high), min(width, placed.left + wide)
        inner = slice(top - placed.top, bottom - placed.top), slice(left - placed.left, right - placed.left)
        return (slice(top, bottom), slice(left, right)), inner

    def _covered(self, placed: _Placed) -> Owner:
        there, here = self._slices(placed)
        owner = self.owner.copy()
        owner[there][placed.mask[here]] = len(self._placed)
        return owner

    def _blend(self, placed: _Placed) -> None:
        there, here = self._slices(placed)
        pixels = self.pixels.copy()
        layer = placed.layer[here].astype(np.uint32)
        alpha = layer[..., 3:]
        pixels[there] = (layer[..., :3] * alpha + pixels[there] * (255 - alpha) + 127) // 255
        self.pixels = pixels
