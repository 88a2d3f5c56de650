"""Reinforcements as Faghri et al. (2023) publish them, made again from their description: a pickle for each image.

A pickle (protocol 4), compressed, holds (id, [{"params": [...], "prob": ([probabilities], [classes])}, ...]).
"""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from simulated import CLASSES
from workload import cache_folder

from reinforced.augmentation import Parameters
from reinforced.epoch import EpochReader
from reinforced.sparse import Floats


def write_pickles(reader: EpochReader, images: int) -> Path:
    """Return a folder with a pickle for each of the first images, made on first use."""
    folder = cache_folder() / f"pickles-{images}x{reader.draws}"
    if not (folder / f"{images - 1}.pkl.gz").exists():
        folder.mkdir(parents=True, exist_ok=True)
        made: list[list[dict[str, Any]]] = [[] for _ in range(images)]
        for draw in range(reader.draws):
            parameters, said = reader.layers[0].read(0, draw)
            for image, rows in enumerate(made):
                kept = [float(p) for p in said.probabilities[image]], [int(c) for c in said.classes[image]]
                rows.append({"params": [parameters[name][image].tolist() for name in parameters], "prob": kept})
        for image, rows in enumerate(made):
            data = pickle.dumps((image, rows), protocol=4)
            (folder / f"{image}.pkl.gz").write_bytes(gzip.compress(data, 6))
    return folder


def read_pickle(folder: Path, image: int, draw: int, names: list[str]) -> tuple[Parameters, Floats]:
    """Return the parameters of one draw of an image and its probabilities of all classes."""
    _, rows = pickle.loads(gzip.decompress((folder / f"{image}.pkl.gz").read_bytes()))
    probabilities, classes = rows[draw]["prob"]
    dense = np.full(CLASSES, max(0.0, 1 - sum(probabilities)) / (CLASSES - len(classes)), np.float32)
    dense[classes] = probabilities
    return dict(zip(names, map(np.array, rows[draw]["params"]), strict=True)), dense
