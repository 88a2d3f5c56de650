from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reinforced.errors import RequestError
from reinforced.pixel_layout import Layout, fit_layout, read_layout


def related() -> np.ndarray:
    """Return 60 samples of 40 features: 0 to 19 follow one hidden number, 20 to 39 another."""
    numbers = np.random.default_rng(0)
    hidden = np.repeat(numbers.normal(size=(60, 2)), 20, axis=1)
    return hidden + 0.2 * numbers.normal(size=(60, 40))


def test_features_that_vary_alike_stand_side_by_side_the_same_each_time() -> None:
    layout = fit_layout(related())
    distance = np.linalg.norm(layout.places[:, None] - layout.places[None], axis=2)
    nearest = np.where(np.eye(40, dtype=bool), np.inf, distance).argmin(axis=1)
    assert ((nearest < 20) == (np.arange(40) < 20)).all()
    assert (fit_layout(related()).places == layout.places).all()
    assert layout.places.min() == 0
    assert layout.places.max() == 1


def test_features_on_one_pixel_are_averaged_and_others_are_drawn_where_they_stand() -> None:
    places = np.array([[0, 0], [0.1, 0.1], [1, 0], [0.4, 1]])
    layout = Layout(places, np.zeros(4), np.array([1.0, 1.0, 2.0, 1.0]))
    (picture,) = layout.pictures(np.array([[0.2, 0.6, 1.0, 7.0]]), 2)
    assert picture.tolist() == [[102, 128], [255, 0]]


def test_a_layout_is_read_as_it_was_saved(tmp_path: Path) -> None:
    layout = fit_layout(related())
    layout.save(str(tmp_path / "layout.parquet"))
    again = read_layout(str(tmp_path / "layout.parquet"))
    assert (again.pictures(related(), 16) == layout.pictures(related(), 16)).all()
    with pytest.raises(RequestError, match=r"'.*other.parquet' is no layout"):
        read_layout(str(tmp_path / "other.parquet"))


def test_two_features_are_too_few() -> None:
    with pytest.raises(RequestError, match="2 samples of 3 features or more, not 5 of 2"):
        fit_layout(np.zeros((5, 2)))
