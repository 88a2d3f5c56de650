"""Which image of the source a row comes from: itself, or the one that generators made it of."""

from __future__ import annotations

from dataclasses import dataclass

from reinforced.dataset import Dataset
from reinforced.inspection import pipelines
from reinforced.record import Record, record_path


@dataclass(frozen=True)
class Lineage:
    """The keys that a shard's source gave, as the ledger of the pipeline that built the dataset has them."""

    sources: frozenset[str]
    generated: bool
    """Whether a generator made the rows of the dataset out of those of the source."""

    @classmethod
    def read(cls, dataset: Dataset, shard: str) -> Lineage:
        """Read a shard's ledger."""
        builder: str = dataset.description["pipeline"]
        kinds = pipelines(dataset)[builder]
        record = Record.parse(dataset.storage.read(record_path(builder, shard)))
        piece = dataset.storage.read_table(record.steps[next(iter(kinds))].ledger, ["key", "parent_step"])
        rows = zip(piece.column("key").to_pylist(), piece.column("parent_step").to_pylist(), strict=True)
        return cls(frozenset(key for key, parent in rows if parent is None), "generator" in kinds.values())

    def source_of(self, key: str) -> str:
        """Return the key of the source's image, of which `key` or a part before a slash is one."""
        parts = key.split("/")
        starts = ("/".join(parts[:count]) for count in range(len(parts), 0, -1)) if self.generated else (key,)
        return next((start for start in starts if start in self.sources), key)
