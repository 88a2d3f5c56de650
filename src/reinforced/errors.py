"""The two errors a user can meet, and how far off a name may be to suggest another."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping


class RequestError(ValueError):
    """The request is wrong and nothing was started: says who, what it got, what is allowed and what to do (exit 2)."""


class RowErrors(ValueError):  # noqa: N818  # many rows' errors at once
    """Some rows of a batch are at fault, and it is known which: row of the batch to its reason, for the ledger."""

    def __init__(self, reasons: Mapping[int, str]) -> None:
        super().__init__("; ".join(reasons.values()))
        self.reasons = dict(reasons)


class RunError(RuntimeError):
    """The run stopped; what was committed stays and the same command resumes it (exit 1)."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the allowed name closest to `name`, or the allowed names when none is close."""
    names = sorted(allowed)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; allowed: {', '.join(names)}" if names else ""
