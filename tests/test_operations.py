from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from reinforced import rand_augment
from reinforced.operations import OPERATIONS, SIGNED, Strengths, apply_operations

STRENGTHS = [rand_augment.STRENGTHS, rand_augment.WIDE, Strengths(levels=9)]


def ramp() -> np.ndarray:
    pixels = np.linspace(40, 200, 24 * 24 * 3).reshape(24, 24, 3).astype(np.uint8)
    pixels[::5, ::4] += 30
    return pixels


def applied(pixels: np.ndarray, name: str, magnitude: int, strengths: Strengths = rand_augment.STRENGTHS) -> np.ndarray:
    code = 2 * OPERATIONS.index(name) + (magnitude < 0)
    return np.asarray(apply_operations(Image.fromarray(pixels), [code], [abs(magnitude)], strengths))


@pytest.mark.parametrize("strengths", STRENGTHS, ids=["rand", "wide", "auto"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_does_nothing_at_zero_and_something_at_full_magnitude(name: str, strengths: Strengths) -> None:
    if name not in ("autocontrast", "equalize", "invert"):  # these have no magnitude
        np.testing.assert_array_equal(applied(ramp(), name, 0, strengths), ramp())
    assert (applied(ramp(), name, strengths.levels, strengths) != ramp()).any() or name == "identity"


def test_signs_go_opposite_ways() -> None:
    grey = np.full((20, 20, 3), 100, np.uint8)
    right, left = (applied(grey, "translate_x", magnitude)[..., 0] for magnitude in (30, -30))
    assert (right[:, :9] == 0).all() and (right[:, 9:] == 100).all()
    assert (left[:, 11:] == 0).all() and (left[:, :11] == 100).all()
    assert [int(applied(grey, "brightness", magnitude)[0, 0, 0]) for magnitude in (10, -10)] == [130, 70]
    for name, signed in zip(OPERATIONS, SIGNED, strict=True):
        assert (applied(ramp(), name, 6) != applied(ramp(), name, -6)).any() == signed


@pytest.mark.parametrize(("strengths", "degrees"), [(STRENGTHS[0], 30), (STRENGTHS[1], 135), (STRENGTHS[2], 30)])
def test_a_full_rotation_turns_by_so_many_degrees_about_the_centre(strengths: Strengths, degrees: int) -> None:
    pixels = np.zeros((41, 41, 3), np.uint8)
    pixels[20, 32] = 255  # 12 px to the right of the centre
    turned = applied(pixels, "rotate", strengths.levels, strengths)[..., 0].astype(float)
    y, x = (np.average(grid, weights=turned) - 20 for grid in np.mgrid[:41, :41])
    assert abs(x - 12 * np.cos(np.radians(degrees))) < 0.3
    assert abs(abs(y) - 12 * np.sin(np.radians(degrees))) < 0.3


def test_the_strongest_operations_are_as_strong_as_the_format_says() -> None:
    black, grey = np.zeros((100, 50, 3), np.uint8), np.full((100, 50, 3), 100, np.uint8)
    for strengths, shift, factor, bits in (
        (STRENGTHS[0], 45, 1.9, 4),
        (STRENGTHS[1], 32, 1.99, 2),
        (STRENGTHS[2], 45, 1.9, 4),
    ):
        down = applied(grey, "translate_y", strengths.levels, strengths)
        assert (down[:shift] == 0).all() and (down[shift:] == 100).all()
        assert applied(grey, "brightness", strengths.levels, strengths)[0, 0, 0] == int(100 * factor)
        assert applied(grey + 155, "posterize", strengths.levels, strengths)[0, 0, 0] == 256 - 2 ** (8 - bits)
        assert (applied(black, "solarize", strengths.levels, strengths) == 255).all()
    assert (applied(black, "invert", 0) == 255).all()
