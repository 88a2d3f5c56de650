"""Visual atoms: rings of sine waves."""

from __future__ import annotations

import functools
import math
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from reinforced.stream import Stream
from reinforced.synthesis import Picture, Synthesis

Floats = npt.NDArray[np.float64]


class SynthesizeVisualAtom(Synthesis):
    """Draws closed rings whose radius waves and trembles, grey on black (Takashima et al. 2023, *Visual Atoms*).

    A class is the number of rings, of vertices, the frequencies and heights of two sine waves, the tremble and the
    shape of the ellipse; an instance turns, moves and scales it and draws its own tremble and thickness of line.
    """

    made: ClassVar = ("ring_count", "vertex_count", "wave_frequencies", "wave_heights", "tremble")
    writes: ClassVar = ("key", "image", "label", *made)

    max_rings: Annotated[int, Field(ge=1, le=200, description="Most rings.")] = 40
    min_vertices: Annotated[int, Field(ge=3, le=5000, description="Least vertices of a ring.")] = 200
    max_vertices: Annotated[int, Field(ge=3, le=5000, description="Most vertices of a ring.")] = 1000
    max_frequency: Annotated[int, Field(ge=0, le=100, description="Most waves around a ring.")] = 20
    max_height: Annotated[
        float, Field(ge=0, le=0.5, description="Largest height of a wave, as a share of the ring's radius.")
    ] = 0.3
    max_tremble: Annotated[
        float, Field(ge=0, le=0.5, description="Largest random move of a vertex, as a share of the outer radius.")
    ] = 0.02

    @model_validator(mode="after")
    def _check_together(self) -> SynthesizeVisualAtom:
        if self.min_vertices > self.max_vertices:
            raise ValueError(f"min_vertices {self.min_vertices} is more than max_vertices {self.max_vertices}")
        return self

    def picture(self, label: int, instance: int, stream: Stream) -> Picture:  # noqa: ARG002
        """Draw the rings of a class from the outer to the inner."""
        from reinforced.drawing_kernel import closed_line, static

        own = Stream(self.seed, f"{self.name()}.class", str(label))
        rings, vertices = own.between(1, self.max_rings), own.between(self.min_vertices, self.max_vertices)
        frequencies = [own.between(0, self.max_frequency) for _ in range(2)]
        heights = [own.uniform(0, self.max_height) for _ in range(2)]
        tremble, flatness = own.uniform(0, self.max_tremble), own.uniform(0.5, 1)
        cosine, sine = _circle(vertices)
        wave = 1 + sum(
            height * sine[(np.arange(vertices) * frequency + stream.below(vertices)) % vertices]
            for frequency, height in zip(frequencies, heights, strict=True)
        )
        (turn_x, turn_y), scale = stream.direction(), self.size_px * stream.uniform(0.25, 0.42)
        middle = [self.size_px * stream.uniform(0.42, 0.58) for _ in range(2)]
        noise = static((rings, 1, vertices), np.array((stream.word(), stream.word()), np.uint32))[:, 0] * tremble
        width = stream.between(1, max(1, self.size_px // 128))
        canvas = np.zeros((self.size_px, self.size_px), np.uint8)
        for ring in range(rings, 0, -1):
            radius = wave * (ring / rings) + noise[ring - 1]
            x, y = radius * cosine * scale, radius * sine * (scale * flatness)
            xs, ys = x * turn_x - y * turn_y + middle[0], x * turn_y + y * turn_x + middle[1]
            closed_line(canvas, _pixels(xs), _pixels(ys), width, stream.between(96, 255))
        values = (rings, vertices, frequencies, heights, tremble)
        return Picture(canvas, dict(zip(self.made, values, strict=True)))


def _pixels(values: Floats) -> npt.NDArray[np.int32]:
    return np.floor(values).astype(np.int32)


@functools.lru_cache(maxsize=1024)
def _circle(count: int) -> tuple[Floats, Floats]:
    """Cosine and sine of `count` even angles, in multiples of 2**-24: libraries differ in their last bits."""
    angles = [2 * math.pi * i / count for i in range(count)]
    return tuple(np.round(np.array([f(a) for a in angles]) * 2**24) / 2**24 for f in (math.cos, math.sin))  # type: ignore[return-value]
