from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reinforced import fractal, ifs
from reinforced.ifs import Code, CodeRecipe, find_code
from reinforced.stream import Stream

RECIPE = CodeRecipe("svd", (2, 4), 1.0, 0.1, 0.05, 0)


@settings(max_examples=200)
@given(st.integers(0, 10**6), st.integers(2, 8), st.sampled_from([1.0, 0.9, 0.7]))
def test_maps_never_expand_and_their_singular_values_add_up_as_the_paper_says(
    seed: int, number: int, most: float
) -> None:
    maps = ifs.svd_maps(number, most, Stream(seed, "x", "key"))
    total = 0.0
    for own in maps:
        values = np.linalg.svd(np.array(own[:4]).reshape(2, 2), compute_uv=False)
        assert values[0] <= most + 1e-9
        assert -1 <= own[4] < 1 and -1 <= own[5] < 1
        total += values[0] + 2 * values[1]
    assert (5 + number) / 2 - 1e-5 <= total <= (6 + number) / 2 + 1e-5


def test_rotations_of_all_angles_and_mirrored_maps_occur() -> None:
    maps = [own for seed in range(300) for own in ifs.svd_maps(3, 1.0, Stream(seed, "x", "key"))]
    mirrored = sum(a * d - b * c < 0 for a, b, c, d, _, _ in maps)
    assert 0.4 < mirrored / len(maps) < 0.6
    assert all(abs(np.mean([own[i] for own in maps])) < 0.06 for i in range(6))


@given(st.lists(st.floats(-2, 2, width=32), min_size=6, max_size=6))
def test_the_largest_singular_value_is_that_of_numpy(values: list[float]) -> None:
    own = ifs.rounded(*values)
    expected = np.linalg.svd(np.array(own[:4]).reshape(2, 2), compute_uv=False)[0]
    assert ifs.singular_value(own) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_the_code_of_a_class_depends_on_nothing_but_seed_and_class() -> None:
    first = find_code(RECIPE, 7, fractal.fills)
    find_code.cache_clear()
    find_code(RECIPE, 3, fractal.fills)
    assert find_code(RECIPE, 7, fractal.fills) == first != find_code(RECIPE, 8, fractal.fills)


def test_codes_that_fill_too_little_are_drawn_again_and_counted() -> None:
    codes = [find_code(CodeRecipe("uniform", (2, 7), 1.0, 0.1, 0.2, 0), label, fractal.fills) for label in range(3)]
    assert max(code.attempts for code in codes) > 1
    assert all(fractal.fills(code, 0.2) for code in codes)


def test_a_filling_that_no_code_has_ends_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ifs, "MOST_ATTEMPTS", 3)
    with pytest.raises(ValueError, match="lower min_filling"):
        find_code(CodeRecipe("svd", (2, 2), 1.0, 0.1, 0.99, 0), 0, fractal.fills)


def test_perturbed_codes_are_one_code_within_delta() -> None:
    recipe = CodeRecipe("perturbed", (3, 3), 1.0, 0.1, 0.0, 0)
    maps = np.array([find_code(recipe, label, fractal.fills).maps for label in range(20)])
    assert len(np.unique(maps, axis=0)) == 20
    spread = maps.max(0) / maps.min(0)
    assert (np.maximum(spread, 1 / spread) <= 1.1 / 0.9 + 1e-5).all()


def test_jitter_changes_one_map_and_never_makes_it_expand() -> None:
    code = find_code(RECIPE, 0, fractal.fills)
    for seed in range(100):
        made = ifs.jittered(code, (0.8, 1.1), 1.0, Stream(seed, "x", "key"))
        assert sum(a != b for a, b in zip(made.maps, code.maps, strict=True)) <= 1
        assert all(ifs.singular_value(own) <= 1 + 1e-6 for own in made.maps)


def test_fractaldb_has_twenty_five_different_weights() -> None:
    code = Code((ifs.rounded(0.5, 0.1, 0.2, 0.4, 0.3, 0.6), ifs.rounded(0.1, 0.5, 0.4, 0.2, 0.6, 0.3)))
    made = [ifs.weighted(code, i) for i in range(25)]
    assert made[0] == code and len({one.maps for one in made}) == 25
    assert made[1].maps[0][0] == pytest.approx(0.1) and made[24].maps[1][5] == pytest.approx(0.54)
