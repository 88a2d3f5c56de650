"""Take images out of a dataset for good: their rows leave every layer, and no later run lets them in again.

First the tombstones are written, then each shard is rewritten, then `dataset.json`. A shard's new files are written
aside, with their list as the commit, and moved in place. Whoever writes to the dataset next finishes what is left.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reinforced import compact
from reinforced.dataset import FILE, Dataset, open_dataset
from reinforced.description import count_kept
from reinforced.errors import RequestError
from reinforced.inspection import pipelines
from reinforced.lease import Lease
from reinforced.lineage import Lineage
from reinforced.record import read_records
from reinforced.removal import ASIDE, remove_rows
from reinforced.storage import Storage
from reinforced.tombstones import Tombstone, Tombstones, read_tombstones, write_tombstones

COMMIT = "commit.json"


@dataclass(frozen=True)
class TakenDown:
    """What a takedown did: the tombstones it set, the rows it removed, and the sinks that have copies of them."""

    tombstones: list[Tombstone]
    rows: int
    sinks: list[str]


def take_down(
    path: str, *, keys: Sequence[str] = (), sha256: Sequence[str] = (), author: str | None = None, reason: str = ""
) -> TakenDown:
    """Remove images from a dataset's layers and ledger pictures and refuse them from now on.

    Named by key, by the SHA-256 of their bytes, or by the value of the column `author`; other rows with the same bytes,
    and all that generators made of the same image, go with them. A hash is remembered even if no row has it now.
    Raises: RequestError if nothing is named, a key or an author is not there, or a run of the dataset has not ended.
    """
    dataset = open_dataset(path)
    storage = dataset.storage
    if not (keys or sha256 or author):
        raise RequestError("takedown needs to know what: give --key, --sha256 or --author")
    for digest in sha256:
        if len(digest) != 64 or set(digest.lower()) - set("0123456789abcdef"):
            raise RequestError(f"--sha256 {digest} is no SHA-256: it has 64 hexadecimal digits")
    with Lease(storage):
        settle(storage)
        dataset = open_dataset(path)
        _refuse_unfinished(dataset)
        stones = _stones(dataset, set(keys), {digest.lower() for digest in sha256}, author, reason)
        write_tombstones(storage, read_tombstones(storage).with_more(stones))
        sinks = {sink for name in pipelines(dataset) for r in read_records(storage, name).values() for sink in r.sinks}
        rows = len(dataset)
        settle(storage)
    return TakenDown(stones, rows - len(open_dataset(path)), sorted(sinks))


def settle(storage: Storage) -> None:
    """Finish what a takedown that was killed left to do; nothing in most datasets."""
    for name in storage.folders(ASIDE):
        _move_in_place(name, storage)
    tombstones = read_tombstones(storage)
    if tombstones.applied:
        return
    dataset = open_dataset(storage.url)
    for shard in dataset.shards:
        paths = remove_rows(dataset, shard.name, tombstones)
        if paths:
            storage.write(f"{ASIDE}/{shard.name}/{COMMIT}", json.dumps(paths).encode())
            _move_in_place(shard.name, storage)
    _describe(dataset)
    storage.remove("report.html")  # it shows images; the next run writes it again
    write_tombstones(storage, Tombstones(tombstones.listed))


def _move_in_place(shard: str, storage: Storage) -> None:
    aside = f"{ASIDE}/{shard}"
    if storage.exists(f"{aside}/{COMMIT}"):
        for path in json.loads(storage.read(f"{aside}/{COMMIT}")):
            if storage.exists(f"{aside}/{path}"):
                storage.move(f"{aside}/{path}", path)
    storage.remove(aside)


def _describe(dataset: Dataset) -> None:
    """Bring `dataset.json` up to date with the records."""
    description, storage = dict(dataset.description), dataset.storage
    records = {pipeline: read_records(storage, pipeline) for pipeline in pipelines(dataset)}
    shards: list[dict[str, Any]] = []
    for shard in dataset.shards:
        files = {}
        for layer in shard.files:
            made = records[description["layers"][layer]["pipeline"]][shard.name].layers[layer]
            files[layer] = [made.bytes, made.sha256]
        rows = records[description["pipeline"]][shard.name].rows
        shards.append({"name": shard.name, "rows": rows, "files": files})
    description |= {"shards": shards, "rows": sum(shard["rows"] for shard in shards)}
    description["kept"] = count_kept(description, storage)
    storage.write(FILE, json.dumps(description, indent=1).encode())


def _refuse_unfinished(dataset: Dataset) -> None:
    """Raise RequestError where a run has begun to change the dataset: its files are not those that are recorded."""
    storage, layers = dataset.storage, dataset.description["layers"]
    begun = set(storage.folders("_runs/records")) - pipelines(dataset).keys()
    for pipeline in pipelines(dataset):
        records = read_records(storage, pipeline)
        mine = [layer for layer, info in layers.items() if info["pipeline"] == pipeline]
        for shard in dataset.shards:
            made = records[shard.name].layers if shard.name in records else {}
            recorded = [(made[layer].bytes, made[layer].sha256) if layer in made else None for layer in mine]
            if recorded != [shard.files.get(layer) for layer in mine]:
                begun.add(pipeline)
    if begun or storage.folders(compact.ASIDE):
        name = min(begun, default=dataset.description["pipeline"])
        raise RequestError(
            f"{dataset.path}: a run of pipeline '{name}' has not ended, its files may hold what is to be taken down; "
            "run it to its end first"
        )


def _stones(dataset: Dataset, keys: set[str], hashes: set[str], author: str | None, reason: str) -> list[Tombstone]:
    """Return a tombstone for each image that is meant; for what generators made of one, that of the source's image."""
    if author is not None and "author" not in dataset.column_layers():
        raise RequestError(f"{dataset.path} has no column 'author'; name the images by --key or --sha256")
    rows = [row for shard in dataset.shards for row in _rows(dataset, shard.name)]
    meant = [row for row in rows if row["key"] in keys or (author is not None and row["author"] == author)]
    if author is not None and not any(row["author"] == author for row in meant):
        raise RequestError(f"{dataset.path} has no image by the author '{author}'")
    lineages = [Lineage.read(dataset, shard.name) for shard in dataset.shards]
    generated = any(lineage.generated for lineage in lineages)
    # Equal bytes are the same image, but for what generators make: two images may have the same white corner.
    wanted = hashes if generated else hashes | {row["sha256"] for row in meant if row["sha256"]}
    meant += [row for row in rows if row["sha256"] in wanted]
    found: dict[str, str | None] = {row["key"]: None if generated else row["sha256"] for row in meant}
    for key in keys - found.keys():
        if not any(lineage.source_of(key) in lineage.sources for lineage in lineages):
            raise RequestError(
                f"{dataset.path} has no sample '{key}', and its ledger has none; list some with: reinforced inspect "
                f"{dataset.path} --sql 'SELECT key FROM dataset LIMIT 10'"
            )
        found[key] = None
    if generated:
        origins = {(lineage.source_of(key), lineage) for key in found for lineage in lineages}
        found = {origin: None for origin, lineage in origins if origin in lineage.sources}
    date = time.strftime("%Y-%m-%d")
    stones = [Tombstone(key, sha256, date, reason) for key, sha256 in sorted(found.items())]
    unseen = hashes - {stone.sha256 for stone in stones}
    return [*stones, *(Tombstone(None, sha256, date, reason) for sha256 in sorted(unseen))]


def _rows(dataset: Dataset, shard: str) -> list[dict[str, Any]]:
    """Return what images may be named by, dropped ones included; nulls for columns that are not there."""
    homes = dataset.column_layers()
    keys = dataset.read("samples", shard, ["key"]).column("key").to_pylist()
    columns = [
        dataset.read(homes[name], shard, [name]).column(name).to_pylist() if name in homes else [None] * len(keys)
        for name in ("sha256", "author")
    ]
    return [{"key": key, "sha256": sha256, "author": by} for key, sha256, by in zip(keys, *columns, strict=True)]
