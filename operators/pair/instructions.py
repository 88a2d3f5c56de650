"""Instructions with the pictures that follow them, out of annotations."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, PrivateAttr

from reinforced import columns, counter
from reinforced.batch import Batch
from reinforced.images import Pixels, encode_png
from reinforced.operator import Generator
from reinforced.templates import WORDS, Template, choose
from reinforced.weight_files import hash_file, read_file

from ._targets import GREEN, RED, boxes_drawn, colours, depth_map, mask_of

Task = Literal["detection", "segmentation", "depth", "classification"]
Answer = tuple[Pixels, dict[str, str | None]]


class PairInstructions(Generator):
    """Makes pairs of instruction and answering picture out of the annotations of each image (InstructCV).

    Gan et al. 2023, *InstructCV: Instruction-Tuned Text-to-Image Diffusion Models as Vision Generalists*. Detection
    draws boxes on the image, segmentation a white mask on black, depth a grey map (near is light), classification a
    plain colour: green for yes, red for no. Each task that an image is annotated for gives one row,
    `parent/detection`, which asks for one of the image's objects, or for its class or, half the time, another of
    `classes`. Object, words and colour depend on seed, key and task. The image is passed on as it is; one without
    annotations gives no row.
    """

    reads: ClassVar = ("key", "pixels")
    writes: ClassVar = ("key", "image", "parent", "task", "instruction", "target_image")
    examples: ClassVar = ({"tasks": ["classification"], "classes": ["dog"]},)

    tasks: Annotated[tuple[Task, ...], Field(min_length=1, description="Which pairs to make.")]
    names: Annotated[str, Field(description="Column with the names of an image's objects, a list.")] = "object_names"
    boxes: Annotated[str, Field(description="Column with the objects' boxes: left, top, width, height in px.")] = (
        "object_boxes"
    )
    mask: Annotated[
        str, Field(description="Column with an encoded grey image: 1 where the first object is, 2 the second, 0 none.")
    ] = "object_mask"
    depth: Annotated[
        str, Field(description="Column with an encoded grey image of 8 or 16 bits: distance, 0 where it is not known.")
    ] = "depth_map"
    label_name: Annotated[str, Field(description="Column with the name of the image's class.")] = "label_name"
    classes: Annotated[
        tuple[str, ...], Field(description="Classes to ask for that an image is not of; without any the answer is yes.")
    ] = ()
    templates: Annotated[
        str, Field(description="YAML file with a list of templates for each task; see `caption.attributes`.")
    ] = "package:prompts/instructions.yaml"
    seed: Annotated[int, Field(description="Seed of the choices.")] = 0

    _templates: dict[str, list[Template]] = PrivateAttr(default_factory=dict)

    def __getstate__(self) -> dict[Any, Any]:
        """Leave the parsed templates behind: each worker reads them."""
        return super().__getstate__() | {"__pydantic_private__": {"_templates": {}}}

    def inputs(self) -> pa.Schema:
        """Return the image and the annotations of the tasks."""
        objects = {self.names: "list<string>"}
        needed = {
            "detection": objects | {self.boxes: "list<int32[4]>"},
            "segmentation": objects | {self.mask: "binary"},
            "depth": {self.depth: "binary"},
            "classification": {self.label_name: "string"},
        }
        found = {name: type for task in self.tasks for name, type in needed[task].items()}
        return pa.schema([*super().inputs(), *(pa.field(name, columns.parse_type(t)) for name, t in found.items())])

    def ingredients(self) -> dict[str, str]:
        """Return the digest of the templates."""
        return {"templates": hash_file(self.templates)}

    def setup(self) -> None:
        """Read the templates."""
        import yaml

        listed = yaml.safe_load(read_file(self.templates))
        self._templates = {task: [Template(text) for text in listed[task]] for task in self.tasks}

    def generate(self, batch: Batch) -> pa.Table:
        """Return a row for each image and task that it is annotated for."""
        known = [name for name in self.inputs().names if name != "image"]
        rows = batch.table.select(known).to_pylist()
        words = counter.words(self.seed, "pair.instructions", batch.keys, range(len(self.tasks)), WORDS + 4)
        made: list[tuple[int, dict[str, Any]]] = []
        for i, (row, pixels) in enumerate(zip(rows, batch.pixels, strict=True)):
            for task, drawn in zip(self.tasks, words[i], strict=True):
                if answer := self._answer(task, row, pixels, drawn):
                    target, values = answer
                    said = choose(self._templates[task], drawn[3:], values)
                    row_made = {"key": f"{row['key']}/{task}", "parent": row["key"], "task": task, "instruction": said}
                    made.append((i, row_made | {"target_image": encode_png(target)}))
        parents = [i for i, _ in made]
        values_of = {name: [row[name] for _, row in made] for name in self.outputs().names if name != "image"}
        values_of["image"] = batch.table.column("image").take(pa.array(parents, pa.int64()))
        return batch.descendants(parents, values_of, self.outputs())

    def _answer(self, task: Task, row: dict[str, Any], pixels: Pixels, words: counter.U32) -> Answer | None:
        """Return the target image and what is asked for; None where the image has no such annotation."""
        if task == "depth":
            return (depth_map(row[self.depth], pixels), {}) if row[self.depth] else None
        if task == "classification":
            return self._classification(row[self.label_name], pixels, words)
        names = row[self.names] or []
        kinds = sorted(set(names))
        if not kinds or (task == "segmentation" and not row[self.mask]):
            return None
        kind = kinds[int(counter.below(words[0], len(kinds)))]
        places = [place for place, name in enumerate(names) if name == kind]
        if task == "segmentation":
            return mask_of(row[self.mask], places, pixels), {"name": kind}
        colour = sorted(colours)[int(counter.below(words[1], len(colours)))]
        drawn = boxes_drawn(pixels, [row[self.boxes][place] for place in places], colours[colour])
        return drawn, {"name": kind, "colour": colour}

    def _classification(self, label: str | None, pixels: Pixels, words: counter.U32) -> Answer | None:
        if not label:
            return None
        others = [name for name in self.classes if name != label]
        other = bool(others) and bool(counter.below(words[0], 2))
        asked = others[int(counter.below(words[1], len(others)))] if other else label
        return np.broadcast_to(np.array(RED if other else GREEN, np.uint8), pixels.shape), {"name": asked}
