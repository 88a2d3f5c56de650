from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from reinforced import counter
from reinforced.augment import Augment
from reinforced.images import ImageError, decode
from reinforced.rand_augment import OPERATIONS

ALL: dict[str, Any] = {"random_resized_crop": {}, "horizontal_flip": {}, "rand_augment": {"magnitude": 17}}


EXPECTED: dict[str, Any] = {
    "crop_x": [16, 188, 1, 1],
    "crop_y": [5, 88, 2, 16],
    "crop_width": [349, 168, 31, 31],
    "crop_height": [357, 129, 39, 30],
    "flip": [True, False, False, False],
    "rand_augment": [[13, 24], [0, 3], [26, 26], [13, 0]],
    "rand_augment_magnitude": [[17, 17], [17, 17], [17, 17], [17, 17]],
}


def augment(**settings: Any) -> Augment:
    return Augment.model_validate({"size_px": 16} | settings)


def rows(table: pa.Table) -> list[dict[str, Any]]:
    return table.to_pylist()


def encoded(mode: str, width: int, height: int, seed: int) -> bytes:
    """Return an image file; `rotated` carries an EXIF orientation that swaps width and height."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    if mode == "rotated":
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(buffer, "JPEG", exif=exif)
    elif mode == "CMYK":
        image.convert("CMYK").save(buffer, "JPEG")
    else:
        image.convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def stored(parameters: Mapping[str, np.ndarray], schema: pa.Schema) -> pa.Table:
    """Return the parameters after a trip through a Parquet file."""
    table = pa.table({name: list(values) for name, values in parameters.items()}, schema=schema)
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return pq.read_table(buffer)


@settings(deadline=None, max_examples=60)
@given(
    mode=st.sampled_from(["RGB", "L", "1", "CMYK", "rotated"]),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    seed=st.integers(0, 1000),
    parts=st.sets(st.sampled_from(sorted(ALL))),
    size=st.sampled_from([1, 7, 16, (5, 3)]),
)
def test_a_stored_reinforcement_replays_to_the_pixels_the_teacher_saw(
    mode: str, width: int, height: int, seed: int, parts: set[str], size: int | tuple[int, int]
) -> None:
    made = augment(size_px=size, **{part: ALL[part] for part in parts})
    data = encoded(mode, width, height, seed)
    pixels = decode(data)
    parameters = made.parameters(seed, ["a"], range(4), [pixels.shape[1]], [pixels.shape[0]])
    seen = [made.apply(pixels, {name: values[i] for name, values in parameters.items()}) for i in range(4)]
    table = stored(parameters, made.outputs()) if parts else None
    again = Augment.model_validate_json(made.model_dump_json())
    for i in range(4):
        replayed = again.apply(decode(data), rows(table)[i] if table is not None else {})
        assert replayed.dtype == np.uint8
        assert replayed.shape == (made.size[1], made.size[0], 3)
        np.testing.assert_array_equal(replayed, seen[i])


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


def test_parameters_are_the_same_integers_on_every_machine() -> None:
    made = augment(**ALL).parameters(7, ["cat", "dog"], [0, 5], [500, 33], [375, 47])
    assert {name: values.tolist() for name, values in made.items()} == EXPECTED


def test_parameters_do_not_depend_on_what_else_is_drawn_or_configured() -> None:
    whole = augment(**ALL).parameters(1, ["a", "b"], range(6), [50, 60], [40, 30])
    alone = augment(random_resized_crop={}).parameters(1, ["b"], [4], [60], [30])
    assert all(alone[name][0] == whole[name][6 + 4] for name in alone)
    flips = augment(horizontal_flip={"probability": 0.5}).parameters(1, ["a"], [2], [50], [40])
    assert flips["flip"][0] == whole["flip"][2]
    assert (augment(**ALL).parameters(2, ["a"], range(6), [50], [40])["crop_x"] != whole["crop_x"][:6]).any()


def test_flip_probabilities_are_kept_at_their_ends() -> None:
    for probability in (0.0, 0.25, 1.0):
        found = augment(horizontal_flip={"probability": probability}).parameters(0, ["a"], range(8000), [9], [9])[
            "flip"
        ]
        assert abs(found.mean() - probability) < (0.02 if probability == 0.25 else 1e-9)


def test_every_randaugment_operation_is_drawn_equally_often() -> None:
    codes = augment(rand_augment={"operations": 3}).parameters(0, ["a"], range(9000), [9], [9])["rand_augment"]
    assert codes.shape == (9000, 3)
    assert np.abs(np.bincount(codes.ravel() >> 1, minlength=14) / 27_000 - 1 / 14).max() < 0.006


@pytest.mark.parametrize("operation", range(len(OPERATIONS)))
def test_each_operation_does_nothing_at_zero_and_something_at_full_magnitude(operation: int) -> None:
    ramp = np.linspace(40, 200, 24 * 24 * 3).reshape(24, 24, 3).astype(np.uint8)
    ramp[::5, ::4] += 30
    image = Image.fromarray(ramp)
    part = augment(rand_augment={}).rand_augment
    assert part is not None
    still = np.asarray(part.apply(image, [2 * operation], [0]))
    moved = np.asarray(part.apply(image, [2 * operation], [30]))
    name = OPERATIONS[operation]
    if name not in ("autocontrast", "equalize"):  # these have no magnitude
        np.testing.assert_array_equal(still, ramp)
    assert (moved != ramp).any() or name == "identity"


def test_signs_go_opposite_ways() -> None:
    image = Image.fromarray(np.full((20, 20, 3), 100, np.uint8))
    part = augment(rand_augment={}).rand_augment
    assert part is not None
    shift, bright = 2 * OPERATIONS.index("translate_x"), 2 * OPERATIONS.index("brightness")
    right, left = (np.asarray(part.apply(image, [shift + sign], [30]))[..., 0] for sign in (0, 1))
    assert (right[:, :9] == 0).all() and (right[:, 9:] == 100).all()
    assert (left[:, 11:] == 0).all() and (left[:, :11] == 100).all()
    assert [int(np.asarray(part.apply(image, [bright + sign], [10]))[0, 0, 0]) for sign in (0, 1)] == [130, 70]


def test_a_full_rotation_turns_by_thirty_degrees_about_the_centre() -> None:
    pixels = np.zeros((41, 41, 3), np.uint8)
    pixels[20, 36] = 255  # 16 px to the right of the centre
    part = augment(rand_augment={}).rand_augment
    assert part is not None
    turned = np.asarray(part.apply(Image.fromarray(pixels), [2 * OPERATIONS.index("rotate")], [30]))[..., 0].astype(
        float
    )
    y, x = (np.average(grid, weights=turned) - 20 for grid in np.mgrid[:41, :41])
    assert abs(x - 16 * np.cos(np.pi / 6)) < 0.3
    assert abs(abs(y) - 16 * np.sin(np.pi / 6)) < 0.3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"random_resize_crop": {}}, "did you mean 'random_resized_crop'"),
        ({"rand_augment": {"magnitud": 3}}, "did you mean 'magnitude'"),
        ({"random_resized_crop": {"scale": [0.5, 0.1]}}, "must rise within"),
        ({"random_resized_crop": {"ratio": [0.0, 1.0]}}, "must rise within"),
        ({"rand_augment": {"magnitude": 31}}, "30"),
        ({"size_px": 0}, "from 1 to"),
    ],
)
def test_a_wrong_configuration_is_refused_and_not_ignored(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        augment(**given)


def test_an_image_that_shrank_since_is_noticed() -> None:
    made = augment(random_resized_crop={"scale": [0.9, 1.0]})
    parameters = made.parameters(0, ["a"], [0], [50], [40])
    with pytest.raises(ImageError, match="has changed since"):
        made.apply(np.zeros((30, 50, 3), np.uint8), {name: values[0] for name, values in parameters.items()})


def test_a_side_longer_than_the_columns_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="65535 px"):
        augment(random_resized_crop={}).parameters(0, ["a"], [0], [70_000], [10])


def test_a_word_decides_as_the_format_says() -> None:
    word = int(counter.words(5, "augment.horizontal_flip", ["a"], [3], 1)[0, 0, 0])
    assert augment(horizontal_flip={}).parameters(5, ["a"], [3], [9], [9])["flip"][0] == (word < 2**31)
