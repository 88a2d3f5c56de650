"""Noise in every value by itself: Gaussian, shot, impulse."""

from __future__ import annotations

import math

import numpy as np

from reinforced.corruptions.filters import Floats, Randomness


def gaussian_noise(image: Floats, random: Randomness, deviation: float) -> Floats:
    """Add normal noise, as an amplifier does in the dark."""
    return image + deviation * random.normal("value", image.shape)


def shot_noise(image: Floats, random: Randomness, photons: float) -> Floats:
    """Count light as quanta: a value of 1 is `photons` of them on average, Poisson distributed."""
    levels, which = np.unique(image, return_inverse=True)
    most = math.ceil(photons + 10 * math.sqrt(photons)) + 10
    counts = np.arange(most)
    log_factorial = np.cumsum(np.log(np.maximum(counts, 1)))
    means = np.maximum(levels * photons, 1e-12)[:, None]
    below = np.cumsum(np.exp(counts * np.log(means) - means - log_factorial), axis=1)
    # One search for all levels: those of level i lie between i and i + 1.
    stacked = np.minimum(below, 1) + np.arange(len(levels))[:, None]
    which = which.reshape(image.shape)
    found = np.searchsorted(stacked.ravel(), random.uniform("count", image.shape) + which) - most * which
    return np.minimum(found, most - 1) / photons


def impulse_noise(image: Floats, random: Randomness, share: float) -> Floats:
    """Set a share of the values to 0 or to 1, half of them each: salt and pepper."""
    words = random.uniform("value", image.shape)
    return np.where(words < share / 2, 0.0, np.where(words < share, 1.0, image))
