"""Construct image datasets and reinforce them.

Three functions are the public Python API: `run` a pipeline, `plan` it without running it, `open` the dataset it made.
Importing the package loads nothing else; what a call needs is loaded by the call.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reinforced.dataset import Dataset
    from reinforced.plan import Plan
    from reinforced.run import Listener, RunResult

__version__: str
__all__ = ["__version__", "open", "plan", "run"]


def run(
    pipeline: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
    listener: Listener | None = None,
) -> RunResult:
    """Run a pipeline (a file, a recipe's name or a mapping) and return what it made; resumes what was begun before.

    overrides: settings as on the command line, such as `["out=data/pets", "seed=1"]`. engine: `local` (a pool of this
    machine's cores) or `ray` (this machine, or the cluster at `address`). The result has `.dataset`, `.path`, and per
    step `.counts` and `.seconds`.
    Raises: RequestError before anything starts if the request is wrong; RunError if the run had to stop: what was
    committed stays, and the same call resumes it.
    """
    from reinforced.run import run as call

    return call(pipeline, overrides, engine=engine, workers=workers, address=address, listener=listener)


def plan(pipeline: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Plan:
    """Check a pipeline end to end and return its plan: steps, columns, layers, segments; starts and writes nothing.

    Raises: RequestError that names file, line, what was found and what is allowed.
    """
    from reinforced.plan import plan as call

    return call(pipeline, overrides)


def open(path: str | Path) -> Dataset:
    """Open a dataset on local disk or at an fsspec URL for reading.

    Raises: RequestError if there is none, or one of a newer format.
    """
    from reinforced.dataset import open_dataset

    return open_dataset(str(path))


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module 'reinforced' has no attribute '{name}'")
    from importlib.metadata import version

    return version("reinforced")


class _Package(ModuleType):
    """Keeps `reinforced.run` and `reinforced.plan` functions when the modules of these names are imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in ("run", "plan") and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
