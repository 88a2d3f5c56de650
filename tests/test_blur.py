from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from reinforced.augment import Augment
from reinforced.blur import GaussianBlur


def test_widths_are_even_within_their_range_where_there_is_a_blur() -> None:
    made = Augment.model_validate({"size_px": 8, "gaussian_blur": {"sigma_px": [0.5, 3], "probability": 0.3}})
    sigma = made.parameters(0, ["a"], range(20_000), [9], [9])["blur_sigma"]
    assert abs((sigma > 0).mean() - 0.3) < 0.02
    blurred = sigma[sigma > 0]
    assert (blurred.min(), blurred.max()) == (50, 300) and abs(blurred.mean() - 175) < 3


def test_a_point_spreads_as_wide_as_the_row_says() -> None:
    pixels = np.zeros((81, 81, 3), np.uint8)
    pixels[38:43, 38:43] = 255
    column = np.arange(81) - 40.0
    spread = []
    for sigma in (0, 300, 600):
        seen = np.asarray(GaussianBlur().apply(Image.fromarray(pixels), {"blur_sigma": sigma}))[..., 0].sum(axis=0)
        spread.append(np.average(column**2, weights=seen))
    assert spread[0] == 2.0
    assert abs(np.sqrt(spread[1] - 2) - 3) < 0.3 and abs(np.sqrt(spread[2] - 2) - 6) < 0.6


@pytest.mark.parametrize("sigma", [[0, 1], [2, 1], [1, 101]])
def test_a_wrong_range_is_refused(sigma: list[float]) -> None:
    given: dict[str, Any] = {"size_px": 8, "gaussian_blur": {"sigma_px": sigma}}
    with pytest.raises(ValidationError, match="must rise within"):
        Augment.model_validate(given)
