"""The two operators that Data-Juicer lacks for the workload, loaded by its `custom_operator_paths`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from data_juicer.ops.base_op import OPERATORS, Filter, Mapper
from data_juicer.utils.constant import Fields

sys.path.append(str(Path(__file__).parent))

from decoders import DECODERS, pixel_sha256


@OPERATORS.register_module("image_pixel_filter")
class ImagePixelFilter(Filter):  # type: ignore[misc]
    """Decodes every image once: keeps the large enough ones and adds the hash of their pixels."""

    _batched_op = True

    def __init__(self, min_side_px: int = 1, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.min_side_px = min_side_px

    def compute_stats_batched(self, samples: dict[str, list[Any]], context: bool = False) -> dict[str, list[Any]]:
        decode = DECODERS[os.environ["BENCHMARK_DECODER"]]
        samples["pixel_sha256"] = []
        for (path,), stats in zip(samples["images"], samples[Fields.stats], strict=True):
            pixels = decode(Path(path).read_bytes())
            stats["image_side"] = min(pixels.shape[:2])
            samples["pixel_sha256"].append(pixel_sha256(pixels))
        return samples

    def process_single(self, sample: dict[str, Any]) -> bool:
        return bool(sample[Fields.stats]["image_side"] >= self.min_side_px)


@OPERATORS.register_module("image_bytes_mapper")
class ImageBytesMapper(Mapper):  # type: ignore[misc]
    """Adds the encoded image of each sample."""

    _batched_op = True

    def process_batched(self, samples: dict[str, list[Any]]) -> dict[str, list[Any]]:
        samples["image"] = [Path(path).read_bytes() for (path,) in samples["images"]]
        return samples
