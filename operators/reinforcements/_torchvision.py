"""RandAugment as torchvision numbers and measures it, told in this package's operations and magnitudes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from reinforced.rand_augment import MAX_MAGNITUDE

NAMES = (
    *("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"),
    *("Brightness", "Color", "Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"),
)
"""By number, which is the number here too."""
_ROTATE, _SHARPNESS, _POSTERIZE, _SOLARIZE = 5, 9, 10, 11

NOTE = (
    "RandAugment is replayed by this package's operations, which are not those the teachers saw: shear is about the "
    "centre of the view (theirs: its corner), shear and rotation are bilinear (theirs: nearest), a translation may "
    "be a pixel and a solarize threshold a value off, and theirs ran on tensors"
)


def stored_operations(
    numbers: npt.NDArray[np.int64], strengths: npt.NDArray[np.float64], size: tuple[int, int]
) -> dict[str, npt.NDArray[Any]]:
    """Return rand_augment and rand_augment_magnitude for operations (n, operations) on views of a size in px.

    Strengths are as torchvision applies them: shear factor, px, degrees, factor minus 1, bits kept, threshold.
    Raises: ValueError for another operation or a strength that is no multiple of 1/30 of the largest.
    """
    if numbers.size and not (numbers.min() >= 0 and numbers.max() < len(NAMES)):
        raise ValueError(f"rand_augment has operations 0 to {len(NAMES) - 1}, got {numbers.min()} to {numbers.max()}")
    width, height = size
    largest = [0, 0.3, 0.3, 150 / 331 * width, 150 / 331 * height, 30, 0.9, 0.9, 0.9, 0.9, 4, 255, 0, 0]
    lost = np.where(numbers == _POSTERIZE, 8 - strengths, np.where(numbers == _SOLARIZE, 255 - strengths, strengths))
    full = np.array(largest)[numbers]
    exact = MAX_MAGNITUDE * np.abs(lost) / np.where(full == 0, 1, full) * (full > 0)
    levels = np.rint(exact)
    # A number of bits stands for several levels, all of them half a level or less away.
    off = (np.abs(exact - levels) > np.where(numbers == _POSTERIZE, 0.5, 0.01)) | ~(levels <= MAX_MAGNITUDE)
    if off.any():
        first = tuple(np.argwhere(off)[0])
        raise ValueError(f"rand_augment: {NAMES[numbers[first]]} of {strengths[first]} is none of its 30 magnitudes")
    negative = (strengths < 0) & (numbers <= _SHARPNESS)
    negative ^= (numbers == _ROTATE) & (levels > 0)  # theirs turns the other way
    return {
        "rand_augment": (2 * numbers + negative).astype(np.uint8),
        "rand_augment_magnitude": levels.astype(np.uint8),
    }
