"""What was taken down of a dataset, so that it does not come back: keys and hashes, never the images."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from reinforced.storage import Storage

if TYPE_CHECKING:
    from reinforced.plan import Plan

FILE = "tombstones.json"


@dataclass(frozen=True)
class Tombstone:
    """An image that was taken down: the key it had, the SHA-256 of its bytes, either if known; when, and why."""

    key: str | None
    sha256: str | None
    date: str
    reason: str

    def __str__(self) -> str:
        """Return what the ledger says of a row that this refuses."""
        return f"taken down: {self.date}" + (f", {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class Tombstones:
    """All that was taken down; `applied` says that none of it is left in the layers."""

    listed: tuple[Tombstone, ...] = ()
    applied: bool = True

    @functools.cached_property
    def by_key(self) -> dict[str, Tombstone]:
        """The tombstones that name a key."""
        return {stone.key: stone for stone in self.listed if stone.key is not None}

    @functools.cached_property
    def by_sha256(self) -> dict[str, Tombstone]:
        """The tombstones that name a hash."""
        return {stone.sha256: stone for stone in self.listed if stone.sha256 is not None}

    @property
    def keys(self) -> frozenset[str]:
        """The keys that were taken down."""
        return frozenset(self.by_key)

    def refused(self, table: pa.Table) -> list[str | None]:
        """Return for each row, by `key` and `sha256` (if that is there), why it may not be here; None if it may."""
        if not self.listed:
            return [None] * len(table)
        keys = table.column("key").to_pylist()
        hashes = table.column("sha256").to_pylist() if "sha256" in table.column_names else [None] * len(keys)
        stones = [
            self.by_key.get(key) or self.by_sha256.get(sha256 or "") for key, sha256 in zip(keys, hashes, strict=True)
        ]
        return [str(stone) if stone else None for stone in stones]

    def with_more(self, more: Iterable[Tombstone]) -> Tombstones:
        """Return these and more, which are not applied yet; what is listed already keeps its date."""
        known = {(stone.key, stone.sha256) for stone in self.listed}
        return Tombstones((*self.listed, *(s for s in more if (s.key, s.sha256) not in known)), applied=False)


def read_tombstones(storage: Storage) -> Tombstones:
    """Read what was taken down of a dataset."""
    try:
        raw = json.loads(storage.read(FILE))
    except FileNotFoundError:
        return Tombstones()
    return Tombstones(tuple(Tombstone(**stone) for stone in raw["tombstones"]), raw["applied"])


def write_tombstones(storage: Storage, tombstones: Tombstones) -> None:
    """Write what was taken down of a dataset."""
    raw = {"applied": tombstones.applied, "tombstones": [asdict(stone) for stone in tombstones.listed]}
    storage.write(FILE, json.dumps(raw, indent=1).encode())


def tombstones_of(plan: Plan) -> Tombstones:
    """Return what a run must refuse: what was taken down of the dataset it writes, and of the one it reads."""
    places = [plan.out]
    if plan.source.operator.name() == "read.dataset" and not plan.in_place:
        places.append(plan.source.operator.path)  # type: ignore[attr-defined]
    return Tombstones(tuple(stone for place in places for stone in read_tombstones(Storage(place)).listed))
