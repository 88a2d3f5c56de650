from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from broken_images import broken_images, encode, exif, odd_images, photo
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from reinforced import batch as batch_module
from reinforced.batch import Batch
from reinforced.images import encode_png
from reinforced.operators.filter.image import FilterImage


def table(images: Sequence[bytes | None]) -> pa.Table:
    keys = [f"{i:04d}" for i in range(len(images))]
    return pa.table({"key": keys, "image": pa.array(images, pa.binary())})


def judge(images: Sequence[bytes | None], **parameters: Any) -> list[tuple[str | None, float | None]]:
    verdicts = FilterImage(**parameters).judge(Batch(table(images)))
    assert verdicts.scores is not None
    return list(zip(verdicts.reasons, verdicts.scores, strict=True))


def blank(width: int, height: int, value: int = 0) -> bytes:
    return encode_png(np.full((height, width), value, np.uint8))


def test_every_broken_image_is_dropped_as_corrupt_and_costs_no_other_row() -> None:
    good = list(odd_images().values())
    mixed = [image for pair in zip(good, broken_images().values(), strict=False) for image in pair]
    verdicts = judge(mixed)
    assert [reason for reason, _ in verdicts[::2]] == [None] * (len(mixed) // 2)
    assert all(reason is not None and reason.startswith("corrupt: ") for reason, _ in verdicts[1::2])


@pytest.mark.parametrize(
    ("limit", "image", "score"),
    [
        ({"min_side_px": 64}, blank(100, 48), 48),
        ({"max_side_px": 64}, blank(100, 48), 100),
        ({"max_aspect": 2.0}, blank(100, 48), 100 / 48),
        ({"max_aspect": 2.0}, blank(48, 100), 100 / 48),
        ({"min_std": 1.0}, blank(48, 48), 0),
    ],
)
def test_a_limit_drops_with_its_name_and_the_measured_value(
    limit: dict[str, float], image: bytes, score: float
) -> None:
    assert judge([image], **limit) == [(next(iter(limit)), score)]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.floats(1, 5))
def test_an_image_on_the_limit_stays(width: int, height: int, least: int, most: int, aspect: float) -> None:
    ((reason, _),) = judge([blank(width, height)], min_side_px=least, max_side_px=most, max_aspect=aspect)
    shorter, longer = sorted((width, height))
    assert (reason is None) == (shorter >= least and longer <= most and longer / shorter <= aspect)


def test_sizes_are_those_of_the_upright_image() -> None:
    turned = table([encode(photo(80, 40), "JPEG", exif=exif(6))])
    measured = turned.append_column("width", pa.array([40])).append_column("height", pa.array([80]))
    for rows in (turned, measured):
        verdicts = FilterImage(max_aspect=1.5).judge(Batch(rows))
        assert list(verdicts.reasons) == ["max_aspect"]


def test_formats_are_told_by_content_and_never_by_name() -> None:
    images = [encode(photo(), "GIF"), encode(photo(), "PNG"), odd_images()["jpeg_multi_picture"]]
    named = table(images).append_column("path", pa.array(["a.png", "b.gif", "c.mpo"]))
    verdicts = FilterImage(formats=["PNG", "JPEG"]).judge(Batch(named))
    assert list(verdicts.reasons) == ["formats: GIF", None, None]


def test_colour_modes_that_are_not_asked_for_are_named() -> None:
    images = [odd_images()[name] for name in ("jpeg_cmyk", "png_rgba", "png_16_bit_grey", "jpeg_progressive")]
    reasons = [reason for reason, _ in judge(images, modes=["RGB", "L"])]
    assert reasons == ["modes: CMYK", "modes: RGBA", "modes: I;16", None]


@pytest.mark.parametrize(
    ("parameters", "nearest"),
    [
        ({"formats": ["EPS"]}, "JPEG"),
        ({"modes": ["rgb"]}, "RGB"),
        ({"min_side_px": 0}, "greater than 0"),
        ({"min_std": 3.0, "decode": False}, "leave decode at true"),
        ({"min_side": 3}, "min_side"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_before_the_run(parameters: dict[str, Any], nearest: str) -> None:
    with pytest.raises(ValidationError, match=nearest):
        FilterImage(**parameters)


def test_flatness_is_the_standard_deviation_of_grey_values() -> None:
    noise = np.random.default_rng(0).integers(100, 140, (50, 60, 3), dtype=np.uint8)
    grey = np.asarray(Image.fromarray(noise).convert("L"), np.float64)
    ((reason, score),) = judge([encode_png(noise)], min_std=100.0)
    assert reason == "min_std"
    assert score == pytest.approx(grey.std(), rel=1e-12)
    assert judge([encode_png(noise)], min_std=grey.std() * 0.999) == [(None, None)]


def test_images_dropped_by_their_header_are_never_decoded_and_others_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []
    decode = batch_module.decode
    monkeypatch.setattr(batch_module, "decode", lambda data: decoded.append(data) or decode(data))
    small, large = blank(10, 10), encode(photo(90, 90), "JPEG")
    batch = FilterImage(min_side_px=64).apply(Batch(table([small, large, small])))
    assert batch.keys == ["0001"]
    assert batch.pixels[0].shape == (90, 90, 3)
    assert decoded == [large]


def test_a_truncated_jpeg_passes_only_where_decoding_was_declined() -> None:
    cut = encode(photo(90, 90), "JPEG")[:-400]
    assert judge([cut], min_side_px=10, decode=False) == [(None, None)]
    ((reason, _),) = judge([cut], min_side_px=10)
    assert reason is not None
    assert reason.startswith("corrupt: ")


def test_a_row_without_an_image_is_dropped_whatever_is_asked() -> None:
    for parameters in ({}, {"min_side_px": 3}, {"formats": ["PNG"]}):
        ((reason, _),) = judge([None], **parameters)
        assert reason is not None
        assert reason.startswith("corrupt: ")


def test_an_empty_batch_gives_no_verdicts() -> None:
    assert judge([], min_side_px=3) == []


def test_no_pixel_of_a_kept_image_is_touched() -> None:
    image = encode(photo(), "JPEG")
    kept = FilterImage(min_side_px=8, min_std=1.0)(table([image]))
    assert kept.column("image").to_pylist() == [image]
    assert Image.open(io.BytesIO(image)).size == (61, 47)
