from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from reinforced.augment import Augment
from reinforced.colour import ORDERS, ColourJitter, Grayscale

NOTHING = {
    "jitter_brightness": 100,
    "jitter_contrast": 100,
    "jitter_saturation": 100,
    "jitter_hue": 0,
    "jitter_order": 0,
}


def drawn(count: int, **augmentations: Any) -> dict[str, np.ndarray]:
    return Augment.model_validate({"size_px": 8} | augmentations).parameters(0, ["a"], range(count), [9], [9])


def jittered(pixels: np.ndarray, **changes: int) -> np.ndarray:
    return np.asarray(ColourJitter().apply(Image.fromarray(pixels), NOTHING | changes))


def test_factors_and_shifts_are_even_within_their_range() -> None:
    made = drawn(20_000, colour_jitter={"brightness": 0.5, "contrast": 1, "saturation": 0, "hue": 0.5})
    for name, least, largest in (("brightness", 50, 150), ("contrast", 0, 200), ("saturation", 100, 100)):
        values = made[f"jitter_{name}"].astype(int)
        assert (values.min(), values.max()) == (least, largest)
        assert abs(values.mean() - 100) < 2
    hue = made["jitter_hue"].astype(int)
    assert (hue.min(), hue.max()) == (-127, 127) and abs(hue.mean()) < 2
    assert np.abs(np.bincount(made["jitter_order"], minlength=24) / 20_000 - 1 / 24).max() < 0.006


def test_a_share_of_the_views_keeps_its_colours() -> None:
    made = drawn(10_000, colour_jitter={"probability": 0.8}, grayscale={"probability": 0.2})
    same = np.logical_and.reduce([made[name] == value for name, value in NOTHING.items()])
    assert abs(same.mean() - 0.2) < 0.02
    assert abs(made["grayscale"].mean() - 0.2) < 0.02


def test_nothing_changes_where_nothing_is_asked_for() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)
    np.testing.assert_array_equal(jittered(pixels), pixels)
    np.testing.assert_array_equal(jittered(pixels, jitter_order=23), pixels)
    np.testing.assert_array_equal(Grayscale().apply(Image.fromarray(pixels), {"grayscale": False}), pixels)


def test_each_change_is_the_one_it_says() -> None:
    pixels = np.array([[[200, 100, 60], [60, 90, 30]]], np.uint8)
    np.testing.assert_array_equal(jittered(pixels, jitter_brightness=50), pixels // 2)
    flat = jittered(pixels, jitter_contrast=0)
    assert (flat == flat[0, 0, 0]).all() and (flat > 30).all()
    grey = jittered(pixels, jitter_saturation=0)
    np.testing.assert_array_equal(grey, Grayscale().apply(Image.fromarray(pixels), {"grayscale": True}))
    assert (grey[..., 0] == grey[..., 2]).all() and grey[0, 0, 0] != grey[0, 1, 0]
    turned = jittered(pixels, jitter_hue=64)
    before, after = (colorsys.rgb_to_hsv(*(p[0, 0] / 255)) for p in (pixels, turned))
    assert abs((after[0] - before[0]) % 1 - 0.25) < 0.01
    assert abs(after[1] - before[1]) < 0.02 and abs(after[2] - before[2]) < 0.01


def test_the_order_of_changes_matters_and_is_stored() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (9, 9, 3), np.uint8)
    changes = {"jitter_brightness": 140, "jitter_contrast": 60, "jitter_saturation": 150, "jitter_hue": 20}
    views = {jittered(pixels, **changes, jitter_order=order).tobytes() for order in range(len(ORDERS))}
    assert len(ORDERS) == 24 and len(views) > 12
    assert ORDERS[0] == ("brightness", "contrast", "saturation", "hue") and ORDERS[23][0] == "hue"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"colour_jitter": {"hue": 0.6}}, "0.5"),
        ({"colour_jitter": {"brightnes": 0.1}}, "did you mean 'brightness'"),
        ({"color_jitter": {}}, "did you mean 'colour_jitter'"),
        ({"grayscale": {"p": 0.1}}, "no setting 'p'"),
    ],
)
def test_a_wrong_configuration_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Augment.model_validate({"size_px": 8} | given)
