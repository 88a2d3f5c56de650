from __future__ import annotations

import hashlib
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from reinforced import counter
from reinforced.augment import Augment
from reinforced.random_erasing import RandomErasing, noise

BOX = {"erase_x": 3, "erase_y": 1, "erase_width": 4, "erase_height": 6}


def drawn(size: int | tuple[int, int], count: int, **settings: Any) -> dict[str, np.ndarray]:
    made = Augment.model_validate({"size_px": size, "random_erasing": settings})
    return {k: v.astype(int) for k, v in made.parameters(0, ["a"], range(count), [999], [9]).items()}


def test_boxes_have_the_areas_ratios_and_frequency_that_were_asked_for() -> None:
    made = drawn(224, 20_000)
    erased = made["erase_width"] > 0
    assert abs(erased.mean() - 0.25) < 0.01
    area = (made["erase_width"] * made["erase_height"])[erased] / 224**2
    assert area.min() > 0.0195 and area.max() < 0.334 and abs(area.mean() - 0.175) < 0.01
    ratio = (made["erase_width"] / np.maximum(1, made["erase_height"]))[erased]
    assert ratio.min() > 0.29 and ratio.max() < 3.4
    assert not any(values[~erased].any() for values in made.values())


@given(st.integers(1, 70), st.integers(1, 70))
def test_a_box_lies_inside_the_view_whatever_its_size(width: int, height: int) -> None:
    made = drawn((width, height), 20, probability=1)
    assert (made["erase_x"] + made["erase_width"] <= width).all()
    assert (made["erase_y"] + made["erase_height"] <= height).all()


@pytest.mark.parametrize("fill", ["black", "noise"])
def test_the_box_is_painted_and_nothing_else(fill: Any) -> None:
    pixels = np.full((10, 12, 3), 77, np.uint8)
    image = Image.fromarray(pixels)
    seen = np.asarray(RandomErasing(fill=fill).apply(image, BOX))
    box = np.zeros((10, 12), bool)
    box[1:7, 3:7] = True
    assert (seen[~box] == 77).all()
    wanted = noise(3, 1, 4, 6) if fill == "noise" else np.zeros((6, 4, 3))
    np.testing.assert_array_equal(seen[box].reshape(6, 4, 3), wanted)
    np.testing.assert_array_equal(np.asarray(image), pixels)


def test_noise_is_even_and_differs_from_box_to_box() -> None:
    values = noise(0, 0, 200, 200)
    expected = values.size / 256
    chi_square = ((np.bincount(values.ravel(), minlength=256) - expected) ** 2 / expected).sum()
    assert 165 < chi_square < 345, "255 degrees of freedom, 4 standard deviations"
    assert abs(np.corrcoef(values[:, :-1].ravel(), values[:, 1:].ravel())[0, 1]) < 0.02
    others = [noise(1, 0, 8, 8), noise(0, 1, 8, 8), noise(0, 0, 8, 8), noise(0, 0, 8, 9)[:8]]
    assert len({other.tobytes() for other in others}) == 4


def test_noise_is_the_same_on_every_machine() -> None:
    seen = noise(5, 7, 3, 2)
    name = int.from_bytes(hashlib.blake2b(b"augment.random_erasing.noise", digest_size=8).digest(), "little")
    blocks = np.array([[5 + 65536 * 7, 3 + 65536 * 2, block, 0] for block in range(2)], np.uint32)
    words = counter.philox(blocks, (name % 2**32, name // 2**32)).ravel().tolist()
    assert seen.tobytes() == struct.pack("<8I", *words)[:18]
    assert seen.ravel().tolist()[:4] == [159, 196, 103, 231]


def test_an_unknown_fill_is_refused() -> None:
    with pytest.raises(ValidationError, match="'black' or 'noise'"):
        RandomErasing.model_validate({"fill": "mean"})
