"""A dataset of photographs, reinforced by a simulated teacher: what a layer holds without days of making it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from workload import PHOTOGRAPHS, cache_folder

from reinforced.augmentation import Parameters
from reinforced.images import decode, measure
from reinforced.layers import rows_of_draws
from reinforced.operators.reinforce import Reinforce
from reinforced.reinforcement import METADATA_KEY, Reinforcement, backends, pixel_crc
from reinforced.sparse import Floats, encode, steps_for
from reinforced.storage import Storage
from reinforced.views import arrow_column, said

CLASSES, TOP_K = 1000, 10
CHECKED = 8
"""Rows with their true pixel hash, at least as many as readers check."""
AUGMENT = {"size_px": 224, "random_resized_crop": {}, "horizontal_flip": {}, "rand_augment": {}}
SPREAD, MARGIN, NOISE = 1.6, 10.6, 0.9
"""Logits: deviation among an image's classes, lead of one of them, deviation among an image's draws."""


def simulated_answers(images: int, draws: int) -> Iterator[Floats]:
    """Yield for each image probabilities (draws, classes): mean top probability 0.79, mean tail 0.06."""
    random = np.random.default_rng(0)
    for _ in range(images):
        logits = SPREAD * random.standard_normal(CLASSES, np.float32)
        logits[random.integers(CLASSES)] += MARGIN
        part = np.exp(logits + NOISE * random.standard_normal((draws, CLASSES), np.float32))
        yield part / part.sum(axis=1, keepdims=True)


def photographs(count: int) -> list[bytes]:
    """Return so many JPEGs of the sample of ImageNet, from the beginning again when they end."""
    files = sorted(PHOTOGRAPHS.glob("*.JPEG"))
    assert files, f"this benchmark needs the photographs in {PHOTOGRAPHS}"
    return [files[i % len(files)].read_bytes() for i in range(count)]


def reinforced_photographs(
    rows: int, draws: int, augment: Mapping[str, Any] = AUGMENT, name: str = "reinforced"
) -> Path:
    """Return a dataset of one shard, made on first use: the layer is laid out as a run does.

    name: of its folder, one for each augmentation.
    """
    folder = cache_folder() / f"{name}-{rows}x{draws}"
    if not (folder / "dataset.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _make(Storage(str(folder)), rows, draws, augment)
    return folder


def _make(storage: Storage, rows: int, draws: int, augment: Mapping[str, Any]) -> None:
    images = photographs(rows)
    keys = [f"{i:06d}" for i in range(rows)]
    labels = pa.array(np.random.default_rng(1).integers(0, CLASSES, rows).astype(np.int32))
    storage.write_table("samples/00000.parquet", pa.table({"key": keys, "image": images, "label": labels}))
    options = {"row_group_size": rows_of_draws(rows, draws)} | Reinforce.parquet
    storage.write_table("reinforced/00000.parquet", _layer(keys, images, draws, augment), **options)
    layers = {"samples": {"draws": None}, "reinforced": {"draws": draws}}
    shards = [{"name": "00000", "rows": rows, "files": {}}]
    description = {"format": 1, "name": "photographs", "kept": rows, "layers": layers, "shards": shards}
    storage.write("dataset.json", json.dumps(description).encode())


def _layer(keys: list[str], images: list[bytes], draws: int, augment: Mapping[str, Any]) -> pa.Table:
    teacher = {"factory": "reinforced.models.mlp", "arguments": {"inputs": 3}}  # never asked
    operator = Reinforce.model_validate({"draws": draws, "augment": augment, "teachers": [teacher]})
    rows, sizes = len(keys), np.array([measure(image) for image in images])
    drawn = operator.augment.parameters(0, keys, range(draws), sizes[:, 0].tolist(), sizes[:, 1].tolist())
    steps = steps_for(TOP_K, operator.precision)
    answers = [said(*encode(image, TOP_K, steps), draws) for image in simulated_answers(rows, draws)]
    columns = {name: arrow_column(values) for name, values in drawn.items()}
    columns |= {name: pa.concat_arrays([one[name] for one in answers]) for name in answers[0]}
    order = pa.array(np.arange(rows * draws).reshape(rows, draws).T.ravel())
    table = pa.table(columns).take(order)
    table = table.add_column(0, "draw", pa.array(np.repeat(np.arange(draws), rows), pa.uint16()))
    table = table.add_column(1, "row", pa.array(np.tile(np.arange(rows), draws), pa.uint32()))
    document = Reinforcement(
        backends=backends(operator.augment.backend), seed=0, draws=draws, classes=CLASSES, top_k=TOP_K,
        augment=operator.augment, steps=steps, teachers=(),
    )  # fmt: skip
    table = table.append_column("pixel_crc", _hashes(images, drawn, draws, operator))
    return table.replace_schema_metadata({f"reinforced.{METADATA_KEY}": document.model_dump_json()})


def _hashes(images: list[bytes], drawn: Parameters, draws: int, operator: Reinforce) -> pa.Array:
    """Return a hash for one row in 64: the true one for the first, which readers check, else a random number."""
    random, count = np.random.default_rng(2), len(images) * draws
    stored = random.random(count) < 1 / 64
    hashes = random.integers(0, 2**32, count, dtype=np.uint32)
    for place in np.flatnonzero(stored)[:CHECKED]:
        draw, image = divmod(int(place), len(images))
        parameters = {name: values[image * draws + draw] for name, values in drawn.items()}
        hashes[place] = pixel_crc(operator.augment.apply(decode(images[image]), parameters))
    return pa.array(hashes, mask=~stored)
