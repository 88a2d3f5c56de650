"""What models have answered, kept on disk: a question is paid for once, however often runs are killed and repeated.

One SQLite file in WAL mode, shared by the workers of a machine. It also holds what they must agree on: when the next
request may be sent, and how much money is spent or promised.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    question BLOB PRIMARY KEY, text TEXT, finish TEXT, model TEXT, input_tokens INT, output_tokens INT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spent (
    account TEXT PRIMARY KEY, requests INT, input_tokens INT, output_tokens INT, usd REAL, most_usd REAL
);
CREATE TABLE IF NOT EXISTS promised (
    account TEXT, question BLOB, usd REAL, until REAL, PRIMARY KEY (account, question)
);
CREATE TABLE IF NOT EXISTS limits (name TEXT PRIMARY KEY, next REAL);
"""
_AT_ONCE = 500
"""Questions looked up in one statement; SQLite allows 32,766 variables, and more than this is no faster."""


@dataclass(frozen=True)
class Answer:
    """What a model said, why it stopped (stop, length, refusal, content_filter), and what it counted."""

    text: str
    finish: str
    model: str
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Spending:
    """What an account has paid for so far."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0


def default_folder() -> Path:
    """Return the folder for answers where none is named: in the user's cache, by the XDG convention."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reinforced" / "answers"


class AnswerStore:
    """The file `answers.sqlite` in a folder; opened once in each worker."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "answers.sqlite"
        self._connection = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        # What is committed survives the death of this process; a power cut may cost the last answers, not the file.
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(_TABLES)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def find(self, questions: Sequence[bytes]) -> dict[bytes, Answer]:
        """Return the answers that are there, by question."""
        found: dict[bytes, Answer] = {}
        for start in range(0, len(questions), _AT_ONCE):
            part = questions[start : start + _AT_ONCE]
            marks = ",".join("?" * len(part))
            select = "SELECT question, text, finish, model, input_tokens, output_tokens FROM answers WHERE question IN"
            rows = self._connection.execute(f"{select} ({marks})", part)
            found.update((row[0], Answer(*row[1:])) for row in rows)
        return found

    def keep(self, account: str, answers: Iterable[tuple[bytes, Answer, float]]) -> None:
        """Store answers with their prices in US dollars, add them to the account, and end promises made for them."""
        with self._transaction() as connection:
            for question, answer, usd in answers:
                values = (answer.text, answer.finish, answer.model, answer.input_tokens, answer.output_tokens)
                connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)", (question, *values))
                self._pay(account, question, answer, usd)

    def _pay(self, account: str, question: bytes, answer: Answer, usd: float) -> None:
        self._connection.execute(
            "INSERT INTO spent VALUES (?1, 1, ?2, ?3, ?4, ?4) ON CONFLICT (account) DO UPDATE SET "
            "requests = requests + 1, input_tokens = input_tokens + ?2, output_tokens = output_tokens + ?3, "
            "usd = usd + ?4, most_usd = max(most_usd, ?4)",
            (account, answer.input_tokens, answer.output_tokens, usd),
        )
        self._connection.execute("DELETE FROM promised WHERE account = ? AND question = ?", (account, question))

    def spending(self, account: str) -> Spending:
        """Return what an account has paid for."""
        columns = "requests, input_tokens, output_tokens, usd"
        row = self._connection.execute(f"SELECT {columns} FROM spent WHERE account = ?", (account,)).fetchone()
        return Spending(*row) if row else Spending()

    def promise(self, account: str, question: bytes, usd: float, budget_usd: float, seconds: float) -> bool | None:
        """Set money aside for a question before it is sent, for so long at most; exact over all workers.

        A question is taken to cost no less than the dearest answer so far.
        Returns: True if it is set aside; None if what others have set aside must be settled first; False if the
        budget is spent.
        """
        now = time.time()
        with self._transaction() as connection:
            connection.execute("DELETE FROM promised WHERE until < ?", (now,))
            paid = connection.execute("SELECT usd, most_usd FROM spent WHERE account = ?", (account,)).fetchone()
            aside = connection.execute("SELECT total(usd) FROM promised WHERE account = ?", (account,)).fetchone()[0]
            spent, most = paid or (0.0, 0.0)
            usd = max(usd, most)
            if spent + usd > budget_usd:
                return False
            if spent + aside + usd > budget_usd:
                return None
            connection.execute(
                "INSERT OR REPLACE INTO promised VALUES (?, ?, ?, ?)", (account, question, usd, now + seconds)
            )
            return True

    def release(self, account: str, question: bytes) -> None:
        """End the promise of a question that got no answer."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM promised WHERE account = ? AND question = ?", (account, question))

    def next_turn(self, name: str, amount: float, per_minute: float) -> float:
        """Return the seconds to wait until `amount` may be used of what is limited to so much a minute.

        Turns are spaced evenly, one after the other over all workers, so no minute holds more than the limit; the turn
        is taken by asking. A negative amount gives back what was asked for too much.
        """
        with self._transaction() as connection:
            row = connection.execute("SELECT next FROM limits WHERE name = ?", (name,)).fetchone()
            now = time.time()
            turn = max(row[0] if row else now, now)
            after = turn + amount * 60 / per_minute
            connection.execute("INSERT OR REPLACE INTO limits VALUES (?, ?)", (name, after))
        return turn - now
