"""Does a dataset fit what is recorded of it? Hash every layer, compare keys, recount the ledger, look for leftovers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reinforced import compact, lease, removal, tombstones
from reinforced.dataset import FILE, Dataset, Shard, open_dataset
from reinforced.inspection import pipelines
from reinforced.ledger import KEPT
from reinforced.mixing import PARTNER
from reinforced.record import Record, read_records, record_path
from reinforced.recount import Recount, Removal, recount
from reinforced.storage import TEMPORARY, Storage

BESIDE = {FILE, tombstones.FILE, "report.html", "evaluation.json", "README.md"}
"""Files that may lie beside the layers."""


def verify(path: str) -> list[str]:
    """Return what does not fit in a dataset, each with the file, what was expected and what was found; [] if all does.

    Raises: RequestError if there is no dataset at the path.
    """
    return list(dict.fromkeys(_Check(open_dataset(path)).problems()))


class _Check:
    def __init__(self, dataset: Dataset) -> None:
        self.dataset, self.storage = dataset, dataset.storage
        self.tombstones = tombstones.read_tombstones(self.storage)
        self.layers: dict[str, dict[str, Any]] = dataset.description["layers"]
        self.keys: dict[str, list[str]] = {}
        """Keys of the rows of each shard's samples."""
        self.verdicts: dict[str, list[dict[str, Any]]] = {}
        self.unfinished: set[str] = set()
        """Layers of pipelines that have begun to add to the dataset and not ended."""

    def problems(self) -> Iterator[str]:
        """Yield what does not fit, file by file."""
        yield from self._totals()
        for shard in self.dataset.shards:
            yield from self._shard(shard)
        yield from self._unique()
        yield from self._ledgers()
        yield from self._leftovers()

    def _totals(self) -> Iterator[str]:
        rows = sum(shard.rows for shard in self.dataset.shards)
        if rows != self.dataset.description["rows"]:
            yield f"{FILE}: rows is {self.dataset.description['rows']}, its shards have {rows}"
        for shard in self.dataset.shards:
            for layer in sorted(self.layers.keys() ^ shard.files.keys()):
                yield f"{FILE}: shard {shard.name} and the list of layers do not agree on '{layer}'"

    def _shard(self, shard: Shard) -> Iterator[str]:
        """Hash a shard's files and compare the keys of its layers."""
        tables: dict[str, pa.Table] = {}
        for layer, (size, sha256) in shard.files.items():
            path = f"{layer}/{shard.name}.parquet"
            try:
                data = self.storage.read(path)
            except FileNotFoundError:
                yield f"{path}: is not there"
                continue
            found = hashlib.sha256(data).hexdigest()
            if found != sha256:
                yield f"{path}: has {len(data)} bytes with SHA-256 {found[:16]}, {FILE} says {size} and {sha256[:16]}"
                continue
            tables[layer] = _read(data, layer)
        for layer, table in tables.items():
            draws = self.layers.get(layer, {}).get("draws") or 1
            if len(table) != shard.rows * draws:
                yield f"{layer}/{shard.name}.parquet: has {len(table)} rows, expected {shard.rows * draws}"
            elif "row" in table.column_names and "key" not in table.column_names:
                rows = np.tile(np.arange(shard.rows), draws)
                if not np.array_equal(table.column("row").to_numpy(), rows):
                    yield f"{layer}/{shard.name}.parquet: column row is not 0 to {shard.rows - 1}, draw by draw"
                elif PARTNER in table.column_names and (pc.max(table.column(PARTNER)).as_py() or 0) > shard.rows - 1:
                    yield f"{layer}/{shard.name}.parquet: column {PARTNER} names rows beyond {shard.rows - 1}"
        keyed = {layer: t.column("key").to_pylist() for layer, t in tables.items() if "key" in t.column_names}
        if "samples" in keyed:
            self.keys[shard.name] = keyed["samples"]
            for layer, keys in keyed.items():
                yield from _compare(f"{layer}/{shard.name}.parquet", keys, "samples", keyed["samples"])
        if "verdicts" in tables:
            self.verdicts[shard.name] = tables["verdicts"].to_pylist()

    def _unique(self) -> Iterator[str]:
        seen: dict[str, str] = {}
        for shard, keys in self.keys.items():
            for key in keys:
                if key in seen:
                    yield f"samples/{shard}.parquet: key '{key}' is taken, shard {seen[key]} has it"
                seen[key] = shard
        judged = "verdicts" in self.layers
        kept = sum(row["outcome"] == KEPT for rows in self.verdicts.values() for row in rows) if judged else len(seen)
        whole = len(self.verdicts if judged else self.keys) == len(self.dataset.shards)
        if whole and kept != len(self.dataset):
            yield f"{FILE}: kept is {len(self.dataset)}, its shards keep {kept}"

    def _ledgers(self) -> Iterator[str]:
        """Recount every pipeline's ledger and hold the result against the rows that are there."""
        counts: dict[str, dict[str, Recount]] = {}
        steps = pipelines(self.dataset)
        owners = {info["pipeline"] for layer, info in self.layers.items() if layer != "verdicts"}
        recorded = self.storage.folders("_runs/records")
        for pipeline in sorted({*recorded, *owners}):
            records = read_records(self.storage, pipeline)
            if pipeline not in steps:
                self.unfinished |= {layer for record in records.values() for layer in record.layers}
                yield f"_runs/records/{pipeline}: is of a run that has not ended; run that pipeline again"
                continue
            files = {name.removesuffix(".json") for name in self.storage.listing(f"_runs/records/{pipeline}")}
            for name in sorted({shard.name for shard in self.dataset.shards} ^ files):
                is_there, has = ("is there", "has no such") if name in files else ("is not there", "has this")
                yield f"{record_path(pipeline, name)}: {is_there}, {FILE} {has} shard"
            for shard in self.dataset.shards:
                if shard.name in records:
                    yield from self._record(pipeline, shard, records[shard.name])
                    found = recount(pipeline, steps[pipeline], records[shard.name], self.storage)
                    counts.setdefault(shard.name, {})[pipeline] = found
                    yield from found.problems
        for name, recounts in counts.items():
            if name in self.keys and not any(found.problems for found in recounts.values()):
                yield from self._fates(name, recounts)

    def _record(self, pipeline: str, shard: Shard, record: Record) -> Iterator[str]:
        """Compare a record with `dataset.json`."""
        where = record_path(pipeline, shard.name)
        if record.rows != shard.rows:
            yield f"{where}: rows is {record.rows}, {FILE} says {shard.rows}"
        mine = {layer for layer, info in self.layers.items() if info["pipeline"] == pipeline}
        for layer in sorted(mine):
            made = record.layers.get(layer)
            said = (made.bytes, made.sha256) if made else None
            if said != shard.files.get(layer):
                yield f"{where}: layer '{layer}' is another one than {FILE} names for shard {shard.name}"

    def _fates(self, shard: str, counts: dict[str, Recount]) -> Iterator[str]:
        """Compare the ledgers' fates with the rows of samples and with the verdicts."""
        keys, builder = self.keys[shard], self.dataset.description["pipeline"]
        here, removed = set(keys), [found.removed for found in counts.values()]
        for pipeline, found in counts.items():
            may_lack = {key for gone in removed for key in gone}
            base = set(found.base) if pipeline == builder else here
            for step, arrived in found.arrived.items():
                # What a pipeline in place has removed stays in samples, unless it was taken down.
                may_be_gone = found.removed.keys() if self.tombstones.listed else set()
                for key in sorted((base - arrived - may_lack) | (arrived - base - may_be_gone))[:1]:
                    yield f"_runs/ledger/{pipeline}: shard {shard}: key '{key}' and step {step} have missed each other"
        everything = {key: gone for found in removed for key, gone in found.items()}
        if builder in counts:
            expected = [key for key in counts[builder].base if key in here or key not in everything]
            yield from _compare(f"samples/{shard}.parquet", keys, "the ledger", expected)
        if "verdicts" not in self.layers:
            for key in [key for key in keys if key in everything][:1]:
                by = everything[key]
                yield f"samples/{shard}.parquet: has key '{key}', which {by.step} of {by.pipeline} has {by.outcome}"
        for row in self.verdicts.get(shard, ()):
            yield from _judge(f"verdicts/{shard}.parquet", row, removed)

    def _leftovers(self) -> Iterator[str]:
        """Look for files that do not belong, for what a killed run left, and for what was taken down."""
        if not self.tombstones.applied:
            yield f"{tombstones.FILE}: lists rows that may still be there; run the takedown or any pipeline again"
        for shard in self.storage.folders(removal.ASIDE):
            yield f"{removal.ASIDE}/{shard}: is an unfinished takedown; run it or any pipeline again"
        for shard in self.storage.folders(compact.ASIDE):
            yield f"{compact.ASIDE}/{shard}: is an unfinished compaction; run the pipeline again to finish it"
        if self.storage.exists(lease.FILE):
            yield f"{lease.FILE}: a run is writing the dataset, or died doing so; run the pipeline again"
        known = {f"{layer}/{shard.name}.parquet" for shard in self.dataset.shards for layer in shard.files} | BESIDE
        for path in _walk(self.storage, ""):
            name = path.rpartition("/")[2]
            if name.startswith(TEMPORARY):
                yield f"{path}: was half written by a process that died; run the pipeline again, or remove it"
            elif path not in known and path.partition("/")[0] not in {"_runs", *self.unfinished}:
                yield f"{path}: does not belong to the dataset"


def _read(data: bytes, layer: str) -> pa.Table:
    """Read what is compared: the keys, the rows of draws, or the whole of the verdicts."""
    file = pq.ParquetFile(pa.BufferReader(data))
    names = file.schema_arrow.names
    if layer != "verdicts":
        names = ["key"] if "key" in names else [name for name in ("row", PARTNER) if name in names]
    return file.read(names)


def _compare(path: str, found: list[str], whose: str, expected: list[str]) -> Iterator[str]:
    """Name the first row where the keys are not the expected ones."""
    if found == expected:
        return
    pairs = enumerate(zip(found, expected, strict=False))
    row = next((i for i, (one, other) in pairs if one != other), min(len(found), len(expected)))
    one, other = (f"'{keys[row]}'" if row < len(keys) else "nothing" for keys in (found, expected))
    yield f"{path}: row {row} has key {one}, {whose} has {other} there"


def _judge(path: str, row: dict[str, Any], removed: list[dict[str, Removal]]) -> Iterator[str]:
    """Compare a verdict with the ledgers."""
    fates = [gone[row["key"]] for gone in removed if row["key"] in gone]
    said = Removal(row["pipeline"], row["step"], row["outcome"], row["reason"])
    at = f"{path}: key '{row['key']}'"
    if row["outcome"] == KEPT and fates:
        yield f"{at} is kept, but {fates[0].step} of {fates[0].pipeline} has {fates[0].outcome} it"
    elif row["outcome"] != KEPT and said not in fates:
        yield f"{at} is {said.outcome} by {said.step}: {said.reason}, but the ledger has no such row"


def _walk(storage: Storage, folder: str) -> Iterator[str]:
    prefix = f"{folder}/" if folder else ""
    yield from (prefix + name for name in sorted(storage.listing(folder)))
    for inner in storage.folders(folder):
        yield from _walk(storage, prefix + inner)
