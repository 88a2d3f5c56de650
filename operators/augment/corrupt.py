"""Corrupted copies of images."""

from __future__ import annotations

from typing import Annotated, ClassVar

import pyarrow as pa
from pydantic import Field

from reinforced.batch import Batch
from reinforced.corruption import CORRUPTIONS, SEVERITIES, Corruptions, Severities, corrupt
from reinforced.images import encode_png
from reinforced.operator import Generator


class AugmentCorrupt(Generator):
    """Puts corrupted copies in the place of each image: noise, blur, weather, compression, each at some severities.

    A test set under the common corruptions of Hendrycks and Dietterich 2019, *Benchmarking Neural Network Robustness*,
    as a dataset. Keys are `parent/gaussian_noise-3`; labels and splits are passed on, and copies are encoded as PNG. A
    corruption's strength depends on the shorter side, so resize images first where a network sees them smaller. What is
    random depends on seed, key and corruption; severities of one image differ in strength alone.
    """

    reads: ClassVar = ("key", "pixels")
    writes: ClassVar = ("key", "image", "parent", "corruption", "severity")
    examples: ClassVar = ({"severities": [4]},)

    corruptions: Annotated[
        Corruptions,
        Field(min_length=1, description=f"Which, or `all`: {', '.join(CORRUPTIONS)}."),
    ] = tuple(CORRUPTIONS)
    severities: Annotated[
        Severities, Field(min_length=1, description="How severe, from 1 (mild) to 5 (severe); a copy for each.")
    ] = SEVERITIES
    seed: Annotated[int, Field(description="Seed of what is random in a corruption.")] = 0

    def generate(self, batch: Batch) -> pa.Table:
        """Return corruptions x severities copies of each image."""
        kinds = [(name, severity) for name in self.corruptions for severity in self.severities]
        rows = [(i, key, *kind) for i, key in enumerate(batch.keys) for kind in kinds]
        pixels = batch.pixels
        made = {
            "key": [f"{key}/{name}-{severity}" for _, key, name, severity in rows],
            "image": [encode_png(corrupt(pixels[i], n, s, key=key, seed=self.seed)) for i, key, n, s in rows],
            "parent": [key for _, key, _, _ in rows],
            "corruption": [name for _, _, name, _ in rows],
            "severity": [severity for *_, severity in rows],
        }
        return batch.descendants([i for i, *_ in rows], made, self.outputs())
