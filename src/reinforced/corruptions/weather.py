"""Weather and light: fog, brightness, contrast."""

from __future__ import annotations

import numpy as np

from reinforced.corruptions.filters import Floats, Randomness


def fog(image: Floats, random: Randomness, density: float) -> Floats:
    """Add clouds of fractal noise and scale back so that the lightest value stays as light."""
    height, width = image.shape[:2]
    clouds = _clouds(random, max(height, width))[:height, :width, None]
    lightest = float(image.max())
    foggy: Floats = (image + density * clouds) * (lightest / (lightest + density))
    return foggy


def brightness(image: Floats, _: Randomness, added: float) -> Floats:
    """Raise the value of hue, saturation and value; black turns grey."""
    value: Floats = image.max(axis=2, keepdims=True)
    lighter: Floats = np.minimum(value + added, 1)
    return np.where(value > 0, image * (lighter / np.where(value > 0, value, 1)), lighter)


def contrast(image: Floats, _: Randomness, factor: float) -> Floats:
    """Move every value towards the mean of its channel; `factor` of the distance is left."""
    mean: Floats = image.mean(axis=(0, 1))
    return (image - mean) * factor + mean


def _clouds(random: Randomness, side: int) -> Floats:
    """Octaves of smooth noise, each of half the size and half the height of the last, from 0 to 1."""
    from PIL import Image

    total, cells = np.zeros((side, side)), 2
    while True:
        noise = random.uniform(f"cloud.{cells}", (cells + 1, cells + 1)).astype(np.float32)
        smooth = Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)
        total += np.asarray(smooth) / cells
        if cells >= side:
            break
        cells *= 2
    lightest, darkest = float(total.max()), float(total.min())
    return (total - darkest) / (lightest - darkest or 1.0)
