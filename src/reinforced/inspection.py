"""Look into a dataset: what it is made of, the funnel of its ledger, everything about one sample."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reinforced.dataset import Dataset
from reinforced.errors import RequestError
from reinforced.ledger import KEPT
from reinforced.record import Record, StepCounts, read_records

DRAWS_SHOWN = 3


@dataclass(frozen=True)
class FunnelStep:
    """What a step did to the rows of the whole dataset; in the order of the runs and of their steps."""

    pipeline: str
    step: str
    kind: str
    counts: StepCounts

    @property
    def title(self) -> str:
        """Return the step with its pipeline, to tell it from a step of another one."""
        return f"{self.pipeline}: {self.step}"


def pipelines(dataset: Dataset) -> dict[str, dict[str, str]]:
    """Return the pipelines that made the dataset, the builder first, each with its steps (name to kind) in order."""
    return {run["pipeline"]: run["steps"] for run in dataset.description["lineage"]}


def funnel(dataset: Dataset) -> list[FunnelStep]:
    """Add up the ledger's counts of every step of every pipeline over the shards."""
    found = []
    for pipeline, steps in pipelines(dataset).items():
        records = read_records(dataset.storage, pipeline).values()
        for step, kind in steps.items() if records else ():
            counts = StepCounts()
            for record in records:
                if step in record.steps:
                    counts.add(record.steps[step].counts)
            found.append(FunnelStep(pipeline, step, kind, counts))
    return found


def top_reasons(counts: StepCounts, most: int = 3) -> list[tuple[str, int]]:
    """Return the most frequent reasons for which rows were dropped or failed."""
    return sorted(counts.reasons.items(), key=lambda pair: (-pair[1], pair[0]))[:most]


def overview(dataset: Dataset) -> dict[str, Any]:
    """Return layers with their columns, rows and bytes, and the funnel, JSON-able."""
    layers = {}
    for name, schema in dataset.layers.items():
        info = dataset.description["layers"][name]
        layers[name] = {
            "pipeline": info["pipeline"],
            "step": info["step"],
            "rows": sum(shard.rows for shard in dataset.shards) * (info["draws"] or 1),
            "bytes": sum(shard.files[name][0] for shard in dataset.shards),
            "columns": [column_facts(field) for field in schema],
        }
    return {
        "name": dataset.name,
        "path": dataset.path,
        "rows": dataset.description["rows"],
        "kept": len(dataset),
        "shards": len(dataset.shards),
        "layers": layers,
        "funnel": [asdict(step) for step in funnel(dataset)],
    }


def column_facts(field: pa.Field) -> dict[str, str]:
    """Return a column's name, type, unit and description."""
    metadata = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
    return {
        "name": field.name,
        "type": type_name(field.type),
        "unit": metadata.get("unit", ""),
        "description": metadata.get("description", ""),
    }


def type_name(kind: pa.DataType) -> str:
    """Return a column type as `schemas/` writes it: `int32`, `list<string>`, `uint16[10]`."""
    if pa.types.is_fixed_size_list(kind):
        return f"{type_name(kind.value_type)}[{kind.list_size}]"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list<{type_name(kind.value_type)}>"
    return {"float": "float32", "double": "float64", "halffloat": "float16"}.get(str(kind), str(kind))


def find_sample(dataset: Dataset, key: str) -> dict[str, Any]:
    """Return all there is about a key: its row in every layer and where the ledger says it went, JSON-able.

    Raises: RequestError if neither a layer nor the ledger knows the key.
    """
    place = _place(dataset, key)
    found: dict[str, Any] = {"key": key, "shard": None, "row": None, "layers": {}}
    if place is not None:
        shard, row = place
        found |= {"shard": shard, "row": row}
        found["layers"] = {layer: _values(dataset, layer, shard, row) for layer in dataset.layers}
    found["ledger"] = list(_ledger(dataset, key, place[0] if place else None))
    if place is None and not found["ledger"]:
        raise RequestError(
            f"{dataset.path} has no sample '{key}', and its ledger has none; list some with: reinforced inspect "
            f"{dataset.path} --sql 'SELECT key FROM dataset LIMIT 10'"
        )
    return found


def _place(dataset: Dataset, key: str) -> tuple[str, int] | None:
    quoted = key.replace("'", "''")
    rows = dataset.sql(f"SELECT shard, row FROM samples WHERE key = '{quoted}'").to_pylist()
    return (rows[0]["shard"], rows[0]["row"]) if rows else None


def _values(dataset: Dataset, layer: str, shard: str, row: int) -> Any:
    table = dataset.read(layer, shard)
    if not dataset.description["layers"][layer]["draws"]:
        return _plain(table.slice(row, 1).to_pylist()[0])
    draws = table.filter(pc.equal(table.column("row"), row))
    return {"draws": len(draws), "first": [_plain(one) for one in draws.slice(0, DRAWS_SHOWN).to_pylist()]}


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {k: f"{len(v):,} bytes" if isinstance(v, bytes) else v for k, v in values.items() if k != "key"}


def _ledger(dataset: Dataset, key: str, shard: str | None) -> Iterator[dict[str, Any]]:
    """Yield what became of a key, pass by pass: in its shard, or in any of them if it is in no layer."""
    for pipeline, steps in pipelines(dataset).items():
        for record in read_records(dataset.storage, pipeline).values():
            if shard in (None, record.shard):
                yield from _in_record(dataset, key, pipeline, list(steps), record)


def _in_record(dataset: Dataset, key: str, pipeline: str, steps: list[str], record: Record) -> Iterator[dict[str, Any]]:
    pieces: dict[str, list[str]] = {}
    for step in steps:
        if step in record.steps:
            pieces.setdefault(record.steps[step].ledger, []).append(step)
    for path, through in pieces.items():
        table = dataset.storage.read_table(path)
        for row in table.filter(pc.equal(table.column("key"), key)).to_pylist():
            if row["outcome"] != KEPT and row["step"] not in through:
                continue  # a later pass has judged this step anew
            facts = {name: row[name] for name in ("outcome", "step", "reason", "score", "parent_step", "made")}
            told = through[: through.index(row["step"]) + 1] if row["step"] else through
            yield {"pipeline": pipeline, "shard": record.shard, "steps": told, **facts}


def evaluation(dataset: Dataset) -> dict[str, Any] | None:
    """Return what `evaluate.student` found out, if it was part of the run."""
    try:
        return json.loads(dataset.storage.read("evaluation.json"))  # type: ignore[no-any-return]
    except FileNotFoundError:
        return None
