from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from reinforced import counter
from reinforced.augment import Augment
from reinforced.images import ImageError


def augment(**settings: Any) -> Augment:
    return Augment.model_validate({"size_px": 16} | settings)


@settings(deadline=None, max_examples=40)
@given(width=st.integers(1, 90), height=st.integers(1, 90), seed=st.integers(0, 1000))
def test_crop_resize_and_flip_equal_a_plain_pillow_pipeline(width: int, height: int, seed: int) -> None:
    made = augment(random_resized_crop={}, horizontal_flip={})
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    parameters = made.parameters(seed, ["a"], range(3), [width], [height])
    for i in range(3):
        row = {name: values[i] for name, values in parameters.items()}
        x, y, w, h = (int(row[name]) for name in ("crop_x", "crop_y", "crop_width", "crop_height"))
        plain = Image.fromarray(pixels).crop((x, y, x + w, y + h)).resize((16, 16), Image.Resampling.BILINEAR)
        plain = plain.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if row["flip"] else plain
        np.testing.assert_array_equal(made.apply(pixels, row), np.asarray(plain))


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 50))
def test_a_crop_lies_inside_the_image_whatever_its_size(width: int, height: int, seed: int) -> None:
    made = augment(random_resized_crop={}).parameters(seed, ["a", "b"], range(5), [width, height], [height, width])
    for i, (w, h) in enumerate([(width, height)] * 5 + [(height, width)] * 5):
        assert 1 <= made["crop_width"][i] <= w - made["crop_x"][i]
        assert 1 <= made["crop_height"][i] <= h - made["crop_y"][i]


def test_crops_cover_areas_and_ratios_evenly() -> None:
    made = augment(random_resized_crop={"scale": [0.1, 0.5]}).parameters(3, ["a"], range(20_000), [1000], [1000])
    width, height = made["crop_width"].astype(float), made["crop_height"].astype(float)
    area, ratio = width * height / 1e6, np.log(width / height)
    assert area.min() > 0.099 and area.max() < 0.501
    assert abs(area.mean() - 0.3) < 0.004
    assert abs(ratio.mean()) < 0.01 and abs(ratio.std() - np.log(16 / 9) / 12**0.5) < 0.005
    assert abs((made["crop_x"] / (1000 - width)).mean() - 0.5) < 0.01


def test_flip_probabilities_are_kept_at_their_ends() -> None:
    for probability in (0.0, 0.25, 1.0):
        found = augment(horizontal_flip={"probability": probability}).parameters(0, ["a"], range(8000), [9], [9])[
            "flip"
        ]
        assert abs(found.mean() - probability) < (0.02 if probability == 0.25 else 1e-9)


def test_an_image_that_shrank_since_is_noticed() -> None:
    made = augment(random_resized_crop={"scale": [0.9, 1.0]})
    parameters = made.parameters(0, ["a"], [0], [50], [40])
    with pytest.raises(ImageError, match="has changed since"):
        made.apply(np.zeros((30, 50, 3), np.uint8), {name: values[0] for name, values in parameters.items()})


def test_a_word_decides_as_the_format_says() -> None:
    word = int(counter.words(5, "augment.horizontal_flip", ["a"], [3], 1)[0, 0, 0])
    assert augment(horizontal_flip={}).parameters(5, ["a"], [3], [9], [9])["flip"][0] == (word < 2**31)


@settings(deadline=None, max_examples=40)
@given(width=st.integers(1, 40), height=st.integers(1, 40), padding=st.integers(1, 127), seed=st.integers(0, 1000))
def test_a_random_crop_is_a_window_of_the_padded_view(width: int, height: int, padding: int, seed: int) -> None:
    made = augment(size_px=(width, height), random_crop={"padding_px": padding})
    pixels = np.random.default_rng(seed).integers(1, 256, (height, width, 3), np.uint8)
    parameters = made.parameters(seed, ["a"], range(3), [width], [height])
    padded = np.pad(pixels, ((padding, padding), (padding, padding), (0, 0)))
    for i in range(3):
        row = {name: values[i] for name, values in parameters.items()}
        x, y = (padding - int(row[name]) for name in ("shift_x", "shift_y"))
        np.testing.assert_array_equal(made.apply(pixels, row), padded[y : y + height, x : x + width])


def test_a_random_crop_shifts_evenly_both_ways() -> None:
    made = augment(random_crop={}).parameters(0, ["a"], range(20_000), [9], [9])
    for name in ("shift_x", "shift_y"):
        shift = made[name].astype(int)
        assert np.abs(np.bincount(shift + 4, minlength=9) / 20_000 - 1 / 9).max() < 0.01
    assert abs(np.corrcoef(made["shift_x"], made["shift_y"])[0, 1]) < 0.02


@pytest.mark.parametrize("padding", [0, 128])
def test_a_border_that_is_no_border_or_does_not_fit_its_column_is_refused(padding: int) -> None:
    with pytest.raises(ValidationError, match="padding_px"):
        augment(random_crop={"padding_px": padding})
