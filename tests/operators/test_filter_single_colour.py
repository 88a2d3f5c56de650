from __future__ import annotations

import numpy as np
import pyarrow as pa
from sklearn.datasets import load_sample_images

from reinforced.batch import Batch
from reinforced.images import Pixels, encode_png
from reinforced.operators.filter.single_colour import FilterSingleColour


def judged(operator: FilterSingleColour, pictures: list[Pixels]) -> list[str | None]:
    table = pa.table({"key": [str(i) for i in range(len(pictures))], "image": [encode_png(p) for p in pictures]})
    return list(operator.judge(Batch(table)).reasons)


def test_one_colour_goes_whatever_the_colour_and_photographs_stay() -> None:
    flat = np.full((30, 40, 3), (240, 10, 90), np.uint8)
    noisy = flat + np.random.default_rng(0).integers(0, 4, flat.shape, np.uint8)
    logo = flat.copy()
    logo[10:14, 10:20] = 255
    photo = load_sample_images().images[0]
    assert judged(FilterSingleColour(), [flat, noisy, logo, photo]) == ["single colour", "single colour", None, None]
    assert judged(FilterSingleColour(share=0.9), [logo, photo]) == ["single colour", None]
    assert judged(FilterSingleColour(tolerance=0), [flat, noisy]) == ["single colour", None]


def test_equal_grey_values_do_not_make_two_colours_one() -> None:
    half = np.zeros((20, 20, 3), np.uint8)
    half[:, :10] = (100, 0, 0)
    half[:, 10:] = (0, 51, 0)  # the same luma
    assert judged(FilterSingleColour(), [half]) == [None]
