"""Captions with places, merged from phrases with boxes."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from reinforced import columns
from reinforced.batch import Batch
from reinforced.operator import Columns, Transform

Boxes = list[list[float]]
_BETWEEN = ". "


class PairPhrases(Transform):
    """Merges an image's phrases, each with boxes, into few captions with the place of every phrase in them (MDETR).

    Kamath et al. 2021, *MDETR: Modulated Detection for End-to-End Multi-Modal Understanding*: two phrases with boxes
    that overlap by more than `max_iou` (intersection over union) must not share a caption, since it would not be clear
    which one a box belongs to. A greedy colouring of that graph, phrases with most conflicts first, gives groups, and
    each is cut into captions of at most `max_characters`; a longer phrase stands alone. Leave test images out before.
    """

    layer: ClassVar = "grounded_captions"
    writes: ClassVar = ("grounded_captions", "phrase_captions", "phrase_spans")
    examples: ClassVar = ({}, {"spans": "noun_spans", "max_characters": 60})

    phrases: Annotated[str, Field(description="Column with the phrases, a list of texts.")] = "phrases"
    boxes: Annotated[
        str, Field(description="Column with a list of boxes for each phrase; a box is left, top, width, height in px.")
    ] = "phrase_boxes"
    spans: Annotated[
        str | None,
        Field(
            description="Column with the first and last (exclusive) character that a phrase's boxes show; default: all."
        ),
    ] = None
    max_iou: Annotated[float, Field(ge=0, le=1, description="Largest overlap of two phrases of one caption.")] = 0.5
    max_characters: Annotated[int, Field(ge=1, description="Most characters of a merged caption.")] = 250

    def inputs(self) -> pa.Schema:
        """Return phrases, boxes and spans."""
        needed = {self.phrases: "list<string>", self.boxes: "list<list<float32[4]>>"}
        needed |= {self.spans: "list<int32[2]>"} if self.spans else {}
        return pa.schema([pa.field(name, columns.parse_type(type)) for name, type in needed.items()])

    def transform(self, batch: Batch) -> Columns:
        """Merge the phrases of every row."""
        spans = batch.values(self.spans) if self.spans else [None] * len(batch)
        rows = zip(batch.values(self.phrases), batch.values(self.boxes), spans, strict=True)
        merged = [self._merge(phrases or [], boxes or [], shown) for phrases, boxes, shown in rows]
        return {field.name: [row[i] for row in merged] for i, field in enumerate(self.outputs())}

    def _merge(
        self, phrases: list[str], boxes: list[Boxes], spans: list[list[int]] | None
    ) -> tuple[list[str], list[int], list[list[int]]]:
        if len(boxes) != len(phrases) or (spans is not None and len(spans) != len(phrases)):
            raise ValueError(f"pair.phrases: {len(phrases)} phrases, but boxes or spans for another number of them")
        captions: list[str] = []
        holder, places = [0] * len(phrases), [[0, 0] for _ in phrases]
        colours = _coloured(_conflicts(boxes, self.max_iou))
        for colour in range(max(colours, default=-1) + 1):
            captions.append("")
            for i in (i for i, own in enumerate(colours) if own == colour):
                start = len(captions[-1]) + len(_BETWEEN) if captions[-1] else 0
                if start and start + len(phrases[i]) > self.max_characters:
                    captions.append("")
                    start = 0
                captions[-1] += (_BETWEEN if start else "") + phrases[i]
                first, last = spans[i] if spans is not None else (0, len(phrases[i]))
                holder[i], places[i] = len(captions) - 1, [start + first, start + last]
        return captions, holder, places


def _conflicts(boxes: list[Boxes], max_iou: float) -> npt.NDArray[np.bool_]:
    """Say which phrases have boxes that overlap too much: bool (phrases, phrases)."""
    of = np.repeat(np.arange(len(boxes)), [len(own) for own in boxes])
    flat = np.array([box for own in boxes for box in own], np.float64).reshape(-1, 4)
    starts, ends, areas = flat[:, :2], flat[:, :2] + flat[:, 2:], flat[:, 2] * flat[:, 3]
    sides = np.minimum(ends[:, None], ends) - np.maximum(starts[:, None], starts)
    shared = sides.clip(0).prod(-1)
    first, second = np.nonzero(shared > max_iou * (areas[:, None] + areas - shared))
    found = np.zeros((len(boxes), len(boxes)), bool)
    found[of[first], of[second]] = True
    np.fill_diagonal(found, False)
    return found


def _coloured(conflicts: npt.NDArray[np.bool_]) -> list[int]:
    """Give each phrase the lowest colour that no phrase in conflict with it has, those with most conflicts first."""
    colours = np.full(len(conflicts), -1)
    for i in np.argsort(-conflicts.sum(1), kind="stable"):
        taken = set(colours[conflicts[i]].tolist())
        colours[i] = next(colour for colour in range(len(conflicts)) if colour not in taken)
    return [int(colour) for colour in colours]
