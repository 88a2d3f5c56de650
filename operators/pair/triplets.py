"""Searches for images that are like another one under a condition, mined from relations."""

from __future__ import annotations

import csv
import io
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import Field, PrivateAttr

from reinforced import columns, counter
from reinforced.batch import Batch
from reinforced.operator import Columns, Global
from reinforced.weight_files import hash_file, read_file

from ._mine_triplets import ATTEMPTS, MINE

if TYPE_CHECKING:
    import duckdb


class PairTriplets(Global):
    """Finds for each image a target with the same subject and another object, and a distractor with that object alone.

    Vaze et al. 2023, *GeneCIS*: of two images of a man, one on a bench and one on a horse, the first is the reference,
    the second the target, `riding horse` the condition, and a horse with no man the distractor. Input are subject,
    relation and object of each caption. Eight targets and distractors are tried for a relation, by seed and key; where
    none fits there is no triplet, so mining ends. `concreteness` names ratings of words from 1 to 5 (Brysbaert et al.
    2014): a subject and object of a low mean (`love`, `day`) are left out, and so is what is not rated. A rating of
    several words is that of the last. No row is dropped.
    """

    layer: ClassVar = "conditional_triplets"
    writes: ClassVar = ("triplet_subjects", "triplet_conditions", "triplet_targets", "triplet_distractors")
    examples: ClassVar = ({"min_images": 1},)

    column: Annotated[str, Field(description="Column with a list of (subject, relation, object).")] = "relations"
    concreteness: Annotated[
        str | None,
        Field(description="CSV file, by path or URL, with the columns Word and Conc.M; default: use all words."),
    ] = None
    min_concreteness: Annotated[float, Field(ge=1, le=5, description="Least mean of subject and object.")] = 4.8
    min_images: Annotated[int, Field(ge=1, description="Fewest images of a subject.")] = 5
    min_objects: Annotated[int, Field(ge=2, description="Fewest objects of a subject.")] = 2
    most_per_image: Annotated[int, Field(ge=1, description="Most triplets of a reference.")] = 1
    seed: Annotated[int, Field(description="Seed of the choices.")] = 0

    _ratings: dict[str, float] | None = PrivateAttr(None)

    def __getstate__(self) -> dict[Any, Any]:
        """Leave the ratings behind: each worker reads them."""
        return super().__getstate__() | {"__pydantic_private__": {"_ratings": None}}

    def inputs(self) -> pa.Schema:
        """Return the relations."""
        return pa.schema([pa.field(self.column, columns.parse_type("list<string[3]>"))])

    def ingredients(self) -> dict[str, str]:
        """Return the digest of the ratings."""
        return {"concreteness": hash_file(self.concreteness)} if self.concreteness else {}

    def setup(self) -> None:
        """Read the ratings."""
        if self.concreteness is None:
            return
        rows = csv.DictReader(io.StringIO(read_file(self.concreteness).decode("utf-8-sig")))
        if missing := {"Word", "Conc.M"} - set(rows.fieldnames or ()):
            raise ValueError(f"pair.triplets: '{self.concreteness}' has no column {sorted(missing)}; name them so")
        self._ratings = {row["Word"].casefold(): float(row["Conc.M"]) for row in rows}

    def sketch_schema(self) -> pa.Schema:
        """Return the relations that are concrete enough, with random words for each."""
        parts = [columns.column(name, "list<string>", "Of each relation.") for name in ("subjects", "links", "objects")]
        return pa.schema([*parts, columns.column("words", "list<list<uint32>>", "Random words for each relation.")])

    def sketch(self, batch: Batch) -> Columns:
        """Keep concrete relations, and draw for each on its own."""
        rows = [sorted(self._concrete(relations or [])) for relations in batch.values(self.column)]
        made: dict[str, list[Any]] = {
            name: [[relation[i] for relation in row] for row in rows]
            for i, name in ((0, "subjects"), (2, "links"), (1, "objects"))
        }
        names = [f"{key}\n{s}\n{o}" for key, row in zip(batch.keys, rows, strict=True) for s, o, _ in row]
        words = counter.words(self.seed, "pair.triplets", names, [0], 2 * ATTEMPTS)[:, 0].tolist()
        ends = accumulate(map(len, rows), initial=0)
        return made | {"words": [words[start:end] for start, end in pairwise(ends)]}

    def reduce(self, sketches: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        """Mine all relations at once."""
        limits = {n: getattr(self, n) for n in ("min_images", "min_objects", "most_per_image")}
        found = sketches.query("sketches", MINE.format(**limits))
        assert found is not None
        return found

    def _concrete(self, relations: list[list[str]]) -> set[tuple[str, str, str]]:
        """Return (subject, object, relation), one of each subject and object: the first relation of the alphabet."""
        first: dict[tuple[str, str], str] = {}
        for relation in relations:
            subject, link, thing = (part.strip().casefold() for part in relation)
            if (self._rating(subject) + self._rating(thing)) / 2 > self.min_concreteness or self._ratings is None:
                first[subject, thing] = min(link, first.get((subject, thing), link))
        return {(subject, thing, link) for (subject, thing), link in first.items()}

    def _rating(self, words: str) -> float:
        ratings = self._ratings or {}
        return ratings.get(words, ratings.get(words.rpartition(" ")[2], 0))
