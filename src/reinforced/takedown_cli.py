"""The command `reinforced takedown`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def command(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Folder or fsspec URL of a dataset.")],
    key: Annotated[list[str] | None, typer.Option(help="Key of an image; may be repeated.")] = None,
    sha256: Annotated[list[str] | None, typer.Option(help="SHA-256 of an image's bytes; may be repeated.")] = None,
    author: Annotated[str | None, typer.Option(help="All images with this value in the column author.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for the ledger and for whoever asks later.")] = "",
) -> None:
    """Remove images from every layer of a dataset, for good: no later run lets them in again."""
    from reinforced.takedown import take_down

    done = take_down(dataset, keys=key or (), sha256=sha256 or (), author=author, reason=reason)
    for sink in done.sinks:
        print(f"copies written by {sink} stay until its pipeline is run again", file=sys.stderr)
    print(f"{done.rows:,} rows removed; {len(done.tombstones):,} images are refused from now on", file=sys.stderr)
    print(dataset)
