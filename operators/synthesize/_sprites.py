"""What scenes are made of: sprites and backgrounds from the user's folders, or rendered."""

from __future__ import annotations

import functools
import json
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from reinforced.errors import RequestError
from reinforced.images import Pixels, decode, decode_rgba
from reinforced.registry import find_operator
from reinforced.scene import OPAQUE, Sprite
from reinforced.stream import Stream
from reinforced.synthesis import Synthesis

from ..read._files import read_files
from ..read._listing import IMAGE_SUFFIXES, Found, list_folder, open_path

MASK, POINTS = ".mask.png", ".json"
SPRITES_KEPT = 4096


class Made(BaseModel):
    """Pictures of another source, made as they are needed; its other parameters stand beside `op`."""

    model_config = ConfigDict(extra="allow")

    op: Annotated[
        Literal["synthesize.fractal", "synthesize.noise", "synthesize.visual_atom"], Field(description="The source.")
    ]

    def source(self, seed: int, **fixed: Any) -> Synthesis:
        """Return the source with a seed, if it has none of its own, and parameters that it may not choose."""
        cls = find_operator(self.op)
        fixed = {name: value for name, value in fixed.items() if name in cls.model_fields}
        made = cls.model_validate({"seed": seed} | (self.model_extra or {}) | fixed)
        assert isinstance(made, Synthesis)
        made.columns()
        return made


class Pictures(Protocol):
    """Sprites or backgrounds by number."""

    def __len__(self) -> int:
        """Return how many there are."""

    def sprite(self, i: int) -> Sprite:
        """Return one as a sprite."""

    def background(self, i: int) -> tuple[str, Pixels]:
        """Return the name and the pixels of one, uint8 (height, width, 3)."""


class MadePictures:
    """Pictures of a source; as sprites, what is not black of its grey pictures, in colours of its own."""

    def __init__(self, source: Synthesis) -> None:
        """Take a source."""
        self._source = source

    def __len__(self) -> int:
        """Return how many there are."""
        return self._source.classes * self._source.instances

    def sprite(self, i: int) -> Sprite:
        """Render a sprite; what is outside of its box is cut away."""
        from reinforced.fractal import random_palette

        place = divmod(i, self._source.instances)
        grey, key = self._source.make(*place).pixels, self._source.key(*place)
        packed = random_palette(Stream(self._source.seed, "synthesize.scene.colours", key))[grey]
        channels = [packed & 255, packed >> 8 & 255, packed >> 16 & 255, np.where(grey > 0, 255, 0)]
        rows, columns = (np.flatnonzero((grey > 0).any(axis=axis)) for axis in (1, 0))
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        pixels = np.stack(channels, axis=2).astype(np.uint8)[box]
        return Sprite(f"{self._source.name()} {key}", pixels, place[0], f"{self._source.name()} {place[0]}")

    def background(self, i: int) -> tuple[str, Pixels]:
        """Render a background."""
        place = divmod(i, self._source.instances)
        pixels = self._source.make(*place).pixels
        coloured = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
        return f"{self._source.name()} {self._source.key(*place)}", coloured


class Folder:
    """Image files below a folder; a sprite's first folder is its class, without one its own name."""

    def __init__(self, operator: str, path: str) -> None:
        """List the files. Raises: RequestError if the folder is not there or holds no image."""
        self._operator, self._path = operator, path
        self._fs, self._folder = open_path(path)
        self.files = list_folder(operator, self._fs, self._folder)
        self._found = {file.name: file for file in self.files}
        self._names = [f.name for f in self.files if f.suffix in IMAGE_SUFFIXES and not f.name.endswith(MASK)]
        if not self._names:
            raise RequestError(f"{operator}: '{path}' holds no image; put files there, or give another folder")
        self._labels = {name: i for i, name in enumerate(sorted({_class(name) for name in self._names}))}
        self._sprite = functools.lru_cache(SPRITES_KEPT)(self._load)

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self._names)

    def sprite(self, i: int) -> Sprite:
        """Return a sprite. Raises: RequestError for one that cannot be cut out, or has points outside."""
        return self._sprite(i)

    def background(self, i: int) -> tuple[str, Pixels]:
        """Return a background. Raises: ValueError for what is no image."""
        return self._names[i], decode(self._read(self._found[self._names[i]]))

    def _load(self, i: int) -> Sprite:
        name = self._names[i]
        try:
            pixels = decode_rgba(self._read(self._found[name]))
            if mask := self._beside(name, MASK):
                pixels = np.dstack([pixels[..., :3], self._mask(mask, pixels)])
            opaque = pixels[..., 3] >= OPAQUE
            if opaque.all() or not opaque.any():
                kind = "has no transparent pixel" if opaque.all() else "is wholly transparent"
                raise ValueError(f"{kind}; save it with alpha, or put its mask beside it as {_stem(name)}{MASK}")
            points = self._points(name, pixels)
        except ValueError as error:
            raise RequestError(f"{self._operator}: sprite '{self._path}/{name}': {error}") from error
        return Sprite(name, pixels, self._labels[_class(name)], _class(name), points)

    def _mask(self, mask: Found, pixels: Pixels) -> Pixels:
        values: Pixels = decode(self._read(mask)).max(axis=2)
        if values.shape != pixels.shape[:2]:
            sizes = [f"{array.shape[1]} x {array.shape[0]} px" for array in (values, pixels)]
            raise ValueError(f"its mask {mask.name} has {sizes[0]}, the image {sizes[1]}; they must be as large")
        return values

    def _points(self, name: str, pixels: Pixels) -> dict[str, tuple[float, float]]:
        beside = self._beside(name, POINTS)
        given = json.loads(self._read(beside)) if beside else {}
        points = given.get("keypoints", {}) if isinstance(given, dict) else None
        height, width = pixels.shape[:2]
        for point in points.values() if isinstance(points, dict) else [None]:
            if not (isinstance(point, list) and len(point) == 2 and 0 <= point[0] <= width and 0 <= point[1] <= height):
                raise ValueError(
                    f'{_stem(name)}{POINTS} must be {{"keypoints": {{"name": [x, y], ...}}}} with points in its '
                    f"{width} x {height} px, not {json.dumps(given)[:200]}"
                )
        return {key: (float(x), float(y)) for key, (x, y) in (points or {}).items()}

    def _beside(self, name: str, suffix: str) -> Found | None:
        return self._found.get(_stem(name) + suffix)

    def _read(self, file: Found) -> bytes:
        (content,) = read_files(self._fs, self._folder, [file.name], [file.size])
        if isinstance(content, str):
            raise ValueError(content)
        return content


def pictures(given: str | Made, seed: int, **fixed: bool) -> Pictures:
    """Return the pictures of a folder or of a source, see `Made.source`."""
    if isinstance(given, str):
        return Folder("synthesize.scene", given)
    return MadePictures(given.source(seed, **fixed))


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _class(name: str) -> str:
    return name.split("/")[0] if "/" in name else _stem(name)
