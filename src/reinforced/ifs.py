"""Codes of iterated function systems: a few affine maps whose attractor is a fractal, and how they are sampled.

Everything is +, -, *, / and square roots of Python floats, rounded to float32 at the end: the same code on any machine.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from reinforced.stream import Stream

Map = tuple[float, float, float, float, float, float]
"""a, b, c, d, e, f of (x, y) -> (a x + b y + e, c x + d y + f)."""
CodeKind = Literal["svd", "uniform", "perturbed"]
Usable = Callable[["Code", float], bool]

MOST_ATTEMPTS = 20_000
"""Codes drawn for a class before giving up; FractalDB's filter rejects about 60 of 61."""
WEIGHTS = (0.2, 0.6, 1.4, 1.8)


@dataclass(frozen=True)
class Code:
    """The maps of a fractal, and how many codes were drawn until this one was usable."""

    maps: tuple[Map, ...]
    attempts: int = 1

    @property
    def shares(self) -> list[float]:
        """How often each map is applied: its |determinant|, of a sum of 1; all 0 where every map is flat."""
        determinants = [abs(a * d - b * c) for a, b, c, d, _, _ in self.maps]
        total = sum(determinants)
        return [value / total for value in determinants] if total else determinants


@dataclass(frozen=True)
class CodeRecipe:
    """What decides the code of every class."""

    kind: CodeKind
    maps: tuple[int, int]
    max_singular_value: float
    delta: float
    min_filling: float
    seed: int


@functools.lru_cache(maxsize=4096)
def find_code(recipe: CodeRecipe, label: int, usable: Usable) -> Code:
    """Return the code of a class: drawn until `usable(code, min_filling)`. Raises: ValueError if none is found."""
    stream = Stream(recipe.seed, "synthesize.fractal.code", f"{recipe.kind}/{label}")
    base = None
    if recipe.kind == "perturbed":
        base = find_code(CodeRecipe("svd", recipe.maps, recipe.max_singular_value, 0, 0.05, recipe.seed), 0, usable)
    for attempt in range(1, MOST_ATTEMPTS + 1):
        if base:
            maps = perturbed(base.maps, recipe.delta, stream)
        else:
            number = stream.between(*recipe.maps)
            uniform = recipe.kind == "uniform"
            maps = uniform_maps(number, stream) if uniform else svd_maps(number, recipe.max_singular_value, stream)
        code = Code(maps, attempt)
        if usable(code, recipe.min_filling):
            return code
    raise ValueError(
        f"none of {MOST_ATTEMPTS:,} codes fills {recipe.min_filling:g} of the picture for class {label}; "
        "lower min_filling"
    )


def svd_maps(number: int, most: float, stream: Stream) -> tuple[Map, ...]:
    """Sample maps by their singular values (Anderson and Farrell 2022, *Improving Fractal Pre-training*).

    A = R1 diag(s1, s2) R2 diag(±1, ±1) with rotations R of any angle, most >= s1 >= s2 >= 0, and the sum of s1 + 2 s2
    over all maps uniform in ((5 + N) / 2, (6 + N) / 2), outside of which fractals are sparse dust or solid blots.
    Translations are uniform in (-1, 1).
    """
    rest = stream.uniform((5 + number) / 2, (6 + number) / 2)
    found = []
    for left in range(number - 1, -1, -1):
        # What this map takes of the sum must leave something that `left` more maps can take.
        least, largest = max(0.0, rest - 3 * most * left), min(3 * most, rest)
        s1 = stream.uniform(least / 3, min(most, largest))
        if left:
            s2 = stream.uniform(max(0.0, (least - s1) / 2), min(s1, (largest - s1) / 2))
        else:
            s1, s2 = _last(rest, most, stream)
        rest -= s1 + 2 * s2
        found.append(_map(s1, s2, most, stream))
    return tuple(found)


def _last(rest: float, most: float, stream: Stream) -> tuple[float, float]:
    s1 = stream.uniform(rest / 3, min(most, rest))
    return s1, (rest - s1) / 2


def _map(s1: float, s2: float, most: float, stream: Stream) -> Map:
    (c1, n1), (c2, n2) = stream.direction(), stream.direction()
    sign1, sign2 = stream.choice((-1, 1)), stream.choice((-1, 1))
    a, b = (c1 * s1 * c2 - n1 * s2 * n2) * sign1, (-c1 * s1 * n2 - n1 * s2 * c2) * sign2
    c, d = (n1 * s1 * c2 + c1 * s2 * n2) * sign1, (-n1 * s1 * n2 + c1 * s2 * c2) * sign2
    made = rounded(a, b, c, d, stream.uniform(-1, 1), stream.uniform(-1, 1))
    # Rounding to float32 may lift a singular value of `most` a little over it.
    return made if singular_value(made) <= most else scaled(made, most * (1 - 2**-22) / singular_value(made))


def uniform_maps(number: int, stream: Stream) -> tuple[Map, ...]:
    """Sample all six coefficients uniformly in (-1, 1) (Kataoka et al. 2020, *Pre-training without Natural Images*)."""
    return tuple(rounded(*(stream.uniform(-1, 1) for _ in range(6))) for _ in range(number))


def perturbed(maps: tuple[Map, ...], delta: float, stream: Stream) -> tuple[Map, ...]:
    """Multiply every coefficient by its own factor in (1 - delta, 1 + delta) (Nakamura et al. 2024, *1p-frac*)."""
    return tuple(rounded(*(value * stream.uniform(1 - delta, 1 + delta) for value in m)) for m in maps)


def jittered(code: Code, factors: tuple[float, float], most: float, stream: Stream) -> Code:
    """Scale the linear part of one map by a factor from a range, as far as its singular values stay at most `most`."""
    chosen = stream.below(len(code.maps))
    own = code.maps[chosen]
    largest = most / max(singular_value(own), 1e-6)
    made = scaled(own, stream.uniform(factors[0], max(factors[0], min(factors[1], largest))))
    return Code((*code.maps[:chosen], made, *code.maps[chosen + 1 :]), code.attempts)


def weighted(code: Code, number: int) -> Code:
    """Scale one of the six coefficients of all maps: FractalDB's 25 weight vectors, of which 0 changes nothing."""
    if number == 0:
        return code
    place, weight = (number - 1) % 6, WEIGHTS[(number - 1) // 6]
    maps = (rounded(*(v * weight if i == place else v for i, v in enumerate(m))) for m in code.maps)
    return Code(tuple(maps), code.attempts)


def rounded(*values: float) -> Map:
    """Return six coefficients as the nearest float32."""
    a, b, c, d, e, f = np.array(values, np.float32).tolist()
    return a, b, c, d, e, f


def scaled(own: Map, factor: float) -> Map:
    """Return a map whose linear part is multiplied by a factor."""
    return rounded(*(value * factor for value in own[:4]), *own[4:])


def singular_value(own: Map) -> float:
    """Return the larger singular value of a map's linear part."""
    a, b, c, d, _, _ = own
    squares, determinant = a * a + b * b + c * c + d * d, a * d - b * c
    return math.sqrt((squares + math.sqrt(max(0.0, squares * squares - 4 * determinant * determinant))) / 2)
