"""The end of a run: keys that must be unique, and the sinks."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping

import pyarrow as pa

from reinforced.dataset import Dataset, open_dataset
from reinforced.errors import RunError
from reinforced.operator import Sink
from reinforced.pipeline import Step
from reinforced.plan import Plan, digest
from reinforced.record import Record, record_path
from reinforced.segment import Done
from reinforced.steps import ready
from reinforced.storage import Storage


def refuse_shared_keys(records: Mapping[str, Record], storage: Storage) -> None:
    """Stop before more work is done where two shards have samples of the same key. Raises: RunError."""
    if len(records) < 2:
        return  # within a shard the second row of a key has failed already
    import duckdb

    with duckdb.connect() as connection:
        names = [f"samples/{shard}.parquet" for shard in records]
        if storage.local:
            keys = connection.read_parquet([storage.full(name) for name in names], filename=True)
        else:
            tables = [
                storage.read_table(n, ["key"]).append_column("filename", pa.repeat(n, records[s].rows))
                for n, s in zip(names, records, strict=True)
            ]
            keys = connection.from_arrow(pa.concat_tables(tables))
        shared = (
            keys.aggregate("key, min(filename), max(filename), count(*) AS n").filter("n > 1").order("key").limit(1)
        )
        found = shared.fetchall()
    if found:
        key, *files = found[0][:3]
        first, second = (file.rpartition("/")[2].removesuffix(".parquet") for file in files)
        raise RunError(
            f"key '{key}' is in shard {first} and in shard {second}: a key names one sample of the dataset; give the "
            "source a column of keys that are unique, or remove one of the two"
        )


@functools.lru_cache(maxsize=1)
def _opened(path: str, run_id: str) -> Dataset:
    """Open the dataset once per worker and run: its description is as long as it has shards."""
    assert run_id
    return open_dataset(path)


def sink_shard(plan: Plan, name: str, run_id: str, done: Done) -> Done:
    """Write a shard to a sink, unless the same content went there before."""
    sink = next(step for step in plan.sinks if step.name == name)
    opened = _opened(plan.out, run_id)
    shard = next(s for s in opened.shards if s.name == done.record.shard)
    fingerprint = digest([plan.identities[name], {layer: f[1] for layer, f in shard.files.items()}])
    if done.record.sinks.get(name, [""])[0] == fingerprint:
        return done
    operator: Sink = ready(plan, sink)
    paths = operator.write(shard.name, opened.read_shard(shard.name)) if operator.writes_shards else []
    done.record.sinks[name] = [fingerprint, plan.identities[name], *paths]
    Storage(plan.out).write(record_path(plan.name, shard.name), done.record.dump())
    return done


def written_by(plan: Plan, sink: str, records: Iterable[Record]) -> set[str]:
    """Return the paths that a sink, with the parameters it has now, has written for these shards."""
    entries = (record.sinks.get(sink, ["", ""]) for record in records)
    return {path for _, identity, *paths in entries if identity == plan.identities[sink] for path in paths}


def take_back(paths: Iterable[str]) -> None:
    """Remove files that a sink wrote for rows that are gone now."""
    for path in paths:
        folder, _, name = path.rpartition("/")
        Storage(folder).remove(name)


def end_sink(plan: Plan, sink: Step, opened: Dataset) -> None:
    """Let a sink do what needs the whole dataset, unless it did so for the same content before."""
    path = f"_runs/sinks/{sink.name}.json"
    contents = {shard.name: {layer: f[1] for layer, f in shard.files.items()} for shard in opened.shards}
    fingerprint = digest([plan.identities[sink.name], contents])
    if opened.storage.exists(path) and json.loads(opened.storage.read(path)) == fingerprint:
        return
    operator: Sink = ready(plan, sink)
    operator.finish(opened)
    opened.storage.write(path, json.dumps(fingerprint).encode())
