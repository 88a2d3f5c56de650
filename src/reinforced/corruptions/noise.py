"""Noise in every value by itself: Gaussian, shot, impulse."""

from __future__ import annotations

import functools
import math

import numpy as np

from reinforced.corruptions.filters import Floats, Randomness


def gaussian_noise(image: Floats, random: Randomness, deviation: float) -> Floats:
    """Add normal noise, as an amplifier does in the dark."""
    return image + deviation * random.normal("value", image.shape)


def shot_noise(image: Floats, random: Randomness, photons: float) -> Floats:
    """Count light as quanta: a value of 1 is `photons` of them on average, Poisson distributed."""
    below = _poisson(photons)
    most = below.shape[1]
    level = np.rint(image * 255).astype(int)
    # One search for all levels: those of level i lie between i and i + 1.
    found = np.searchsorted(below.ravel(), random.uniform("count", image.shape) + level) - most * level
    counted: Floats = np.minimum(found, most - 1) / photons
    return counted


@functools.lru_cache(maxsize=8)
def _poisson(photons: float) -> Floats:
    """Return i + P(count <= k) for the mean photons * i / 255, of shape (256, counts)."""
    counts = np.arange(math.ceil(photons + 10 * math.sqrt(photons)) + 10)
    log_factorial = np.cumsum(np.log(np.maximum(counts, 1)))
    means = np.maximum(photons * np.arange(256) / 255, 1e-12)[:, None]
    found: Floats = np.cumsum(np.exp(counts * np.log(means) - means - log_factorial), axis=1)
    return np.minimum(found, 1) + np.arange(256)[:, None]


def impulse_noise(image: Floats, random: Randomness, share: float) -> Floats:
    """Set a share of the values to 0 or to 1, half of them each: salt and pepper."""
    words = random.uniform("value", image.shape)
    return np.where(words < share / 2, 0.0, np.where(words < share, 1.0, image))
