"""The end of a run: `dataset.json`, what other pipelines added, and the sinks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from reinforced.columns import layer_schemas
from reinforced.dataset import FILE, Dataset, open_dataset
from reinforced.errors import RequestError, RunError
from reinforced.layers import draws_of
from reinforced.operator import Sink
from reinforced.pipeline import Step
from reinforced.plan import FORMAT, Plan, digest
from reinforced.record import Record, read_records, record_path
from reinforced.segment import Done
from reinforced.steps import ready
from reinforced.storage import Storage


def read_description(storage: Storage) -> dict[str, Any] | None:
    """Read `dataset.json`; None if there is none yet."""
    try:
        return json.loads(storage.read(FILE))  # type: ignore[no-any-return]
    except FileNotFoundError:
        return None


def refuse_other(plan: Plan, storage: Storage) -> None:
    """Refuse to build over a dataset that another pipeline built. Raises: RequestError."""
    builders = {name for name in storage.folders("_runs/records") if name != plan.name}
    before = read_description(storage)
    if plan.in_place:
        return
    if before is not None and before["pipeline"] != plan.name:
        raise RequestError(
            f"{plan.out} is the dataset '{before['name']}', built by pipeline '{before['pipeline']}'; "
            f"choose another out= for '{plan.name}', or remove it first"
        )
    if before is None and builders:
        raise RequestError(
            f"{plan.out} holds an unfinished run of pipeline '{min(builders)}'; choose another out= for '{plan.name}', "
            "or remove it first"
        )


def _claims(plan: Plan) -> str:
    return f"_runs/claims/{plan.name}.json"


def claimed(plan: Plan, storage: Storage) -> set[str]:
    """Return the layers that runs of this pipeline have begun to write, whether or not they came to record it."""
    return set(json.loads(storage.read(_claims(plan)))) if storage.exists(_claims(plan)) else set()


def claim(plan: Plan, storage: Storage) -> None:
    """Note the layers that this run writes, before it writes any."""
    before, mine = claimed(plan, storage), {*plan.layers} | (set() if plan.compact else {"verdicts"})
    if not mine <= before:
        storage.write(_claims(plan), json.dumps(sorted(before | mine)).encode())


def write_description(plan: Plan, records: Mapping[str, Record], run_id: str, storage: Storage) -> None:
    """Write `dataset.json`: what the dataset is made of, as committed now."""
    before = read_description(storage) or {}
    layers: dict[str, Any] = dict(before.get("layers", {})) if plan.in_place else {}
    mine = {*plan.layers} | (set() if plan.compact else {"verdicts"})
    for layer in claimed(plan, storage) - mine:
        layers.pop(layer, None)  # a step that wrote it has left the pipeline
        storage.remove(layer)
    storage.write(_claims(plan), json.dumps(sorted(mine)).encode())
    for layer in mine:
        step, _ = plan.layers.get(layer, ("", None))
        version = layer_schemas()[layer].version if layer in layer_schemas() else 1
        draws = draws_of(plan, layer) if step else None
        layers[layer] = {"pipeline": plan.name, "step": step, "schema": version, "draws": draws}
    files = {s["name"]: s["files"] for s in before.get("shards", [])} if plan.in_place else {}
    if not plan.in_place:
        layers |= _keep_others(plan, records, before, files, storage)
    shards = []
    for name, record in sorted(records.items()):
        if not record.layers.keys() <= mine:
            record.layers = {layer: r for layer, r in record.layers.items() if layer in mine}
            storage.write(record_path(plan.name, name), record.dump())
        own = {layer: [r.bytes, r.sha256] for layer, r in record.layers.items()}
        kept_files = {layer: f for layer, f in files.get(name, {}).items() if layer in layers}
        shards.append({"name": name, "rows": record.rows, "files": kept_files | own})
    steps = {step.name: step.operator.kind for step in [plan.source, *plan.steps]}
    source = plan.source.operator.model_dump(mode="json")
    run = {"run": run_id, "pipeline": plan.name, "steps": steps, "source": source}
    description = {
        "format": FORMAT,
        "name": before.get("name", plan.name) if plan.in_place else plan.name,
        "pipeline": before["pipeline"] if plan.in_place else plan.name,
        "rows": sum(record.rows for record in records.values()),
        "layers": dict(sorted(layers.items())),
        "shards": shards,
        "lineage": [*before.get("lineage", []), run | {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}],
    }
    description["kept"] = _count_kept(description, storage)
    if not plan.in_place and plan.compact:
        storage.remove("verdicts")
    storage.write(FILE, json.dumps(description, indent=1).encode())


def _count_kept(description: Mapping[str, Any], storage: Storage) -> int:
    opened = Dataset(storage, {**description, "kept": 0})
    masks = ((shard.rows, opened.kept(shard.name)) for shard in opened.shards)
    return sum(rows if mask is None else int(mask.true_count) for rows, mask in masks)


def _keep_others(
    plan: Plan, records: Mapping[str, Record], before: Mapping[str, Any], files: dict[str, Any], storage: Storage
) -> dict[str, Any]:
    """Keep the layers that other pipelines added, where they still fit the samples; remove the ones that do not."""
    kept: dict[str, Any] = {}
    for pipeline in storage.folders("_runs/records"):
        if pipeline == plan.name:
            continue
        theirs = read_records(storage, pipeline)
        layers = {n: i for n, i in before.get("layers", {}).items() if i["pipeline"] == pipeline and n != "verdicts"}
        fit = theirs.keys() == records.keys() and all(
            record.spec["layers"].get("samples") == records[name].layers["samples"].sha256
            for name, record in theirs.items()
        )
        if fit:
            kept |= layers
            for shard in before["shards"]:
                entry = files.setdefault(shard["name"], {})
                entry |= {layer: f for layer, f in shard["files"].items() if layer in layers}
        else:  # made for other rows: they are made again when that pipeline is run again
            for layer in layers:
                storage.remove(layer)
            storage.remove(f"_runs/records/{pipeline}")
    return kept


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


def sink_shard(plan: Plan, name: str, done: Done) -> Done:
    """Write a shard to a sink, unless the same content went there before."""
    sink = next(step for step in plan.sinks if step.name == name)
    opened = open_dataset(plan.out)
    shard = next(s for s in opened.shards if s.name == done.record.shard)
    fingerprint = digest([plan.identities[name], {layer: f[1] for layer, f in shard.files.items()}])
    if done.record.sinks.get(name, [""])[0] == fingerprint:
        return done
    operator: Sink = ready(plan, sink)
    paths = operator.write(shard.name, opened.read_shard(shard.name)) if operator.writes_shards else []
    done.record.sinks[name] = [fingerprint, plan.identities[name], *paths]
    Storage(plan.out).write(record_path(plan.name, shard.name), done.record.dump())
    return Done(done.record, done.seconds, True)


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
