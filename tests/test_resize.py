from __future__ import annotations

from importlib.metadata import version

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reinforced.resize import LIBRARIES, resize

sides = st.integers(1, 70)


@settings(deadline=None, max_examples=60)
@given(sides, sides, sides, sides, st.integers(0, 1000))
def test_the_fast_backend_differs_from_the_exact_one_by_rounding_alone(
    width: int, height: int, to_width: int, to_height: int, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    exact, fast = (np.asarray(resize(pixels, (to_width, to_height), backend)) for backend in ("exact", "fast"))
    plain = Image.fromarray(pixels).resize((to_width, to_height), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(exact, np.asarray(plain))
    assert fast.shape == exact.shape == (to_height, to_width, 3)
    assert np.abs(fast.astype(int) - exact).max() <= 2


def test_every_library_of_a_backend_has_a_version_to_record() -> None:
    assert all(version(name) for names in LIBRARIES.values() for name in names)
