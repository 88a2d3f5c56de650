"""What is there already of a shard that is read again."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa


@dataclass(frozen=True)
class Before:
    """What a source need not get twice."""

    rows: pa.Table | None = None
    """Rows of its `samples` layer, as the same source with the same parameters has read them."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Rows that failed, by key, with the reason: they fail again."""
    removed: Container[str] = frozenset()
    """Keys of rows that later steps have removed and will again: their values are not looked at."""
    scratch: Path | None = None
    """A file for what a killed process should not have to get again; removed when the shard is committed."""
