from __future__ import annotations

import numpy as np
from PIL import Image

from reinforced.augment import Augment
from reinforced.operations import RANDOM, SIGNED
from reinforced.rand_augment import STRENGTHS, WIDE, RandAugment, TrivialAugment


def draws(count: int, **augmentations: object) -> dict[str, np.ndarray]:
    made = Augment.model_validate({"size_px": 16} | augmentations)
    return made.parameters(0, ["a"], range(count), [9], [9])


def test_every_randaugment_operation_is_drawn_equally_often() -> None:
    codes = draws(9000, rand_augment={"operations": 3})["rand_augment"]
    assert codes.shape == (9000, 3)
    assert np.abs(np.bincount(codes.ravel() >> 1, minlength=RANDOM) / 27_000 - 1 / 14).max() < 0.006


def test_trivial_augment_draws_every_operation_sign_and_magnitude_equally_often() -> None:
    made = draws(30_000, trivial_augment={})
    codes, magnitudes = made["trivial_augment"], made["trivial_augment_magnitude"]
    assert codes.shape == magnitudes.shape == (30_000,)
    assert np.abs(np.bincount(codes >> 1, minlength=RANDOM) / 30_000 - 1 / 14).max() < 0.006
    assert np.abs(np.bincount(magnitudes, minlength=31) / 30_000 - 1 / 31).max() < 0.005
    signed = SIGNED[codes >> 1]
    assert abs((codes[signed] & 1).mean() - 0.5) < 0.02 and not (codes[~signed] & 1).any()


def test_trivial_augment_is_stronger_than_randaugment() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    image = Image.fromarray(pixels)
    rotate = {"rand_augment": [10], "rand_augment_magnitude": [20], "trivial_augment": 10}
    narrow = np.asarray(RandAugment().apply(image, rotate))
    wide = np.asarray(TrivialAugment().apply(image, rotate | {"trivial_augment_magnitude": 20}))
    assert (narrow != wide).any() and WIDE.rotate_degrees > STRENGTHS.rotate_degrees
