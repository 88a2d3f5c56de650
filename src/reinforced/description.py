"""`dataset.json`: what a dataset is made of, as committed; several pipelines may have their layers in it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from reinforced.columns import layer_schemas
from reinforced.compact import unfinished
from reinforced.dataset import FILE, Dataset
from reinforced.errors import RequestError
from reinforced.layers import draws_of
from reinforced.plan import FORMAT, Plan
from reinforced.record import Record, read_records, record_path
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


def _claims(pipeline: str) -> str:
    return f"_runs/claims/{pipeline}.json"


def claimed(pipeline: str, storage: Storage) -> set[str]:
    """Return the layers that runs of a pipeline have begun to write, whether or not they came to record it."""
    path = _claims(pipeline)
    return set(json.loads(storage.read(path))) if storage.exists(path) else set()


def claim(plan: Plan, storage: Storage) -> None:
    """Note the layers that this run writes, before it writes any."""
    before, mine = claimed(plan.name, storage), _mine(plan)
    if not mine <= before:
        storage.write(_claims(plan.name), json.dumps(sorted(before | mine)).encode())


def drop_unfit(plan: Plan, records: Mapping[str, Record], storage: Storage) -> None:
    """Remove what other pipelines added to a dataset if its samples are about to be others than those they were for.

    Their layers are made again, for the new rows, when those pipelines are run again.
    """
    others = [name for name in storage.folders("_runs/records") if name != plan.name]
    if plan.in_place or all(_fits(plan, records, read_records(storage, other)) for other in others):
        return
    for other in others:
        for layer in claimed(other, storage):
            storage.remove(layer)
        for folder in ("records", "ledger", "sketches"):
            storage.remove(f"_runs/{folder}/{other}")
        storage.remove(_claims(other))
    storage.remove("verdicts")


def _fits(plan: Plan, records: Mapping[str, Record], theirs: Mapping[str, Record]) -> bool:
    """Return whether the samples are those for which another pipeline made its layers."""
    return theirs.keys() == records.keys() and not any(
        their.spec["layers"].get("samples") != records[name].layers["samples"].sha256
        or (plan.compact and unfinished(plan, records[name]))
        for name, their in theirs.items()
    )


def write_description(plan: Plan, records: Mapping[str, Record], run_id: str, storage: Storage) -> None:
    """Write `dataset.json`: this pipeline's layers beside those that others have there."""
    before = read_description(storage) or {}
    mine = _mine(plan)
    for layer in claimed(plan.name, storage) - mine - {"verdicts"}:
        storage.remove(layer)  # a step that wrote it has left the pipeline
    storage.write(_claims(plan.name), json.dumps(sorted(mine)).encode())
    others = {name for name in storage.folders("_runs/records") if name != plan.name}
    layers = {n: info for n, info in before.get("layers", {}).items() if info["pipeline"] in others and n not in mine}
    if "verdicts" not in {*mine, *layers}:
        storage.remove("verdicts")
    layers |= {layer: _layer_info(plan, layer) for layer in mine}
    files = {shard["name"]: shard["files"] for shard in before.get("shards", [])}
    shards = []
    for name, record in sorted(records.items()):
        if not record.layers.keys() <= mine:
            record.layers = {layer: r for layer, r in record.layers.items() if layer in mine}
            storage.write(record_path(plan.name, name), record.dump())
        own = {layer: [r.bytes, r.sha256] for layer, r in record.layers.items()}
        theirs = {layer: f for layer, f in files.get(name, {}).items() if layer in layers and layer not in mine}
        shards.append({"name": name, "rows": record.rows, "files": theirs | own})
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
    description["kept"] = count_kept(description, storage)
    storage.write(FILE, json.dumps(description, indent=1).encode())


def _mine(plan: Plan) -> set[str]:
    return {*plan.layers} | (set() if plan.compact else {"verdicts"})


def _layer_info(plan: Plan, layer: str) -> dict[str, Any]:
    step, _ = plan.layers.get(layer, ("", None))
    version = layer_schemas()[layer].version if layer in layer_schemas() else 1
    return {"pipeline": plan.name, "step": step, "schema": version, "draws": draws_of(plan, layer) if step else None}


def count_kept(description: Mapping[str, Any], storage: Storage) -> int:
    """Count the rows that no verdict has removed."""
    opened = Dataset(storage, {**description, "kept": 0})
    masks = ((shard.rows, opened.kept(shard.name)) for shard in opened.shards)
    return sum(rows if mask is None else int(mask.true_count) for rows, mask in masks)
