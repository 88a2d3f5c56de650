import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_images

from reinforced.corruption import CORRUPTIONS, SEVERITIES, corrupt
from reinforced.corruptions.filters import Randomness, convolve, displace, gaussian, point_spread
from reinforced.corruptions.noise import shot_noise
from reinforced.images import Pixels


def photos(side: int) -> list[Pixels]:
    found = [Image.fromarray(photo).resize((side, side), Image.Resampling.BOX) for photo in load_sample_images().images]
    return [np.asarray(photo) for photo in found]


@pytest.mark.parametrize("side", [32, 96, 224])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_higher_severity_changes_more(name: str, side: int) -> None:
    change = [
        np.mean(
            [np.hypot.reduce(corrupt(p, name, severity, key="photo") - p.astype(float), None) for p in photos(side)]
        )
        for severity in SEVERITIES
    ]
    assert change[0] > 0 and change == sorted(set(change))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_image_is_corrupted_alike_and_its_pixels_stay_as_they_were(name: str) -> None:
    pixels = photos(32)[0]
    before = pixels.copy()
    first, again = (corrupt(pixels, name, 3, key="a", seed=1) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(pixels, before)
    random = {"gaussian_noise", "shot_noise", "impulse_noise", "glass_blur", "motion_blur", "fog", "elastic_transform"}
    for other in (corrupt(pixels, name, 3, key="b", seed=1), corrupt(pixels, name, 3, key="a", seed=2)):
        assert np.array_equal(first, other) == (name not in random)


@settings(deadline=None, max_examples=80)
@given(st.integers(1, 19), st.integers(1, 19), st.sampled_from(list(CORRUPTIONS)), st.sampled_from(SEVERITIES))
def test_images_of_any_size_keep_it(height: int, width: int, name: str, severity: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    found = corrupt(pixels, name, severity, key="any")
    assert found.shape == pixels.shape and found.dtype == np.uint8


@pytest.mark.parametrize("grey", [0, 128, 255])
@pytest.mark.parametrize("name", ["defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "elastic_transform"])
def test_a_flat_image_has_nothing_to_blur(name: str, grey: int) -> None:
    pixels = np.full((20, 30, 3), grey, np.uint8)
    np.testing.assert_array_equal(corrupt(pixels, name, 5, key="flat"), pixels)


def test_constants_are_those_of_small_and_large_images_and_lie_between_in_between() -> None:
    noise, blur = CORRUPTIONS["gaussian_noise"], CORRUPTIONS["defocus_blur"]
    assert (noise.at(1, 8), noise.at(5, 32), noise.at(5, 224), noise.at(5, 999)) == tuple(
        {"deviation": value} for value in (0.04, 0.10, 0.38, 0.38)
    )
    assert noise.at(1, 85)["deviation"] == pytest.approx((0.04 * 0.08) ** 0.5, rel=0.01)  # 85 px: halfway by ratio
    assert blur.at(5, 448)["radius_px"] == pytest.approx(20) and blur.at(3, 16)["radius_px"] == pytest.approx(0.5)


def test_noise_is_as_strong_as_stated() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    noisy = corrupt(grey, "gaussian_noise", 1, key="n") / 255
    expected = CORRUPTIONS["gaussian_noise"].at(1, 200)["deviation"]
    assert noisy.std() == pytest.approx(expected, rel=0.02) and noisy.mean() == pytest.approx(128 / 255, abs=0.002)
    salted = corrupt(grey, "impulse_noise", 5, key="n")
    share = CORRUPTIONS["impulse_noise"].at(5, 200)["share"]
    assert [(salted == value).mean() for value in (0, 255)] == pytest.approx([share / 2] * 2, rel=0.05)


@pytest.mark.parametrize("photons", [3, 60, 500])
def test_shot_noise_has_the_mean_and_variance_of_light(photons: int) -> None:
    image = np.repeat([0, 51, 128, 255], 30_000).reshape(4, -1, 3) / 255
    counts = shot_noise(image, Randomness(0, "shot_noise", "light"), photons) * photons
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-9)
    expected = image[:, 0, 0] * photons
    np.testing.assert_allclose(counts.mean(axis=(1, 2)), expected, rtol=0.02)
    np.testing.assert_allclose(counts.var(axis=(1, 2)), expected, rtol=0.04)


def test_convolution_is_the_sum_done_by_hand_and_mirrors_the_border() -> None:
    values = np.random.default_rng(0).random((5, 4))
    kernel = np.random.default_rng(1).random((3, 5))
    kernel /= kernel.sum()
    padded = np.pad(values, [(1, 1), (2, 2)], mode="symmetric")
    by_hand = [[(padded[y : y + 3, x : x + 5] * kernel[::-1, ::-1]).sum() for x in range(4)] for y in range(5)]
    np.testing.assert_allclose(convolve(values, kernel), by_hand)
    image = np.stack([values] * 3, axis=2)
    np.testing.assert_allclose(convolve(image, kernel)[..., 2], by_hand)


def test_kernels_sum_to_one_and_shift_as_far_as_they_say() -> None:
    assert gaussian(1.5).sum() == pytest.approx(1)
    kernel = point_spread(np.array([0.25]), np.array([-1.5]), np.ones(1))
    y, x = (np.arange(side) - side // 2 for side in kernel.shape)
    assert (kernel.sum(), kernel.sum(1) @ y, kernel.sum(0) @ x) == pytest.approx((1, 0.25, -1.5))


def test_displacing_by_whole_pixels_moves_and_by_half_averages() -> None:
    image = np.random.default_rng(0).random((4, 5, 3))
    one, none = np.ones((4, 5)), np.zeros((4, 5))
    np.testing.assert_allclose(displace(image, one, none)[:3], image[1:])
    np.testing.assert_allclose(displace(image, none, one / 2)[:, :4], (image[:, :4] + image[:, 1:]) / 2)


def test_black_turns_grey_when_it_gets_brighter_and_colours_keep_their_hue() -> None:
    pixels = np.array([[[0, 0, 0], [100, 50, 0]]], np.uint8)
    black, brown = corrupt(pixels, "brightness", 5, key="b")[0]
    assert black.min() == black.max() > 0
    assert brown[1] == pytest.approx(brown[0] / 2, abs=1) and brown[2] == 0


def test_an_unknown_corruption_names_the_nearest_one() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="'gausian_noise' is unknown; did you mean 'gaussian_noise'"):
        corrupt(pixels, "gausian_noise", 1, key="k")
    for severity in (0, 6):
        with pytest.raises(ValueError, match=rf"severity {severity} must be from 1 \(mild\) to 5"):
            corrupt(pixels, "fog", severity, key="k")
