"""Common corruptions of images at five severities, to see how a network holds up (Hendrycks and Dietterich 2019).

*Benchmarking Neural Network Robustness to Common Corruptions and Perturbations* has fifteen kinds. Thirteen are here,
each with a definition of its own in NumPy and Pillow; left out are frost, which is made of photographs of frost, and
snow. Where a definition has the same constants as ImageNet-C and CIFAR-10-C it takes their values or near ones, but
pixels differ from those benchmarks: compare students on these with each other, not with published numbers.

**Size.** Small images are hurt more by the same noise, so the benchmarks have two sets of constants, and so has this:
one for a shorter side of 32 px (CIFAR) and one for 224 px (ImageNet). Between them a constant is a * (b / a) ** t with
t = log(side / 32) / log(224 / 32); below and above it stays, but lengths (`_px`) go on in proportion to the side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from reinforced.corruptions.blur import defocus_blur, glass_blur, motion_blur, zoom_blur
from reinforced.corruptions.digital import elastic_transform, jpeg_compression, pixelate
from reinforced.corruptions.filters import Floats, Randomness, to_pixels
from reinforced.corruptions.noise import gaussian_noise, impulse_noise, shot_noise
from reinforced.corruptions.weather import brightness, contrast, fog
from reinforced.errors import nearest
from reinforced.images import Pixels

SEVERITIES = (1, 2, 3, 4, 5)
SMALL_PX, LARGE_PX = 32, 224

Five = tuple[float, float, float, float, float]


@dataclass(frozen=True)
class Corruption:
    """A function of an image, its random numbers and its constants; each constant by severity at 32 and at 224 px."""

    function: Callable[..., Floats]
    constants: dict[str, tuple[Five, Five]]

    def at(self, severity: int, side_px: int) -> dict[str, float]:
        """Return the constants for a severity of 1 to 5 and an image whose shorter side is so long."""
        within = min(max(side_px, SMALL_PX), LARGE_PX)
        place = math.log(within / SMALL_PX) / math.log(LARGE_PX / SMALL_PX)
        found = {}
        for name, (small, large) in self.constants.items():
            value = small[severity - 1] ** (1 - place) * large[severity - 1] ** place
            found[name] = value * side_px / within if name.endswith("_px") else value
        return found


CORRUPTIONS = {
    "gaussian_noise": Corruption(
        gaussian_noise, {"deviation": ((0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38))}
    ),
    "shot_noise": Corruption(shot_noise, {"photons": ((500, 250, 100, 75, 50), (60, 25, 12, 5, 3))}),
    "impulse_noise": Corruption(
        impulse_noise, {"share": ((0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27))}
    ),
    "defocus_blur": Corruption(defocus_blur, {"radius_px": ((0.4, 0.7, 1.0, 1.3, 1.6), (3, 4, 6, 8, 10))}),
    "glass_blur": Corruption(
        glass_blur,
        {
            "sigma_px": ((0.20, 0.25, 0.30, 0.35, 0.40), (0.7, 0.9, 1.0, 1.2, 1.5)),
            "displacement_px": ((0.6, 0.8, 1.0, 1.2, 1.4), (1.4, 2.0, 3.5, 4.2, 5.7)),
        },
    ),
    "motion_blur": Corruption(
        motion_blur,
        {"length_px": ((3, 4, 5, 6, 7), (10, 15, 18, 22, 28)), "sigma_px": ((1, 1.5, 2, 2.5, 3), (3, 5, 8, 12, 15))},
    ),
    "zoom_blur": Corruption(zoom_blur, {"zoom": ((0.05, 0.10, 0.15, 0.20, 0.25), (0.10, 0.15, 0.20, 0.25, 0.30))}),
    "fog": Corruption(fog, {"density": ((0.2, 0.5, 0.75, 1, 1.5), (1.5, 2, 2.5, 2.8, 3.3))}),
    "brightness": Corruption(brightness, {"added": ((0.05, 0.10, 0.15, 0.20, 0.30), (0.1, 0.2, 0.3, 0.4, 0.5))}),
    "contrast": Corruption(contrast, {"factor": ((0.75, 0.50, 0.40, 0.30, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05))}),
    "elastic_transform": Corruption(
        elastic_transform,
        {"sigma_px": ((1,) * 5, (4.5,) * 5), "displacement_px": ((0.25, 0.35, 0.5, 0.65, 0.8), (1, 1.5, 2, 2.6, 3.2))},
    ),
    "pixelate": Corruption(pixelate, {"scale": ((0.95, 0.90, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25))}),
    "jpeg_compression": Corruption(jpeg_compression, {"quality": ((80, 65, 58, 50, 40), (25, 18, 15, 10, 7))}),
}


def corrupt(pixels: Pixels, corruption: str, severity: int, *, key: str, seed: int = 0) -> Pixels:
    """Return one image, uint8 (height, width, 3), corrupted; the same size.

    key: the sample's key; with the seed it decides what is random, so the same image is always corrupted alike.
    Raises: ValueError for a corruption or a severity there is not.
    """
    check_corruptions([corruption])
    check_severities([severity])
    chosen = CORRUPTIONS[corruption]
    constants = chosen.at(severity, min(pixels.shape[:2]))
    return to_pixels(chosen.function(pixels / 255, Randomness(seed, corruption, key), **constants))


def check_corruptions(names: Sequence[str]) -> Sequence[str]:
    """Return the names. Raises: ValueError with the nearest name for one there is not."""
    for name in names:
        if name not in CORRUPTIONS:
            raise ValueError(f"corruption '{name}' is unknown{nearest(name, CORRUPTIONS)}")
    return _once(names, "corruption")


def check_severities(severities: Sequence[int]) -> Sequence[int]:
    """Return the severities. Raises: ValueError for one outside 1 to 5."""
    for severity in severities:
        if severity not in SEVERITIES:
            raise ValueError(f"severity {severity} must be from 1 (mild) to 5 (severe)")
    return _once(severities, "severity")


def _once(values: Sequence[Any], what: str) -> Sequence[Any]:
    twice = next((value for value in values if list(values).count(value) > 1), None)
    if twice is not None:
        raise ValueError(f"{what} {twice} is named more than once: name it once")
    return values


Corruptions = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda given: tuple(CORRUPTIONS) if given == "all" else given),
    AfterValidator(check_corruptions),
]
Severities = Annotated[tuple[int, ...], AfterValidator(check_severities)]
