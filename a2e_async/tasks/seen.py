"""What a batch has met so far, in memory that does not grow with it."""

import hashlib
import sqlite3
from typing import Final

from a2e_async.errors import JournalError

_TABLE: Final = "CREATE TABLE seen (mark INTEGER PRIMARY KEY, value)"
_COUNT: Final = "INSERT INTO seen VALUES (?, 1) ON CONFLICT (mark) DO UPDATE SET value = value + 1"


class Seen:
    """Marks of a million jobs: beyond a small cache they are on disk, in a file without a name."""

    def __init__(self) -> None:
        self._opened: sqlite3.Connection | None = None

    @property
    def _db(self) -> sqlite3.Connection:
        """Opened on first use: what is made and never iterated has nothing to close."""
        if self._opened is None:
            # A database without a name is a file of its own that vanishes when it is closed.
            self._opened = sqlite3.connect("", isolation_level=None)
            self._opened.execute("PRAGMA journal_mode = OFF")
            self._opened.execute(_TABLE)
        return self._opened

    def count(self, *words: str) -> int:
        """Return how often this was met, now included. Raises `JournalError` on a full disk."""
        mark = _mark(words)
        try:
            self._db.execute(_COUNT, (mark,))
            return int(self._value(mark))
        except sqlite3.Error as error:
            raise _full(error) from error

    def first(self, value: str, *words: str) -> str:
        """Return the value that stood here first: ``value``, unless one was there before."""
        mark = _mark(words)
        try:
            self._db.execute("INSERT INTO seen VALUES (?, ?) ON CONFLICT DO NOTHING", (mark, value))
            return str(self._value(mark))
        except sqlite3.Error as error:
            raise _full(error) from error

    def close(self) -> None:
        """Forget everything."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _value(self, mark: int) -> str | int:
        query = "SELECT value FROM seen WHERE mark = ?"
        found: str | int = self._db.execute(query, (mark,)).fetchone()[0]
        return found


def _mark(words: tuple[str, ...]) -> int:
    digest = hashlib.sha256("\0".join(words).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _full(error: sqlite3.Error) -> JournalError:
    return JournalError(
        f"The batch can no longer note which jobs it has met: {error}. Is the disk for temporary "
        "files full? Nothing more was started."
    )
