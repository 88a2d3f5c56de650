from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from photos import make_photos
from sklearn.datasets import load_sample_images

import reinforced
from reinforced.batch import Batch
from reinforced.operators.measure.quality import MeasureQuality

FLOWER = load_sample_images().images[1]


def measured(*pictures: Any) -> dict[str, list[float]]:
    rows = Batch(pa.table({"key": [str(i) for i in range(len(pictures))]}), [np.uint8(p) for p in pictures])
    return {name: list(values) for name, values in MeasureQuality().transform(rows).items()}


def test_a_blurred_picture_is_less_sharp_and_a_plain_one_not_at_all() -> None:
    blurred = np.mean([np.roll(FLOWER.astype(float), shift, axis) for shift in range(-3, 4) for axis in (0, 1)], axis=0)
    sharp, blurry, plain = measured(FLOWER, blurred, np.full((9, 9, 3), 77))["sharpness"]
    assert sharp > 5 * blurry > 0
    assert plain == 0


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    dot = np.zeros((5, 5, 3))
    dot[2, 2] = 100
    assert measured(dot)["sharpness"][0] == pytest.approx((400**2 + 4 * 100**2) / 25, rel=1e-4)


def test_entropy_counts_grey_values_in_bits() -> None:
    every = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(16, 16, 3)
    halves = np.zeros((4, 4, 3))
    halves[:2] = 200
    assert measured(every, halves, np.zeros((2, 3, 3)))["entropy"] == pytest.approx([8, 1, 0])


def test_clipped_shadows_and_lights_are_shares_of_the_pixels() -> None:
    picture = np.full((10, 10, 3), 128)
    picture[:2], picture[9:] = 3, 255
    found = measured(picture)
    assert (found["dark_share"], found["bright_share"]) == ([0.2], [0.1])


def test_colourfulness_is_that_of_the_paper() -> None:
    red = np.zeros((4, 4, 3))
    red[..., 0] = 255
    half = red.copy()
    half[:2] = 0
    expected = [0.3 * np.hypot(255, 127.5), np.hypot(127.5, 63.75) + 0.3 * np.hypot(127.5, 63.75), 0]
    assert measured(red, half, np.full((3, 3, 3), 90))["colourfulness"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 7, 3), (7, 1, 3)])
def test_the_smallest_pictures_can_be_measured(shape: tuple[int, ...]) -> None:
    assert all(np.isfinite(values).all() for values in measured(np.full(shape, 200)).values())


def test_another_threshold_measures_nothing_again_and_brings_rows_back(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 12, side_px=24)
    out = str(tmp_path / "out")
    source = {"op": "read.images", "path": str(tmp_path / "photos")}
    reinforced.run({"name": "scores", "out": out, "source": source, "steps": [{"op": "measure.quality"}]})
    sharpness = sorted(reinforced.open(out).to_arrow(columns=["sharpness"]).column("sharpness").to_pylist())
    layer = tmp_path / "out/quality/00000.parquet"
    before = layer.stat()
    for kept in (3, 9):
        where = {"op": "filter.where", "sql": f"sharpness >= {sharpness[-kept]!r}::FLOAT"}
        reinforced.run({"name": "choice", "out": out, "source": {"op": "read.dataset", "path": out}, "steps": [where]})
        assert len(reinforced.open(out).to_arrow(columns=["key"])) == kept
    assert (layer.stat().st_mtime_ns, layer.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
