"""The perceptual hash of every JPEG in a folder, by one library on one core: prints the CPU seconds it took."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path


def with_reinforced() -> Callable[[list[Path]], object]:
    from reinforced.perceptual_hash import perceptual_hash

    def work(paths: list[Path]) -> None:
        for start in range(0, len(paths), 256):
            perceptual_hash([path.read_bytes() for path in paths[start : start + 256]], "phash")

    return work


def with_imagededup() -> Callable[[list[Path]], object]:
    from imagededup.methods import PHash

    hasher = PHash()
    return lambda paths: [hasher.encode_image(image_file=path) for path in paths]


def with_data_juicer() -> Callable[[list[Path]], object]:
    from data_juicer.ops.deduplicator.image_deduplicator import ImageDeduplicator

    operator = ImageDeduplicator(method="phash")
    return lambda paths: [operator.compute_hash({"images": [str(path)]}) for path in paths]


if __name__ == "__main__":
    work = {"reinforced": with_reinforced, "imagededup": with_imagededup, "data_juicer": with_data_juicer}[
        sys.argv[1]
    ]()
    paths = sorted(Path(sys.argv[2]).iterdir())
    work(paths[:20])
    start = time.process_time()
    work(paths)
    print(json.dumps({"seconds": time.process_time() - start}))
