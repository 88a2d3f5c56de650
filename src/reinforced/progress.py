"""How a run goes on, on standard error: a live table on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

from reinforced.record import Record, StepCounts

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PLAIN_EVERY_S = 5.0


@dataclass
class Phase:
    """The phase that runs now."""

    title: str = ""
    shards: int = 0
    to_do: int = 0
    done: int = 0
    rows: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def rows_per_s(self) -> float:
        """Rows that came into the phase's first step, a second."""
        return self.rows / max(time.monotonic() - self.started, 1e-9)

    @property
    def remaining_s(self) -> float | None:
        """Seconds to go at the pace so far; None before the first shard."""
        if not self.done:
            return None
        return (time.monotonic() - self.started) / self.done * (self.to_do - self.done)

    def line(self, totals: Mapping[str, StepCounts]) -> str:
        """Return all of it on one line."""
        parts = [f"{self.shards - self.to_do + self.done}/{self.shards} shards"]
        if self.rows:
            parts += [f"{self.rows:,} rows", f"{self.rows_per_s:,.0f} rows/s"]
        dropped, failed = (sum(getattr(c, name) for c in totals.values()) for name in ("dropped", "failed"))
        kept = [counts.kept for counts in totals.values() if counts.rows_in]
        if kept:
            parts += [f"kept {kept[-1]:,}", f"dropped {dropped:,}", f"failed {failed:,}"]
        if self.done < self.to_do and self.remaining_s is not None:
            parts.append(f"ETA {clock(self.remaining_s)}")
        return f"{self.title}: {', '.join(parts)}"


class Progress(AbstractContextManager["Progress"]):
    """Adds up what a run tells its listener: counts and seconds of every step, of the shards seen in this run."""

    def __init__(self, steps: Sequence[str]) -> None:
        self.now = Phase()
        self.totals = {name: StepCounts() for name in steps}
        self.seconds = dict.fromkeys(steps, 0.0)
        self._seen: dict[str, dict[str, StepCounts]] = {}

    def phase(self, title: str, shards: int, to_do: int) -> None:
        """A phase begins."""
        self.now = Phase(title, shards, to_do)

    def shard(self, record: Record, seconds: Mapping[str, float]) -> None:
        """A shard has come through; its counts take the place of those it had before."""
        before, after = self._seen.get(record.shard, {}), {n: s.counts for n, s in record.steps.items()}
        for name, total in self.totals.items():
            old, new = before.get(name, StepCounts()), after.get(name, StepCounts())
            for part in ("rows_in", "kept", "dropped", "failed"):
                setattr(total, part, getattr(total, part) + getattr(new, part) - getattr(old, part))
            self.seconds[name] += seconds.get(name, 0.0)
        self._seen[record.shard] = after
        self.now.done += 1
        first = next((after[name] for name in self.totals if name in seconds and name in after), None)
        self.now.rows += first.rows_in if first else record.rows

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The run is over."""


class PlainProgress(Progress):
    """Prints a line when a phase begins or ends, and every five seconds in between; no control codes."""

    def __init__(self, steps: Sequence[str], console: Console) -> None:
        super().__init__(steps)
        self._console = console
        self._said = 0.0

    def phase(self, title: str, shards: int, to_do: int) -> None:
        """Say what begins and how much of it is done already."""
        super().phase(title, shards, to_do)
        before = f", {shards - to_do} of them done before" if shards > to_do else ""
        self._print(
            f"{title}: {shards} shards{before}" if to_do else f"{title}: nothing left to do in its {shards} shards"
        )

    def shard(self, record: Record, seconds: Mapping[str, float]) -> None:
        """Say how far it is, from time to time and at the end."""
        super().shard(record, seconds)
        if self.now.done == self.now.to_do or time.monotonic() - self._said > PLAIN_EVERY_S:
            self._print(self.now.line(self.totals))

    def _print(self, text: str) -> None:
        self._said = time.monotonic()
        self._console.out(text, highlight=False)


class LiveProgress(Progress):
    """Keeps a table of the steps and a bar of the phase up to date at the bottom of the terminal."""

    def __init__(self, steps: Sequence[str], console: Console) -> None:
        from rich.live import Live

        super().__init__(steps)
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the table away; the summary follows."""
        self._live.stop()

    def phase(self, title: str, shards: int, to_do: int) -> None:
        """Leave a line about the phase that ended above the table."""
        if self.now.done:
            self._live.console.print(self.now.line(self.totals), highlight=False)
        super().phase(title, shards, to_do)

    def _table(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        counts = Table(box=None, pad_edge=False, header_style="dim")
        counts.add_column("step")
        for name in ("rows in", "kept", "dropped", "failed", "rows/s"):
            counts.add_column(name, justify="right")
        for name, c in self.totals.items():
            spent = self.seconds[name]
            numbers = [f"{n:,}" for n in (c.rows_in, c.kept, c.dropped, c.failed)]
            counts.add_row(name, *numbers, f"{c.rows_in / spent:,.0f}" if spent else "")
        now = self.now
        left = now.remaining_s
        state = Table.grid(padding=(0, 2))
        state.add_row(
            ProgressBar(total=max(now.shards, 1), completed=now.shards - now.to_do + now.done, width=30),
            f"{now.shards - now.to_do + now.done}/{now.shards} shards",
            f"{now.rows_per_s:,.0f} rows/s" if now.rows else "",
            f"ETA {clock(left)}" if left is not None else "",
        )
        whole = Table.grid()
        for part in (counts, now.title, state):
            whole.add_row(part)
        return whole


def make_progress(steps: Sequence[str], plain: bool) -> Progress:
    """Return the display that suits standard error."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    return PlainProgress(steps, console) if plain or not console.is_terminal else LiveProgress(steps, console)


def clock(seconds: float) -> str:
    """Return a duration as 0:42, 3:07 or 1:02:03."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
