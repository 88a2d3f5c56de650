"""Scenes: sprites composed over backgrounds, with everything that is known of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, PrivateAttr, model_validator

from reinforced import columns
from reinforced.images import Pixels, encode_png
from reinforced.operator import ShardSpec, Source
from reinforced.scene import Randomizers, Scene, read_ranges
from reinforced.stream import Stream, streams
from reinforced.synthesis import Encoding, encode

from ._sprites import Folder, Made, Pictures, pictures

Folders = Annotated[str, Field(min_length=1)]


class SynthesizeScene(Source):
    """Composes sprites over backgrounds at random, with boxes, masks, points and visibility of every object.

    Domain randomization as of PeopleSansPeople (Ebadi et al. 2021), in two dimensions. Sprites are images with alpha,
    or with a mask beside them (`mug.mask.png`); the first folder of a path is the class. `mug.json` beside `mug.png`
    may name points of it in px: `{"keypoints": {"handle": [x, y]}}`. Scenes depend on the seed and their number alone.
    """

    writes: ClassVar = (
        *("key", "image", "objects", "semantic_mask", "background"),
        *("light_strength", "light_direction", "light_tint", "blur_px"),
    )
    examples: ClassVar = ()

    sprites: Annotated[Folders | Made, Field(description="Folder of sprites, or a source of grey pictures on black.")]
    backgrounds: Annotated[
        Folders | Made, Field(description="Folder of images, cut to the scene's shape, or a source of pictures.")
    ] = Made(op="synthesize.noise")
    randomizers: Annotated[
        Folders | Randomizers, Field(description="Ranges of what varies, or the path of a YAML file of them.")
    ] = Randomizers()
    scenes: Annotated[int, Field(ge=1, le=100_000_000, description="Number of scenes.")] = 1000
    width_px: Annotated[int, Field(ge=16, le=4096, description="Width of a scene.")] = 256
    height_px: Annotated[int, Field(ge=16, le=4096, description="Height of a scene.")] = 256
    min_visibility: Annotated[
        float,
        Field(ge=0, le=1, description="Least share of an object that others and the edge leave visible."),
    ] = 0.2
    encoding: Annotated[Encoding, Field(description="How scenes are stored: JPEG of quality 95, or PNG.")] = "jpeg"
    shard_rows: Annotated[int, Field(gt=0, description="Scenes in a shard.")] = 1000
    seed: Annotated[int, Field(ge=0, description="Decides every scene.")] = 0

    _loaded: tuple[Randomizers, Pictures, Pictures] | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _check_sprites(self) -> SynthesizeScene:
        if isinstance(self.sprites, Made) and self.sprites.op == "synthesize.noise":
            raise ValueError("sprites: noise has no outline; use synthesize.fractal, visual_atom or a folder")
        return self

    def columns(self) -> pa.Schema:
        """Return the columns; RequestError for a sprite that cannot be cut out, or a folder that is not there."""
        _, sprites, _ = self._ready()
        for i in range(len(sprites) if isinstance(sprites, Folder) else 0):
            sprites.sprite(i)
        return columns.resolve(self.writes)

    def ingredients(self) -> dict[str, str]:
        """Return a digest of names, sizes and times of the files, and the ranges."""
        ranges, *pictures = self._ready()
        found: dict[str, Any] = {"randomizers": ranges.model_dump(mode="json")}
        for name, one in zip(("sprites", "backgrounds"), pictures, strict=True):
            if isinstance(one, Folder):
                found[name] = [(file.name, file.size, file.modified) for file in one.files]
        return {name: hashlib.sha256(json.dumps(value).encode()).hexdigest() for name, value in found.items()}

    def shards(self) -> Iterator[ShardSpec]:
        """Yield the first and the last scene (exclusive) of every shard."""
        for start in range(0, self.scenes, self.shard_rows):
            yield {"start": start, "stop": min(start + self.shard_rows, self.scenes)}

    def read(self, shard: ShardSpec) -> pa.Table:
        """Compose the scenes of a shard."""
        keys = [f"{i:08d}" for i in range(shard["start"], shard["stop"])]
        rows = [self._row(key, stream) for key, stream in zip(keys, streams(self.seed, self.name(), keys), strict=True)]
        schema = columns.resolve(self.writes).append(pa.field("_error", pa.string()))
        return pa.Table.from_pylist(rows, schema=schema)

    def _row(self, key: str, stream: Stream) -> dict[str, Any]:
        try:
            name, scene = self.compose(stream)
        except ValueError as error:  # a background that is no image
            return {"key": key, "_error": str(error)}
        pixels, light = scene.lit()
        classes = scene.semantic()
        mask = encode_png(classes.astype(np.uint8 if classes.max() < 256 else np.uint16))
        made = {"image": encode(pixels, self.encoding), "objects": scene.objects(), "semantic_mask": mask}
        return {"key": key, "background": name, **made, **light}

    def compose(self, stream: Stream) -> tuple[str, Scene]:
        """Return the name of the background and the scene on it, not yet lit."""
        ranges, sprites, backgrounds = self._ready()
        name, pixels = backgrounds.background(stream.below(len(backgrounds)))
        scene = Scene(self._cut(pixels), ranges, stream)
        for _ in range(stream.between(*ranges.objects)):
            scene.put(sprites.sprite(stream.below(len(sprites))), self.min_visibility)
        return name, scene

    def _cut(self, pixels: Pixels) -> Pixels:
        """Cut the largest middle part of the scene's shape out of a background, and resize it."""
        from PIL import Image, ImageOps

        return np.asarray(ImageOps.fit(Image.fromarray(pixels), (self.width_px, self.height_px)))

    def _ready(self) -> tuple[Randomizers, Pictures, Pictures]:
        if self._loaded is None:
            ranges = self.randomizers if isinstance(self.randomizers, Randomizers) else read_ranges(self.randomizers)
            sprites = pictures(self.sprites, self.seed, colour=False, background=False)
            self._loaded = ranges, sprites, pictures(self.backgrounds, self.seed)
        return self._loaded

    def __getstate__(self) -> dict[Any, Any]:
        return super().__getstate__() | {"__pydantic_private__": {"_loaded": None}}
