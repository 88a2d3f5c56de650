"""Reading photographs to train on, one process on one core: python benchmarks/reading.py [--clock cpu] [--json].

Decoding, a random resized crop to 224 px and mirroring, as batches of uint8; every library from its own format.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import environments
from measure import Metric, alternate, report
from simulated import reinforced_photographs
from workload import PHOTOGRAPHS, cache_folder

DRAWS = 8
CROP_AND_FLIP = {"size_px": 224, "random_resized_crop": {}, "horizontal_flip": {}}
OURS = {"reinforced": "exact", "reinforced_fast": "fast"}
"""This project by each backend that resizes."""
DECODERS = {
    "reinforced": "simplejpeg",
    "reinforced_fast": "simplejpeg",
    "image_folder": "Pillow",
    "webdataset": "Pillow",
    "litdata": "torchvision",
    "mosaicml_streaming": "Pillow",
}
"""What each contestant decodes with if nobody says otherwise."""


def contestants(names: list[str], clock: str, made: Path) -> dict[str, Callable[[], float]]:
    """Write the photographs for each contestant, and return what times an epoch of it."""
    images = len(list(PHOTOGRAPHS.glob("*.JPEG")))
    found: dict[str, Callable[[], float]] = {}
    for name in names:
        script, folder = name, made / name
        if name in OURS:
            augment = CROP_AND_FLIP | {"backend": OURS[name]}
            script, folder = "reinforced_stream", reinforced_photographs(images, DRAWS, augment, f"crops-{OURS[name]}")
        else:
            environments.run(name, "write", PHOTOGRAPHS, folder)
        found[name] = partial(environments.run, script, "read", PHOTOGRAPHS, folder, "--clock", clock)
    return found


def reading(names: list[str], clock: str, rounds: int) -> list[Metric]:
    images = len(list(PHOTOGRAPHS.glob("*.JPEG")))
    with tempfile.TemporaryDirectory(dir=cache_folder()) as made:
        taken = alternate(contestants(names, clock, Path(made)), rounds)
    speed = {name: images / seconds for name, seconds in taken.items()}
    best = max((speed[name] for name in speed if name not in OURS), default=None)
    metrics = []
    for name, value in speed.items():
        compared = best if name in OURS else None
        ratio = value / compared if compared else None
        metrics.append(Metric(f"read_{name} ({DECODERS[name]})", value, "images/s", compared, ratio))
    return metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=DECODERS, default=list(DECODERS), help="contestants")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: for a machine that is shared")
    parser.add_argument("--rounds", type=int, default=3, help="measurements, of which the median counts")
    parser.add_argument("--json", action="store_true", help="print one object a line")
    asked = parser.parse_args()
    assert PHOTOGRAPHS.is_dir(), f"this benchmark needs the photographs in {PHOTOGRAPHS}"
    report(f"Reading images, {asked.clock} clock", reading(asked.only, asked.clock, asked.rounds), asked.json)


if __name__ == "__main__":
    main()
