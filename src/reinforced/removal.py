"""Rewrite the files of a shard without the rows of some images: layers, ledger pieces, sketches and records.

The ledger then says of these images what a new run would: the source dropped them because they were taken down. Digests
of removed rows leave that out, so no step has to be made again for the images that stay.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reinforced.dataset import Dataset
from reinforced.errors import RunError
from reinforced.inspection import pipelines
from reinforced.layers import kept_rows
from reinforced.ledger import DROPPED
from reinforced.lineage import Lineage
from reinforced.mixing import PARTNER
from reinforced.plan import digest
from reinforced.record import Record, record_path
from reinforced.recount import recount
from reinforced.rows import removed_by_others
from reinforced.storage import Storage, Written
from reinforced.tombstones import Tombstones

ASIDE = "_runs/takedown"


def remove_rows(dataset: Dataset, shard: str, tombstones: Tombstones) -> list[str]:
    """Write the files of a shard anew without the rows that were taken down, below `_runs/takedown/SHARD`.

    Returns: the paths of the files to be replaced; none if the shard has no such row.
    Raises: RunError if the ledger does not fit the records, before anything is replaced.
    """
    lineage = Lineage.read(dataset, shard)
    names = [name for name in ("key", "sha256") if name in dataset.layers["samples"].names]
    samples = dataset.read("samples", shard, names)
    keys: list[str] = samples.column("key").to_pylist()
    named = [key for key, reason in zip(keys, tombstones.refused(samples), strict=True) if reason is not None]
    sources = {lineage.source_of(key) for key in named} | (tombstones.keys & lineage.sources)
    alive = np.array([lineage.source_of(key) not in sources for key in keys], bool)
    return [] if alive.all() else _Removal(dataset, shard, lineage, sources, keys, alive, tombstones).write()


class _Removal:
    def __init__(
        self,
        dataset: Dataset,
        shard: str,
        lineage: Lineage,
        sources: set[str],
        keys: list[str],
        alive: npt.NDArray[np.bool_],
        tombstones: Tombstones,
    ) -> None:
        self.dataset, self.shard, self.lineage, self.sources, self.alive = dataset, shard, lineage, sources, alive
        self.gone = {key for key, stays in zip(keys, alive, strict=True) if not stays}
        self.reasons = self._reasons(keys, tombstones)
        self.storage, self.aside = dataset.storage, Storage(dataset.storage.full(f"{ASIDE}/{shard}"))
        self.paths: list[str] = []
        self.to_make_again: set[tuple[str, str]] = set()
        """Pipeline and step of layers that have lost more than the rows themselves."""

    def _reasons(self, keys: list[str], tombstones: Tombstones) -> dict[str, str]:
        """Return why each source was taken down."""
        names = [name for name in ("key", "sha256") if name in self.dataset.layers["samples"].names]
        said = tombstones.refused(self.dataset.read("samples", self.shard, names))
        found = {self.lineage.source_of(key): reason for key, reason in zip(keys, said, strict=True) if reason}
        return found | {key: str(tombstones.by_key[key]) for key in self.sources & tombstones.keys}

    def write(self) -> list[str]:
        """Write all files aside and return their paths."""
        self.storage.remove(f"{ASIDE}/{self.shard}")
        layers = {
            layer: self._layer(layer) for layer in next(s for s in self.dataset.shards if s.name == self.shard).files
        }
        for pipeline, kinds in pipelines(self.dataset).items():
            path = record_path(pipeline, self.shard)
            if self.storage.exists(path):
                self._record(pipeline, kinds, Record.parse(self.storage.read(path)), layers)
            for step in self.storage.folders(f"_runs/sketches/{pipeline}"):
                self._sketches(f"_runs/sketches/{pipeline}/{step}")
        return self.paths

    def _layer(self, layer: str) -> Written:
        path = f"{layer}/{self.shard}.parquet"
        data = pa.BufferReader(self.storage.read(path))
        table, options = pq.read_table(data), written_with(pq.ParquetFile(data).metadata)
        info = self.dataset.description["layers"][layer]
        if PARTNER in table.column_names:
            table, lost = without_partners(table, self.alive)
            if lost:
                self.to_make_again.add((info["pipeline"], info["step"]))
        table = kept_rows(table, self.alive, info["draws"])
        if info["draws"]:
            rows = len(self.alive)
            options["row_group_size"] = max(1, options["row_group_size"] // rows * int(self.alive.sum()))
        self.paths.append(path)
        return self.aside.write_table(path, table, **options)

    def _record(self, pipeline: str, kinds: Mapping[str, str], record: Record, layers: Mapping[str, Written]) -> None:
        """Bring the ledger and the record of a pipeline up to date."""
        before = recount(pipeline, kinds, record, self.storage)
        if before.problems:
            raise RunError(f"{before.problems[0]}; see reinforced verify {self.dataset.path}")
        source = next(iter(kinds))
        first = record.steps[source].ledger
        for step in self.storage.folders(f"_runs/ledger/{pipeline}"):
            path = f"_runs/ledger/{pipeline}/{step}/{self.shard}.parquet"
            if self.storage.exists(path):
                piece = self.storage.read_table(path)
                piece = self._ledger(pipeline, piece, source if path == first else None, before.removed)
                self.aside.write_table(path, piece)
                self.paths.append(path)
        after = recount(pipeline, kinds, record, self.aside)
        renamed = {record.steps[name].removed: after.removals[name] for name in kinds}
        record.removed = [new for old in record.removed if (new := renamed.get(old, old))]
        for name in kinds:
            done = record.steps[name]
            done.counts, done.removed = after.counts[name], after.removals[name]
            if (pipeline, name) in self.to_make_again:
                done.fingerprint = ""
        self._spec(pipeline, record, layers)
        record.rows = int(self.alive.sum())
        for layer, made in record.layers.items():
            if layer in layers:
                now = layers[layer]
                record.layers[layer] = dataclasses.replace(made, rows=record.rows, bytes=now.bytes, sha256=now.sha256)
        path = record_path(pipeline, self.shard)
        self.aside.write(path, record.dump())
        self.paths.append(path)

    def _ledger(self, pipeline: str, piece: pa.Table, source: str | None, removed: Mapping[str, Any]) -> pa.Table:
        """Return a ledger piece in which the images never came beyond the source; what others removed stays as it is.

        source: the name of the source in its own piece; in pieces of later passes the rows are not there at all.
        """
        builds = pipeline == self.dataset.description["pipeline"]
        rows = []
        for row in piece.to_pylist():
            key = row["key"]
            origin = self.lineage.source_of(key) if builds else key
            if origin not in (self.sources if builds else self.gone) or (origin == key and key in removed):
                rows.append(row)
            elif source is not None and origin == key:
                said = self.reasons[self.lineage.source_of(key)]
                taken = {"outcome": DROPPED, "step": source, "reason": said, "score": None}
                rows.append(row | taken | {"made": None, "picture": None})
        return pa.Table.from_pylist(rows, schema=piece.schema)

    def _spec(self, pipeline: str, record: Record, layers: Mapping[str, Written]) -> None:
        """Say what a pipeline in place will find of the other layers: what it made of them before still holds."""
        if pipeline == self.dataset.description["pipeline"]:
            return
        spec = record.spec
        files = next(s for s in self.dataset.shards if s.name == self.shard).files
        now = {sha256: layers[layer].sha256 for layer, (_, sha256) in files.items()}
        spec["layers"] = {layer: now.get(sha256, sha256) for layer, sha256 in spec["layers"].items()}
        if spec["rows"] == len(self.alive):
            spec["rows"] = int(self.alive.sum())
        if spec["removed"] == digest(removed_by_others(pipeline, self.shard, self.storage)):
            spec["removed"] = digest(removed_by_others(pipeline, self.shard, self.aside))
        record.relieved = digest(spec)

    def _sketches(self, folder: str) -> None:
        for name in self.storage.listing(folder):
            if name.startswith(f"{self.shard}-"):
                sketch = self.storage.read_table(f"{folder}/{name}")
                gone = pc.is_in(sketch.column("key"), pa.array(sorted(self.gone), pa.string()))
                self.aside.write_table(f"{folder}/{name}", sketch.filter(pc.invert(gone)))
                self.paths.append(f"{folder}/{name}")


def without_partners(draws: pa.Table, alive: npt.NDArray[np.bool_]) -> tuple[pa.Table, int]:
    """Return a layer of draws with nulls where an image that stays was mixed with one that goes, and their number.

    Such a view cannot be made again; a reader says so, and the next run of the pipeline draws the shard anew.
    """
    partner = draws.column(PARTNER).combine_chunks()
    gone = ~alive[partner.fill_null(0).to_numpy().astype(np.int64)] & partner.is_valid().to_numpy(zero_copy_only=False)
    stays = np.tile(alive, len(draws) // max(1, len(alive)))
    places = pa.array(np.arange(len(draws)), mask=gone)
    fields = [f if f.name in ("draw", "row") else f.with_nullable(True) for f in draws.schema]
    arrays = [draws.column(f.name) if f.name in ("draw", "row") else draws.column(f.name).take(places) for f in fields]
    return pa.table(arrays, schema=pa.schema(fields, draws.schema.metadata)), int((gone & stays).sum())


def written_with(metadata: pq.FileMetaData) -> dict[str, Any]:
    """Return options of `pyarrow.parquet.write_table` that write a file as this one was written, but for levels."""
    if not metadata.num_row_groups:
        return {}
    group = metadata.row_group(0)
    columns = {c.path_in_schema: c for c in (group.column(i) for i in range(group.num_columns))}
    named = {name: c.compression.lower().replace("uncompressed", "none") for name, c in columns.items()}
    special = {"BYTE_STREAM_SPLIT", "DELTA_BINARY_PACKED"}
    encodings = {name: next(iter(special & set(c.encodings)), None) for name, c in columns.items()}
    return {
        "compression": named,
        "use_dictionary": [name for name, c in columns.items() if c.has_dictionary_page],
        "write_statistics": [name for name, c in columns.items() if c.is_stats_set],
        "column_encoding": {name: encoding for name, encoding in encodings.items() if encoding},
        "write_page_index": any(c.has_offset_index for c in columns.values()),
        "row_group_size": max(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)),
    }
