"""A dataset on disk: `dataset.json`, and per layer one Parquet file a shard, joined to the others by row."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from reinforced.errors import RequestError, nearest
from reinforced.storage import Storage

if TYPE_CHECKING:
    import duckdb

FILE = "dataset.json"


@dataclass(frozen=True)
class Shard:
    """A run of samples: `rows` in its aligned layers, and each layer's file as (bytes, SHA-256)."""

    name: str
    rows: int
    files: Mapping[str, tuple[int, str]]


def open_dataset(path: str) -> Dataset:
    """Open a dataset on local disk or at an fsspec URL for reading.

    Raises: RequestError if there is none, or one of a newer format.
    """
    storage = Storage(str(path))
    try:
        raw = json.loads(storage.read(FILE))
    except (FileNotFoundError, NotADirectoryError):
        raise RequestError(
            f"{path} is no dataset: it has no {FILE}; a pipeline writes one when it is done: reinforced run PIPELINE "
            f"out={path}"
        ) from None
    if not {"format", "name", "layers", "shards", "kept"} <= raw.keys():
        raise RequestError(f"{path} has a {FILE} that is not one of reinforced; run its pipeline again")
    if raw["format"] > 1:
        raise RequestError(f"{path} has format {raw['format']}, this reinforced reads up to 1; upgrade reinforced")
    return Dataset(storage, raw)


class Dataset:
    """An open dataset; rows that were dropped after `samples` was written are skipped by all that joins layers."""

    def __init__(self, storage: Storage, description: Mapping[str, Any]) -> None:
        self.storage = storage
        self.description = description
        self.path = storage.url
        self.name: str = description["name"]
        self.shards = [
            Shard(s["name"], s["rows"], {layer: (f[0], f[1]) for layer, f in s["files"].items()})
            for s in description["shards"]
        ]

    def __repr__(self) -> str:
        return f"Dataset({self.name!r}, {self.path!r}, rows={len(self)}, layers={list(self.layers)})"

    def __len__(self) -> int:
        """Return the number of rows that were kept."""
        return int(self.description["kept"])

    @functools.cached_property
    def layers(self) -> dict[str, pa.Schema]:
        """The layers' names and Arrow schemas (descriptions and units in the field metadata), `samples` first."""
        if not self.shards:
            return {}
        names = sorted(self.description["layers"], key=lambda n: (n != "samples", n))
        return {name: self.storage.read_schema(f"{name}/{self.shards[0].name}.parquet") for name in names}

    @property
    def aligned_layers(self) -> list[str]:
        """The layers with one row a sample; the others (reinforcements) have one row a draw and sample."""
        layers = self.description["layers"]
        return [name for name in self.layers if not layers[name]["draws"] and name != "verdicts"]

    @property
    def schema(self) -> pa.Schema:
        """The columns of all aligned layers side by side."""
        fields: dict[str, pa.Field] = {}
        for layer in self.aligned_layers:
            for found in self.layers[layer]:
                fields.setdefault(found.name, found)
        return pa.schema(list(fields.values()))

    def column_layers(self) -> dict[str, str]:
        """Return the aligned layer that holds each column."""
        homes: dict[str, str] = {}
        for layer in self.aligned_layers:
            for name in self.layers[layer].names:
                homes.setdefault(name, layer)
        return homes

    def metadata(self, layer: str) -> dict[str, str]:
        """Return what the layer's files say of themselves (the operator's metadata), names without `reinforced.`."""
        raw = self._layer(layer).metadata or {}
        found = {key.decode(): value.decode() for key, value in raw.items()}
        return {k.removeprefix("reinforced."): v for k, v in found.items() if k.startswith("reinforced.")}

    def read(self, layer: str, shard: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read one layer of one shard as it is on disk, rows that were dropped included."""
        self._layer(layer)
        return self.storage.read_table(f"{layer}/{shard}.parquet", columns)

    def read_draws(self, layer: str, shard: Shard, parts: Sequence[tuple[int, Sequence[str]]]) -> list[pa.Table]:
        """Read columns of some draws of a layer, rows that were dropped included, and not much more of the file.

        parts: draw (from 0 in this layer) and columns of each. Raises: RequestError if the layer does not have every
        draw of every row.
        """
        self._layer(layer)
        draws: int = self.description["layers"][layer]["draws"]
        wanted = [(range(draw * shard.rows, (draw + 1) * shard.rows), columns) for draw, columns in parts]
        tables, found = self.storage.read_rows(f"{layer}/{shard.name}.parquet", wanted)
        if found != shard.rows * draws:
            raise RequestError(
                f"{self.path}, layer '{layer}', shard {shard.name}: {found} rows for {shard.rows} images x {draws} "
                "draws; the layer is not complete, run the pipeline again"
            )
        return tables

    def kept(self, shard: str) -> pa.BooleanArray | None:
        """Return which rows of a shard were kept; None where all were."""
        if "verdicts" not in self.description["layers"]:
            return None
        outcome = self.read("verdicts", shard, ["outcome"]).column("outcome").combine_chunks()
        return pc.equal(outcome, "kept")

    def read_shard(self, shard: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the kept rows of a shard, the aligned layers (or the named columns of them) side by side."""
        homes = self.column_layers()
        wanted = list(dict.fromkeys(columns if columns is not None else homes))
        for name in wanted:
            if name not in homes:
                raise RequestError(f"{self.path} has no column '{name}'{nearest(name, homes)}")
        by_layer: dict[str, list[str]] = {}
        for name in wanted:
            by_layer.setdefault(homes[name], []).append(name)
        tables = {layer: self.read(layer, shard, names) for layer, names in by_layer.items()}
        fields = [tables[homes[name]].schema.field(name) for name in wanted]
        table = pa.table([tables[homes[name]].column(name) for name in wanted], schema=pa.schema(fields))
        kept = self.kept(shard)
        return table if kept is None else table.filter(kept)

    def to_arrow(self, layers: Sequence[str] | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the kept rows of all shards as one Arrow table.

        layers: aligned layers to join (default all of them), or a single layer of draws. columns: which columns.
        """
        for name in layers or ():
            self._layer(name)
        if layers and any(name not in self.aligned_layers for name in layers):
            if len(layers) > 1:
                raise RequestError(f"{self.path}: {list(layers)}: a layer of draws has its own rows; read it alone")
            return pa.concat_tables([self.read(layers[0], shard.name, columns) for shard in self.shards])
        if columns is None and layers is not None:
            columns = list(dict.fromkeys(name for layer in layers for name in self.layers[layer].names))
        tables = [self.read_shard(shard.name, columns) for shard in self.shards]
        return pa.concat_tables(tables) if tables else self.schema.empty_table()

    def sql(self, query: str) -> pa.Table:
        """Run a DuckDB query and return its result.

        `dataset` is the kept rows of all aligned layers joined; each layer is also there under its own name, with the
        columns `shard` and `row` (its row in the file) or, for draws, `shard`, `draw` and `row`.
        """
        import duckdb

        try:
            with self._connection() as connection:
                return connection.sql(query).to_arrow_table()
        except duckdb.Error as error:
            raise RequestError(f"query on {self.path}: {str(error).strip()}") from None

    def _connection(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        connection = duckdb.connect()
        if self.storage.local:
            for layer in self.layers:
                files = [self.storage.full(f"{layer}/{shard.name}.parquet") for shard in self.shards]
                row = "" if self.description["layers"][layer]["draws"] else ", file_row_number AS row"
                shard = r"regexp_extract(filename, '([^/\\]+)\.parquet$', 1) AS shard"
                listed = ", ".join("'" + f.replace("'", "''") + "'" for f in files)
                source = f"read_parquet([{listed}], filename=true, file_row_number=true)"
                connection.sql(
                    f'CREATE VIEW "{layer}" AS SELECT * EXCLUDE (filename, file_row_number), {shard}{row} FROM {source}'
                )
        else:
            for layer in self.layers:
                tables = [self._numbered(layer, s.name) for s in self.shards]
                connection.register(layer, pa.concat_tables(tables))
        connection.sql(self._joined())
        return connection

    def _numbered(self, layer: str, shard: str) -> pa.Table:
        table = self.read(layer, shard)
        if not self.description["layers"][layer]["draws"]:
            table = table.append_column("row", pa.array(range(len(table)), pa.int64()))
        return table.append_column("shard", pa.array([shard] * len(table), pa.string()))

    def _joined(self) -> str:
        homes = self.column_layers()
        names = ", ".join(f'"{layer}"."{name}"' for name, layer in homes.items())
        first, *others = self.aligned_layers
        joins = "".join(f' JOIN "{layer}" USING (shard, row)' for layer in others)
        kept = ""
        if "verdicts" in self.description["layers"]:
            joins += ' JOIN "verdicts" USING (shard, row)'
            kept = " WHERE \"verdicts\".outcome = 'kept'"
        return f'CREATE VIEW dataset AS SELECT {names}, shard, row FROM "{first}"{joins}{kept}'

    def _layer(self, layer: str) -> pa.Schema:
        if layer not in self.layers:
            raise RequestError(f"{self.path} has no layer '{layer}'{nearest(layer, self.layers)}")
        return self.layers[layer]
