"""Exact search: the rows of a dataset whose stored embeddings are nearest to that of a text or an image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reinforced import embeddings
from reinforced.clip import ClipEncoder, OpenClipModel
from reinforced.dataset import Dataset
from reinforced.errors import RequestError, nearest
from reinforced.operator import Operator, Resources
from reinforced.registry import find_operator
from reinforced.teacher import Teacher

Vector = npt.NDArray[np.float32]


def nearest_rows(dataset: Dataset, column: str, query: Vector, limit: int) -> list[tuple[str, float]]:
    """Return the keys and cosines of the kept rows nearest to a query, best first, equal ones in order of their keys.

    All rows are compared, a shard at a time; rows without an embedding are passed over. query: (dimensions,) of unit
    length. Raises: RequestError for a column that is not there, holds no vectors, or others than the query.
    """
    size = _vectors(dataset, column).list_size
    if size != len(query):
        raise RequestError(f"{dataset.path}: '{column}' has {size} dimensions, the query {len(query)}")
    best: list[tuple[str, float]] = []
    for shard in dataset.shards:
        table = dataset.read_shard(shard.name, ["key", column])
        table = table.filter(table.column(column).is_valid())
        cosines = embeddings.units(table.column(column)) @ query
        # Every row as good as the last that is taken, so that equal ones are chosen by their keys.
        least = np.partition(cosines, -limit)[-limit] if len(cosines) > limit else -np.inf
        rows = np.flatnonzero(cosines >= least)
        keys = table.column("key").take(pa.array(rows)).to_pylist()
        best += zip(keys, cosines[rows].tolist(), strict=True)
        best = sorted(best, key=lambda found: (-found[1], found[0]))[:limit]
    return best


def embedding_of(dataset: Dataset, column: str) -> dict[str, Any]:
    """Return what the layer of a column says about the model that made it.

    Raises: RequestError when there is no such column, it holds no vectors, or its layer says nothing.
    """
    _vectors(dataset, column)
    layer = dataset.column_layers()[column]
    said = dataset.metadata(layer).get("embeddings")
    if said is None:
        raise RequestError(
            f"{dataset.path}: layer '{layer}' of column '{column}' does not say which model made it; "
            "embed.clip and embed.image say so: run their pipeline again"
        )
    found: dict[str, Any] = json.loads(said)
    return found


def clip_query(said: Mapping[str, Any], model: OpenClipModel, *, text: str | None, image: bytes | None) -> Vector:
    """Embed a text or an image by the CLIP model that made a layer; either is given.

    said: of `embedding_of`. Raises: RequestError when it is another model, by the hashes of its files.
    """
    made_by = {Path(file).name: sha256 for file, sha256 in model.hashes().items()}
    wanted = said["clip"]["files"]
    # By their contents alone: the files may have other names today.
    if sorted(made_by.values()) != sorted(wanted.values()):
        raise RequestError(_another(model.name, made_by, said["clip"]["name"], wanted))
    if text is not None:
        found: Vector = ClipEncoder(model, 1, Resources()).texts([text])[0]
        return found
    return _embed(find_operator("embed.clip").model_validate({"model": model, "batch_size": 1}), image, said["column"])


def image_query(said: Mapping[str, Any], teacher: Teacher, image: bytes | None) -> Vector:
    """Embed an image by the network that made a layer of `embed.image`, in the same way.

    said: of `embedding_of`. Raises: RequestError when it is another network, by the hash of its weights.
    """
    sha256, made_by = teacher.content_hash(), said["teacher"]
    if sha256 != made_by["sha256"]:
        raise RequestError(_another(teacher.name, {"": sha256}, made_by["name"], {"": made_by["sha256"]}))
    chosen = {name: said[name] for name in ("column", "normalize", "store", "compute")}
    step = find_operator("embed.image").model_validate(chosen | {"teacher": teacher, "batch_size": 1})
    return _embed(step, image, said["column"])


def _vectors(dataset: Dataset, column: str) -> pa.FixedSizeListType:
    if column not in dataset.schema.names:
        raise RequestError(f"{dataset.path} has no column '{column}'{nearest(column, dataset.schema.names)}")
    field = dataset.schema.field(column)
    try:
        embeddings.check(field)
    except ValueError as error:
        raise RequestError(f"{dataset.path}: {error}") from error
    return field.type


def _embed(step: Operator, image: bytes | None, column: str) -> Vector:
    try:
        table = step(pa.table({"key": ["query"], "image": pa.array([image], pa.binary())}))
        found: Vector = embeddings.units(table.column(column))[0]
        return found
    except RequestError:
        raise
    except ValueError as error:
        raise RequestError(f"the image to search for: {error}") from error


def _another(name: str, found: Mapping[str, str], made_by: str, wanted: Mapping[str, str]) -> str:
    def listed(files: Mapping[str, str]) -> str:
        return ", ".join(f"{file} {sha256[:12]}".strip() for file, sha256 in files.items())

    return (
        f"the embeddings were made by {made_by} with the weights {listed(wanted)}, but {name} has {listed(found)}: "
        "cosines between two models mean nothing; give the model that made them"
    )
