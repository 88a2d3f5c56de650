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

from reinforced.augment import Augment
from reinforced.images import decode

ALL: dict[str, Any] = {
    "random_resized_crop": {},
    "random_crop": {"padding_px": 3},
    "horizontal_flip": {},
    "rand_augment": {"magnitude": 17},
    "auto_augment": {"policy": "cifar10"},
    "trivial_augment": {},
    "colour_jitter": {"hue": 0.5, "probability": 0.8},
    "grayscale": {},
    "gaussian_blur": {},
    "random_erasing": {"probability": 0.5, "fill": "noise"},
    "mix_up": {},
    "cut_mix": {"alpha": 0.3},
}
VARIANTS: dict[str, list[dict[str, Any]]] = {name: [settings] for name, settings in ALL.items()} | {
    "rand_augment": [{"operations": 1, "magnitude": 30}, {"operations": 4, "magnitude": 3}],
    "auto_augment": [{"policy": "imagenet"}, {"policy": "cifar10"}],
    "colour_jitter": [{}, {"brightness": 1, "contrast": 1, "saturation": 1, "hue": 0.5}],
    "gaussian_blur": [{"probability": 1}, {"sigma_px": [0.01, 40], "probability": 1}],
    "random_erasing": [{"probability": 1}, {"probability": 1, "scale": [0.5, 1], "fill": "noise"}],
}
configurations = st.fixed_dictionaries({}, optional={name: st.sampled_from(v) for name, v in VARIANTS.items()})

EXPECTED: dict[str, Any] = {
    "crop_x": [16, 188, 1, 1],
    "crop_y": [5, 88, 2, 16],
    "crop_width": [349, 168, 31, 31],
    "crop_height": [357, 129, 39, 30],
    "shift_x": [2, -3, -2, 1],
    "shift_y": [1, 3, 3, -3],
    "flip": [True, False, False, False],
    "rand_augment": [[13, 24], [0, 3], [26, 26], [13, 0]],
    "rand_augment_magnitude": [[17, 17], [17, 17], [17, 17], [17, 17]],
    "auto_augment": [[0, 24], [24, 26], [26, 0], [0, 0]],
    "auto_augment_magnitude": [[0, 0], [0, 0], [0, 0], [0, 0]],
    "trivial_augment": [22, 11, 19, 0],
    "trivial_augment_magnitude": [22, 22, 24, 12],
    "jitter_brightness": [131, 100, 61, 115],
    "jitter_contrast": [118, 127, 138, 106],
    "jitter_saturation": [100, 129, 97, 132],
    "jitter_hue": [-12, 87, 31, 43],
    "jitter_order": [7, 1, 16, 7],
    "grayscale": [False, True, False, False],
    "blur_sigma": [156, 0, 0, 135],
    "erase_x": [0, 1, 0, 0],
    "erase_y": [0, 6, 0, 0],
    "erase_width": [0, 14, 0, 0],
    "erase_height": [0, 5, 0, 0],
    "mix_share": [151, 255, 255, 195],
    "cut_x": [0, 4, 0, 0],
    "cut_y": [0, 1, 0, 0],
    "cut_width": [0, 12, 0, 0],
    "cut_height": [0, 15, 0, 0],
    "mix_row": [1, 1, 1, 0],
}


def augment(**settings: Any) -> Augment:
    return Augment.model_validate({"size_px": 16} | settings)


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


@settings(deadline=None, max_examples=150)
@given(
    modes=st.lists(st.sampled_from(["RGB", "L", "1", "CMYK", "rotated"]), min_size=1, max_size=3),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    seed=st.integers(0, 1000),
    parts=configurations,
    backend=st.sampled_from(["exact", "fast"]),
    size=st.sampled_from([1, 7, 16, (5, 3), (1, 33)]),
)
def test_a_stored_reinforcement_replays_to_the_pixels_the_teacher_saw(
    modes: list[str],
    width: int,
    height: int,
    seed: int,
    parts: dict[str, Any],
    backend: str,
    size: int | tuple[int, int],
) -> None:
    made = augment(size_px=size, backend=backend, **parts)
    files = [encoded(mode, width + i, height, seed) for i, mode in enumerate(modes)]
    images = [decode(data) for data in files]
    sides = [[image.shape[axis] for image in images] for axis in (1, 0)]
    parameters = made.parameters(seed, [str(i) for i in range(len(images))], range(3), *sides)
    count = 3 * len(images)
    seen = [made.view(images.__getitem__, parameters, i, 3) for i in range(count)]
    again = Augment.model_validate_json(made.model_dump_json())
    assert again.outputs().names == list(parameters)
    table = stored(parameters, again.outputs()).to_pydict() if parts else {}
    for i in range(count):
        replayed = again.view(lambda image: decode(files[image]), table, i, 3)
        assert replayed.dtype == np.uint8
        assert replayed.shape == (made.size[1], made.size[0], 3)
        np.testing.assert_array_equal(replayed, seen[i])


def test_every_augmentation_changes_some_views_and_has_columns_of_its_own() -> None:
    assert set(ALL) == set(Augment.model_fields) - {"size_px", "backend"}
    images = [decode(encoded("RGB", 23, 19, seed)) for seed in (1, 2)]
    plain, found = augment().apply(images[0], {}), []
    for name, chosen in ALL.items():
        made = augment(**{name: chosen})
        drawn = made.parameters(0, ["a", "b"], range(30), [23, 23], [19, 19])
        views = [made.view(images.__getitem__, drawn, i, 30) for i in range(30)]
        assert sum((view != plain).any() for view in views) >= 3, name
        found += [column for column in made.outputs().names if column != "mix_row"]
    assert [*found, "mix_row"] == augment(**ALL).outputs().names
    assert len(set(found)) == len(found)


def test_parameters_are_the_same_integers_on_every_machine() -> None:
    made = augment(**ALL).parameters(7, ["cat", "dog"], [0, 5], [500, 33], [375, 47])
    assert {name: values.tolist() for name, values in made.items()} == EXPECTED


def test_parameters_do_not_depend_on_what_else_is_drawn_or_configured() -> None:
    whole = augment(**ALL).parameters(1, ["a", "b"], range(6), [50, 60], [40, 30])
    for name, chosen in ALL.items():
        alone = augment(**{name: chosen}).parameters(1, ["b"], [4], [60], [30])
        assert all((alone[column][0] == whole[column][6 + 4]).all() for column in alone if column != "mix_row")
    flips = augment(horizontal_flip={"probability": 0.5}).parameters(1, ["a"], [2], [50], [40])
    assert flips["flip"][0] == whole["flip"][2]
    assert (augment(**ALL).parameters(2, ["a"], range(6), [50], [40])["crop_x"] != whole["crop_x"][:6]).any()


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


def test_a_side_longer_than_the_columns_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="65535 px"):
        augment(random_resized_crop={}).parameters(0, ["a"], [0], [70_000], [10])
