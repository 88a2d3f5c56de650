"""Pictures of noise with the statistics of natural images."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from reinforced.images import Pixels
from reinforced.stream import Stream
from reinforced.synthesis import Picture, Synthesis


class SynthesizeNoise(Synthesis):
    """Makes dead leaves or coloured noise to pretrain on (Baradad et al. 2021, *Learning to See by Looking at Noise*).

    dead_leaves: discs and squares that cover each other, radii with a density of r**-3; a class is their least radius
    and the share of squares. spectrum: an amplitude of 1 / (|fx|**a + |fy|**b) and random phases; a class is a and b.
    The bytes of spectrum depend on NumPy's Fourier transform and powers, whose last bits may differ between kinds of
    processor: a pixel may then differ by one level. Dead leaves are the same everywhere.
    """

    made: ClassVar = ("leaf_radius_px", "square_share", "spectrum_exponents")
    writes: ClassVar = ("key", "image", "label", *made)

    kind_of_noise: Annotated[
        Literal["dead_leaves", "spectrum"], Field(description="Overlapping shapes, or noise with a power-law spectrum.")
    ] = "dead_leaves"
    min_exponent: Annotated[float, Field(ge=0, le=4, description="Least exponent of the spectrum.")] = 0.5
    max_exponent: Annotated[float, Field(ge=0, le=4, description="Largest exponent of the spectrum.")] = 3.5
    max_leaves: Annotated[int, Field(ge=1, le=1_000_000, description="Most leaves; what they leave is black.")] = 20_000

    @model_validator(mode="after")
    def _check_together(self) -> SynthesizeNoise:
        if self.min_exponent > self.max_exponent:
            raise ValueError(f"min_exponent {self.min_exponent:g} is more than max_exponent {self.max_exponent:g}")
        return self

    def picture(self, label: int, instance: int, stream: Stream) -> Picture:  # noqa: ARG002
        """Make one picture, uint8 (size_px, size_px, 3)."""
        from reinforced.drawing_kernel import dead_leaves

        own, key = Stream(self.seed, f"{self.name()}.class", str(label)), np.array((stream.word(), stream.word()), "u4")
        if self.kind_of_noise == "spectrum":
            exponents = [own.uniform(self.min_exponent, self.max_exponent) for _ in range(2)]
            return Picture(self._spectrum(exponents, key, stream), {"spectrum_exponents": exponents})
        radius, squares = own.between(1, max(1, self.size_px // 32)), own.below(257)
        pixels = dead_leaves(self.size_px, radius, self.size_px / 3, squares, self.max_leaves, key)
        return Picture(pixels, {"leaf_radius_px": radius, "square_share": squares / 256})

    def _spectrum(self, exponents: list[float], key: npt.NDArray[np.uint32], stream: Stream) -> Pixels:
        from reinforced.drawing_kernel import static

        side = self.size_px
        x, y = np.fft.rfftfreq(side, 1 / side) + 0.5, np.abs(np.fft.fftfreq(side, 1 / side)) + 0.5
        amplitude = (1 / (x[None, :] ** exponents[0] + y[:, None] ** exponents[1])).astype(np.float32)
        noise = np.fft.irfft2(np.fft.rfft2(static((3, side, side), key)) * amplitude, (side, side))
        noise = (noise - noise.mean((1, 2), keepdims=True)) / noise.std((1, 2), keepdims=True)
        mix = [[stream.uniform(-1, 1) for _ in range(3)] for _ in range(3)]
        channels = [row[0] * noise[0] + row[1] * noise[1] + row[2] * noise[2] for row in mix]
        levels = [np.clip(np.floor(128 + 48 * channel), 0, 255).astype(np.uint8) for channel in channels]
        return np.stack(levels, axis=2)
