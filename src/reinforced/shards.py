"""Which shards there are: what the source lists now, held against what is recorded."""

from __future__ import annotations

from collections.abc import Container, Sequence

from reinforced.operator import Source
from reinforced.plan import Plan, digest
from reinforced.record import Record, read_records, record_path
from reinforced.rows import removed_by_others
from reinforced.steps import ready
from reinforced.storage import Storage


def open_records(plan: Plan, storage: Storage) -> tuple[dict[str, Record], list[Record]]:
    """List the source's shards and find what is recorded of each; what no longer holds is forgotten.

    A record whose layer file is missing or of another size is not trusted. Shards that the source no longer has are
    returned apart.
    """
    found = read_records(storage, plan.name)
    sizes = {layer: storage.listing(layer) for layer in plan.layers}
    storage.clean([*plan.layers, "_runs/records/" + plan.name])
    source: Source = ready(plan, plan.source)
    records: dict[str, Record] = {}
    for number, spec in enumerate(source.shards()):
        name = spec["shard"] if plan.in_place else f"{number:05d}"
        if plan.in_place:
            mine = {*plan.layers, "verdicts"}
            spec["layers"] = {layer: sha for layer, sha in spec["layers"].items() if layer not in mine}
            spec["removed"] = digest(removed_by_others(plan.name, name, storage))
        content = digest(spec)
        record = found.get(name, Record(name, spec, content))
        lost = {n for n, r in record.layers.items() if n in sizes and sizes[n].get(f"{name}.parquet") != r.bytes}
        for layer in lost:
            del record.layers[layer]
        record.spec = spec
        if content != record.relieved:
            record.content, record.relieved = content, ""
        records[name] = record
    return records, [found[name] for name in found.keys() - records.keys()]


def forget(plan: Plan, here: Container[str], gone: Sequence[Record], storage: Storage) -> None:
    """Remove the shards that the source no longer has; last, so that a run killed before finds them again."""
    for layer in plan.layers:
        for name in storage.listing(layer):
            if name.removesuffix(".parquet") not in here:
                storage.remove(f"{layer}/{name}")
    for record in gone:
        storage.remove(record_path(plan.name, record.shard))
