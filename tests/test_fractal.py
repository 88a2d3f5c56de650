"""The fast renderer makes the fractals of the plain chaos game, on any processor."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import fractal as benchmark
import numpy as np
import pytest

from reinforced import fractal, fractal_kernel
from reinforced.fractal import Shown, View
from reinforced.ifs import Code, CodeRecipe, find_code, rounded
from reinforced.stream import Stream

HALF = 0.5
SIERPINSKI = Code(tuple(rounded(HALF, 0, 0, HALF, x, y) for x, y in ((0, 0), (0.5, 0), (0, 0.5))))
DIGEST = """
import hashlib
from reinforced.operators.synthesize.fractal import SynthesizeFractal
digest = hashlib.sha256()
for operator in (SynthesizeFractal(), SynthesizeFractal(maps=(5, 7)), SynthesizeFractal(objects=(1, 5))):
    for label in range(4):
        digest.update(operator.make(label, 1).pixels.tobytes())
print(digest.hexdigest())
"""


@pytest.mark.parametrize("codes", [10, pytest.param(benchmark.CODES, marks=pytest.mark.slow)])
def test_pictures_are_those_of_the_plain_chaos_game(codes: int) -> None:
    found = {metric.metric: metric.value for metric in benchmark.agreement(codes)}
    assert found["occupied_ratio"] == pytest.approx(1, abs=0.03)
    assert found["overlap_difference"] == pytest.approx(0, abs=0.005)


def test_many_maps_make_the_same_picture_as_few() -> None:
    """Three maps, each written three times, are nine maps with the same attractor and shares."""
    few = fractal.plot(SIERPINSKI, 200_000, 64, View(), (1, 2))
    many = fractal.plot(Code(SIERPINSKI.maps * 3), 200_000, 64, View(), (1, 2))
    assert few is not None and many is not None
    assert np.array_equal(few > 20, many > 20)
    assert np.abs(few / few.sum() - many / many.sum()).sum() < 0.1


def test_the_sierpinski_triangle_has_its_holes() -> None:
    hits = fractal.plot(SIERPINSKI, 100_000, 64, View(), (0, 0))
    assert hits is not None and hits.sum() >= 100_000
    assert hits[40:60, 40:60].sum() == 0 and hits[20:28, 20:28].sum() == 0
    assert hits[0, 0] > 0


@pytest.mark.parametrize("mirrored", [(True, False), (False, True), (True, True)])
def test_a_mirrored_view_is_the_mirrored_picture(mirrored: tuple[bool, bool]) -> None:
    plain, turned = (
        fractal.plot(SIERPINSKI, 200_000, 64, View(mirrored=m), (1, 2)) for m in ((False, False), mirrored)
    )
    assert plain is not None and turned is not None
    back = turned[:: -1 if mirrored[1] else 1, :: -1 if mirrored[0] else 1]
    assert np.abs(plain.astype(int) - back).sum() < 0.05 * plain.sum()  # points on the edge of a pixel change sides


def test_a_patch_draws_each_point_as_its_pixels_and_is_cut_at_the_edge() -> None:
    hits = np.zeros((5, 5), np.uint32)
    hits[2, 2], hits[0, 0] = 3, 1
    drawn = fractal_kernel.smear(hits, 0b100_010_001)
    expected = np.zeros((5, 5), int)
    expected[1, 1], expected[2, 2], expected[3, 3] = 3 + 1, 3, 3
    expected[0, 0] = 1
    assert np.array_equal(drawn, expected)


@pytest.mark.parametrize("code", [
    Code((rounded(1.5, 0, 0, 1.5, 1, 1), rounded(2, 0, 0, 2, -1, 1))),
    Code((rounded(0.5, 0, 0, 0.5, 0, 0), rounded(0.5, 0, 0, 0.5, 0, 0))),
    Code((rounded(0, 0, 0, 0, 0.5, 0), rounded(0, 0, 0, 0, 0.1, 0))),
])  # fmt: skip
def test_codes_that_diverge_or_shrink_to_a_point_have_no_picture(code: Code) -> None:
    assert fractal.plot(code, 10_000, 64, View(), (0, 0)) is None
    with pytest.raises(ValueError, match="show nothing"):
        fractal.show(code, fractal.Vary("view", True, True, 1.0), 0, (64, 64), 10_000, Stream(0, "x", "y"))


def test_hues_make_one_turn_with_the_saturation_and_value_asked_for() -> None:
    colours = fractal_kernel.palette(0, 255, 200)
    red, green, blue = (colours >> shift & 255 for shift in (0, 8, 16))
    assert (np.maximum(np.maximum(red, green), blue) == 200).all()
    assert (np.minimum(np.minimum(red, green), blue) == 0).all()
    assert (red[0], green[0], blue[0]) == (200, 0, 0) and green[85] == 200 and blue[171] == 200
    grey = fractal_kernel.palette(9, 0, 77)
    assert (grey == 77 * 0x010101).all()


def test_blur_weighs_neighbours_in_each_channel_alone() -> None:
    canvas = np.zeros((5, 5), np.uint32)
    canvas[2, 2] = 160 | 80 << 16
    fractal_kernel.blur(canvas)
    kernel = np.array([[0, 0, 0, 0, 0], [0, 1, 2, 1, 0], [0, 2, 4, 2, 0], [0, 1, 2, 1, 0], [0, 0, 0, 0, 0]])
    assert np.array_equal(canvas & 255, kernel * 10)
    assert np.array_equal(canvas >> 16 & 255, kernel * 5)
    assert (canvas >> 8 & 255 == 0).all()


def test_a_smaller_decay_makes_a_smoother_background() -> None:
    def roughness(decay: float) -> float:
        heights = fractal_kernel.plasma(128, decay, np.array((1, 2), np.uint32)).astype(float)
        return float(np.abs(np.diff(heights)).mean() / heights.std())

    assert roughness(0.4) < roughness(0.6) < roughness(0.8)


def test_grey_pictures_are_black_where_no_point_fell_and_visible_where_one_did() -> None:
    code = find_code(CodeRecipe("svd", (2, 4), 1.0, 0.1, 0.05, 0), 0, fractal.fills)
    hits = fractal.plot(code, 50_000, 64, View(), (1, 2))
    assert hits is not None
    picture = fractal.compose_grey([Shown(code, hits, 0, 0, 1)], 64)
    assert np.array_equal(picture > 0, hits > 0)
    assert picture[picture > 0].min() >= 64 and picture.max() == 255


def digest(**environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", DIGEST], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.slow
def test_the_bytes_are_the_same_on_a_processor_without_vector_instructions(tmp_path: Path) -> None:
    plain = digest(NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="", NUMBA_CACHE_DIR=str(tmp_path))
    assert plain == digest()


def test_the_same_version_makes_the_same_pixels_as_ever() -> None:
    """Where this fails, pictures have changed: raise the operator's `version` with it."""
    canvas = fractal.background(64, 0.6, fractal_kernel.palette(3, 200, 255), Stream(1, "x", "y"))
    hits = fractal.plot(SIERPINSKI, 10_000, 64, View(), (5, 6), 0b010_111_010)
    found = hashlib.sha256(canvas.tobytes() + hits.tobytes()).hexdigest()  # type: ignore[union-attr]
    assert found[:16] == "e6bc7c3c0a16c116"
