"""Cluster random hashes, a tenth of them copies with six bits turned, and print time and memory."""

from __future__ import annotations

import json
import resource
import sys
import time

import numpy as np

from reinforced.hamming import clusters

RADIUS = 6


def main(rows: int) -> None:
    """Print the wall and CPU seconds, the peak memory in GB and the share of the copies that found their original."""
    numbers = np.random.default_rng(0)
    hashes = numbers.integers(0, 2**64, (rows, 1), dtype=np.uint64)
    copies, originals = np.split(numbers.permutation(rows)[: rows // 5], 2)
    hashes[copies] = hashes[originals]
    for _ in range(RADIUS):
        hashes[copies] ^= np.uint64(1) << numbers.integers(0, 64, (len(copies), 1), dtype=np.uint64)
    start, cpu = time.perf_counter(), time.process_time()
    found = clusters(hashes, RADIUS)
    took, worked = time.perf_counter() - start, time.process_time() - cpu
    together = float((found[copies] == found[originals]).mean())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps({"seconds": took, "cpu_s": worked, "peak_gb": peak, "found": together}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
