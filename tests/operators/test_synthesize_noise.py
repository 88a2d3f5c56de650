from __future__ import annotations

import numpy as np
import pytest

from reinforced.images import decode
from reinforced.operators.synthesize.noise import SynthesizeNoise


def noise(**parameters: object) -> SynthesizeNoise:
    return SynthesizeNoise.model_validate({"classes": 3, "instances": 2, "size_px": 128, **parameters})


def slope(picture: np.ndarray) -> float:
    """The exponent of the amplitude spectrum of a picture, from a line through its logarithm."""
    grey = picture.astype(float).mean(2)
    amplitude = np.abs(np.fft.fft2(grey - grey.mean()))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(128, 1 / 128), np.fft.fftfreq(128, 1 / 128)))
    band = (frequency >= 2) & (frequency <= 32)
    return float(-np.polyfit(np.log(frequency[band]), np.log(amplitude[band] + 1e-9), 1)[0])


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_the_spectrum_falls_as_its_exponent_says(exponent: float) -> None:
    source = noise(kind_of_noise="spectrum", min_exponent=exponent, max_exponent=exponent)
    assert np.mean([slope(source.make(0, i).pixels) for i in range(4)]) == pytest.approx(exponent, abs=0.25)


@pytest.mark.parametrize("kind", ["dead_leaves", "spectrum"])
def test_instances_of_a_class_share_its_parameters_and_no_pixels(kind: str) -> None:
    source = noise(kind_of_noise=kind)
    table = source.read(next(source.shards())).to_pylist()
    parameters = [(row["leaf_radius_px"], row["square_share"], tuple(row["spectrum_exponents"] or ())) for row in table]
    assert parameters[0] == parameters[1] != parameters[2] == parameters[3]
    assert len({row["image"] for row in table}) == 6
    assert decode(table[0]["image"]).shape == (128, 128, 3)


def test_leaves_cover_the_whole_picture_and_have_edges() -> None:
    picture = noise().make(0, 0).pixels
    assert (picture.sum(2) == 0).mean() < 0.01
    flat = (np.diff(picture.astype(int), axis=1) == 0).all(2).mean()
    assert 0.3 < flat < 0.98


def test_small_leaves_are_far_more_frequent_than_large_ones() -> None:
    """Radii with a density of r**-3: doubling the least radius leaves a quarter of the leaves."""
    from reinforced.drawing_kernel import dead_leaves

    def colours(least: int) -> int:
        picture = dead_leaves(256, least, 80.0, 0, 100_000, np.array((1, 2), np.uint32))
        return len(np.unique(picture.reshape(-1, 3), axis=0))

    assert colours(2) > 2 * colours(4) > 4 * colours(8)


def test_the_exponents_must_be_in_order() -> None:
    with pytest.raises(ValueError, match="min_exponent 3 is more than max_exponent 1"):
        noise(kind_of_noise="spectrum", min_exponent=3, max_exponent=1)
