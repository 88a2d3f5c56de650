"""How fast fractals are rendered and stored, and whether they are the same fractals: against the usual chaos game.

Run it with `python benchmarks/fractal.py` (about two minutes), `--rounds 3` for a quick look, `--json` for one object
a line.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fractal_reference
import numpy as np
from measure import Metric, alternate, report, times_better

import reinforced
from reinforced import fractal
from reinforced.ifs import Code, CodeRecipe, find_code
from reinforced.operators.synthesize.fractal import SynthesizeFractal
from reinforced.stream import streams

SIDE, POINTS = 256, 100_000
CODES, DENSE_POINTS = 60, 2_000_000
PICTURES = 40


def codes(count: int) -> list[Code]:
    """Return the codes of the first classes."""
    recipe = CodeRecipe("svd", (2, 4), 1.0, 0.1, 0.05, 0)
    return [find_code(recipe, label, fractal.fills) for label in range(count)]


def renderers(rounds: int) -> list[Metric]:
    """Time pictures of 256 px and 100,000 points, grey and with everything, here and the usual way."""
    whole = SynthesizeFractal(classes=PICTURES, instances=1, blur_probability=1.0)
    plain = SynthesizeFractal(classes=PICTURES, instances=1, colour=False, background=False)
    arrays = [(np.array(code.maps), np.array(code.shares)) for code in map(whole.code, range(PICTURES))]
    patch, rng = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool), np.random.default_rng(0)
    reference = fractal_reference
    ms = alternate(
        {
            "grey": _ms(_here(plain)),
            "grey_reference": _ms(lambda: [reference.grey(*a, POINTS, SIDE, patch) for a in arrays]),
            "full": _ms(_here(whole)),
            "full_reference": _ms(lambda: [reference.full(*a, POINTS, SIDE, patch, rng) for a in arrays]),
        },
        rounds,
    )
    return [
        Metric("gray_256_ms", ms["grey"], "ms", ms["grey_reference"], ms["grey_reference"] / ms["grey"]),
        Metric("full_256_ms", ms["full"], "ms", ms["full_reference"], ms["full_reference"] / ms["full"]),
        times_better("gray_256_vs_reference", ms["grey_reference"] / ms["grey"], ">= 30"),
        times_better("full_256_vs_reference", ms["full_reference"] / ms["full"], ">= 15"),
    ]


def _here(operator: SynthesizeFractal) -> Callable[[], None]:
    """Render the first instance of each class as for a shard: random numbers for all of them are drawn at once."""

    def make() -> None:
        keys = [operator.key(i, 0) for i in range(PICTURES)]
        for i, stream in enumerate(streams(operator.seed, operator.name(), keys)):
            operator.picture(i, 0, stream)

    return make


def _ms(make: Callable[[], Any]) -> Callable[[], float]:
    """Milliseconds of processor time a picture: all of it is one thread."""

    def measure() -> float:
        start = time.process_time()
        make()
        return 1000 * (time.process_time() - start) / PICTURES

    make()  # compiles
    return measure


def agreement(count: int = CODES) -> list[Metric]:
    """Compare the pictures: pixels hit, and the overlap of the histogram with one of two million points."""
    occupied, overlaps = [], []
    fractal_reference.seed(0)
    for code in codes(count):
        maps, shares = np.array(code.maps), np.array(code.shares)
        dense = fractal_reference.iterate(maps, shares, DENSE_POINTS)
        window = _window(fractal_reference.box(dense))
        truth = _histogram(dense, window)
        usual = _histogram(fractal_reference.iterate(maps, shares, POINTS), window)
        ours = fractal.plot_window(code, POINTS, SIDE, window.astype(np.float32), (1, 2))
        occupied.append(np.count_nonzero(ours) / np.count_nonzero(usual))
        overlaps.append(_overlap(ours, truth) - _overlap(usual, truth))
    return [
        Metric("occupied_ratio", float(np.mean(occupied)), "ratio", 1.0, target="1.00 +- 0.03"),
        Metric("overlap_difference", float(np.mean(overlaps)), "share", 0.0, target="within 0.005"),
    ]


def _window(box: tuple[float, float, float, float]) -> np.ndarray[Any, Any]:
    low, extent = np.array(box[:2]), np.array(box[2:]) - np.array(box[:2])
    return np.concatenate([low - 0.001 * extent, SIDE / (1.002 * extent)])


def _histogram(points: np.ndarray[Any, Any], window: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    column, row = np.floor((points - window[:2]) * window[2:]).astype(int).T
    inside = (row >= 0) & (row < SIDE) & (column >= 0) & (column < SIDE)
    return np.bincount(row[inside] * SIDE + column[inside], minlength=SIDE * SIDE).reshape(SIDE, SIDE)


def _overlap(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> float:
    return float(np.minimum(first / first.sum(), second / second.sum()).sum())


def pipeline(rounds: int, pictures: int) -> list[Metric]:
    """Time a run against rendering and encoding alone, by processor time, and two workers against one."""
    source = {"op": "synthesize.fractal", "classes": 20, "instances": pictures // 20, "shard_rows": pictures // 8}
    operator = SynthesizeFractal(**{k: v for k, v in source.items() if k != "op"})  # type: ignore[arg-type]
    places = [divmod(i, operator.instances) for i in range(pictures)]

    def bare() -> float:
        keys = [operator.key(*place) for place in places]
        start = time.process_time()
        for place, stream in zip(places, streams(operator.seed, operator.name(), keys), strict=True):
            operator.encode(operator.picture(*place, stream).pixels)
        return time.process_time() - start

    def stored(workers: int, clock: Callable[[], float]) -> Callable[[], float]:
        def measure() -> float:
            with tempfile.TemporaryDirectory() as folder:
                spec = {"name": "fractals", "out": str(Path(folder) / "out"), "source": source}
                start = clock()
                reinforced.run(spec, engine="local", workers=workers)
                return clock() - start

        return measure

    bare()
    stored(1, time.process_time)()  # imports
    cpu = alternate({"bare": bare, "stored": stored(1, time.process_time)}, rounds)  # one worker is this process
    seconds = alternate({str(n): stored(n, time.perf_counter) for n in (1, 2)}, rounds)
    return [
        Metric("pictures_per_cpu_s", pictures / cpu["stored"], "images/s", pictures / cpu["bare"]),
        Metric("pipeline_share", cpu["bare"] / cpu["stored"], "share", 1.0, target=">= 0.7"),
        times_better("speedup_2_workers", seconds["1"] / seconds["2"]),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each, of which the median counts")
    parser.add_argument("--pictures", type=int, default=4000, help="pictures of a run")
    parser.add_argument("--json", action="store_true", help="one object a line")
    given = parser.parse_args()
    metrics = renderers(given.rounds) + agreement() + pipeline(max(1, given.rounds // 2), given.pictures)
    report("fractals", metrics, given.json)


if __name__ == "__main__":
    main()
