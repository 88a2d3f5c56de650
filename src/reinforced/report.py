"""The report of a run: one HTML file with everything in it, for a browser without a network."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from reinforced.comparison import HARD, Result, by_corruption, seen, spread
from reinforced.dataset import Dataset
from reinforced.images import ImageError, Pixels, decode, encode_png
from reinforced.record import StepCounts

if TYPE_CHECKING:
    from reinforced.sample import Sample

THUMBNAIL_PX = 128
CLASSES, PER_CLASS, UNLABELLED = 12, 8, 48
EXAMPLES, VIEWS, ANSWERS = 5, 4, 3
PAIRS = 24
_TINY_PX = 48


@dataclass(frozen=True)
class Picture:
    """An image in the page: its PNG as a data URL, what to call it, and whether its pixels are shown as squares."""

    url: str
    name: str
    pixelated: bool


@dataclass
class Group:
    """Images of one class in the gallery; `name` is None without labels."""

    name: str | None
    pictures: list[Picture] = field(default_factory=list)


@dataclass(frozen=True)
class Example:
    """An image, its label, and stored views of it with the teachers' first classes (name, percent, is the label)."""

    picture: Picture
    label: str | None
    views: list[tuple[Picture, list[tuple[str, float, bool]]]]


def write_report(
    dataset: Dataset, funnel: Mapping[str, StepCounts], evaluation: Result | None, path: str | Path
) -> None:
    """Write the report of a dataset as a self-contained HTML file.

    funnel: what each step did to the rows, in order. evaluation: the content of `evaluation.json`, if there is one.
    A dataset without labels or reinforcements has a report without those sections. What comes from data is escaped.
    """
    Path(path).write_text(render_report(dataset, funnel, evaluation), encoding="utf-8")


def render_report(dataset: Dataset, funnel: Mapping[str, StepCounts], evaluation: Result | None) -> str:
    """Return the report as HTML text; see `write_report`."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"spread": spread, "mean": lambda values: spread([float(np.mean(values))], 100)}
    template = environment.from_string((resources.files("reinforced") / "report.html.j2").read_text("utf-8"))
    names = class_names(dataset)
    return template.render(
        dataset=dataset,
        funnel=funnel,
        rows_in=max((counts.rows_in for counts in funnel.values()), default=0),
        layers=[(name, [f.name for f in schema]) for name, schema in dataset.layers.items()],
        size=sum(size for shard in dataset.shards for size, _ in shard.files.values()),
        gallery=gallery(dataset, names),
        examples=[(layer, examples(dataset, layer, names)) for layer in _reinforced_layers(dataset)],
        draws=sum(dataset.description["layers"][name]["draws"] for name in _reinforced_layers(dataset)),
        evaluation=evaluation,
        pairs=pairs(dataset),
        deltas=deltas(evaluation) if evaluation else {},
        diagrams=diagrams(evaluation) if evaluation else [],
        corruptions=by_corruption(evaluation) if evaluation else [],
        seen=seen(evaluation) if evaluation else "",
        **_origin(dataset),
    )


def class_names(dataset: Dataset) -> dict[int, str]:
    """Return the name of each class index, from the dataset's own columns; empty without labels."""
    if "label" not in dataset.schema.names:
        return {}
    column = "label_name" if "label_name" in dataset.schema.names else "label"
    found: dict[int, str] = {}
    for shard in dataset.shards:
        table = dataset.read_shard(shard.name, list(dict.fromkeys(["label", column])))
        pairs = zip(table.column("label").to_pylist(), table.column(column).to_pylist(), strict=True)
        found |= {label: str(label if name is None else name) for label, name in pairs if label is not None}
    return dict(sorted(found.items()))


def gallery(dataset: Dataset, names: Mapping[int, str]) -> list[Group]:
    """Take the first images of each of the first classes, or the first images where there are no labels."""
    shown = list(names)[:CLASSES]
    groups = {label: Group(names[label]) for label in shown} if names else {None: Group(None)}
    limit = PER_CLASS if names else UNLABELLED
    for shard in dataset.shards:
        if all(len(group.pictures) >= limit for group in groups.values()):
            break
        table = dataset.read_shard(shard.name, ["key", "image", *(["label"] if names else [])])
        labels = table.column("label").to_pylist() if names else [None] * table.num_rows
        for row, label in enumerate(labels):
            if label in groups and len(groups[label].pictures) < limit:
                groups[label].pictures += _pictures(
                    table.column("image")[row].as_py(), table.column("key")[row].as_py()
                )
    return [group for group in groups.values() if group.pictures]


def examples(dataset: Dataset, layer: str, names: Mapping[int, str]) -> list[Example]:
    """Replay the first stored views of images of the first shard, from the surest to the most doubtful one."""
    from reinforced.epoch import EpochReader
    from reinforced.reinforcement import Reinforcement

    origin = Reinforcement.parse(dataset.metadata(layer), layer).origin
    if origin is not None and origin.replay == "no":
        return []
    reader = EpochReader(dataset, layer=layer, shuffle=False)
    shard = next((i for i, count in enumerate(reader.counts) if count), None)
    if shard is None:
        return []
    epochs = [reader.load(shard, epoch) for epoch in range(min(VIEWS, reader.draws))]
    sure = np.mean([epoch.targets.probabilities.max(axis=1, initial=0) for epoch in epochs], axis=0)
    images = epochs[0].images
    labels = images.column("label").to_pylist() if "label" in images.column_names else [-1] * len(sure)
    found = []
    for row in _spread_out(sure, labels):
        key = images.column("key")[row].as_py()
        samples = [epoch.sample(row) for epoch in epochs]
        label = samples[0].label
        views = [(_picture(s.pixels, key), _answers(s, label, names)) for s in samples]
        picture = _picture(decode(images.column("image")[row].as_py()), key)
        found.append(Example(picture, names.get(label), views))
    return found


def pairs(dataset: Dataset) -> list[tuple[Picture, str]]:
    """Take the first pictures that the ledger keeps of why rows were dropped, each with the reason."""
    found: list[tuple[Picture, str]] = []
    for pipeline in dataset.storage.folders("_runs/ledger"):
        for step in dataset.storage.folders(f"_runs/ledger/{pipeline}"):
            for name in sorted(dataset.storage.listing(f"_runs/ledger/{pipeline}/{step}")):
                table = dataset.storage.read_table(
                    f"_runs/ledger/{pipeline}/{step}/{name}", ["key", "reason", "picture"]
                )
                for row in table.filter(pc.is_valid(table.column("picture"))).to_pylist():
                    if len(found) == PAIRS:
                        return found
                    url = "data:image/jpeg;base64," + base64.b64encode(row["picture"]).decode()
                    found.append((Picture(url, row["key"], False), row["reason"]))
    return found


def deltas(evaluation: Result) -> dict[str, dict[str, float]]:
    """Return each arm's mean accuracy and calibration error less those of hard labels, in points of a percent."""
    base = next(arm for arm in evaluation["arms"] if arm["arm"] == HARD)
    return {
        arm["arm"]: {name: 100 * float(np.mean(arm[name]) - np.mean(base[name])) for name in ("accuracy", "ece")}
        for arm in evaluation["arms"]
    }


def diagrams(evaluation: Result) -> list[dict[str, Any]]:
    """Return the points of a reliability diagram for each arm and the teachers: x, y and radius in a square of 100."""
    teacher = [{"arm": "the teachers", **evaluation["teacher"]}] if evaluation["teacher"] else []
    found = []
    for arm in [*evaluation["arms"], *teacher]:
        total = sum(b["count"] for b in arm["reliability"])
        points = [
            (100 * b["confidence"], 100 - 100 * b["accuracy"], 1.5 + 9 * (b["count"] / total) ** 0.5)
            for b in arm["reliability"]
        ]
        found.append({"arm": arm["arm"], "points": points, "ece": 100 * float(np.mean(arm["ece"]))})
    return found


def _answers(said: Sample, label: int, names: Mapping[int, str]) -> list[tuple[str, float, bool]]:
    pairs = zip(said.classes.tolist(), said.probabilities.tolist(), strict=True)
    return [(names.get(kind, str(kind)), 100 * share, kind == label) for kind, share in list(pairs)[:ANSWERS]]


def _spread_out(sure: npt.NDArray[np.floating[Any]], labels: Sequence[int]) -> list[int]:
    """Rows at even steps from the surest to the most doubtful, of different labels as far as there are."""
    order = np.argsort(-sure, kind="stable").tolist()
    chosen: list[int] = []
    for i in range(min(EXAMPLES, len(order))):
        place = i * (len(order) - 1) / max(1, EXAMPLES - 1)
        left = [rank for rank, row in enumerate(order) if row not in chosen]
        new = [rank for rank in left if labels[order[rank]] not in [labels[row] for row in chosen]]
        chosen.append(order[min(new or left, key=lambda rank: abs(rank - place))])
    return chosen


def _reinforced_layers(dataset: Dataset) -> list[str]:
    drawn = [name for name in dataset.layers if dataset.description["layers"][name]["draws"]]
    if not drawn:
        return []
    from reinforced.reinforcement import METADATA_KEY

    return [name for name in drawn if METADATA_KEY in dataset.metadata(name)]


def _pictures(data: bytes | None, key: str) -> Sequence[Picture]:
    """The image as a list of one, or of none where it cannot be decoded: a report is no place to fail for that."""
    try:
        return [_picture(decode(data or b""), key)]
    except ImageError:
        return []


def _picture(pixels: Pixels, key: str) -> Picture:
    from PIL import Image

    tiny = max(pixels.shape[:2]) <= _TINY_PX
    if max(pixels.shape[:2]) > THUMBNAIL_PX:
        image = Image.fromarray(pixels)
        image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
        pixels = np.array(image)
    return Picture("data:image/png;base64," + base64.b64encode(encode_png(pixels)).decode(), key, tiny)


def _origin(dataset: Dataset) -> dict[str, Any]:
    """How the dataset was made, as far as its last run is still there: the pipeline's text and the versions."""
    run = dataset.description["lineage"][-1] if dataset.description.get("lineage") else {}
    folder = f"_runs/{run.get('run')}"
    texts = {}
    for name in ("pipeline.yaml", "versions.json"):
        there = dataset.storage.exists(f"{folder}/{name}")
        texts[name] = dataset.storage.read(f"{folder}/{name}").decode() if there else ""
    return {
        "pipeline": texts["pipeline.yaml"],
        "versions": json.loads(texts["versions.json"] or "{}"),
        "made": run.get("time", ""),
    }
