"""Detects duplicate jobs and files of a batch, in constant memory."""

import hashlib
import sqlite3
from typing import Final

from a2e_async.errors import JournalError

_TABLE: Final = "CREATE TABLE seen (mark INTEGER PRIMARY KEY, value)"
_COUNT: Final = "INSERT INTO seen VALUES (?, 1) ON CONFLICT (mark) DO UPDATE SET value = value + 1"


class Seen:
    """Counts of keys and their first values, in a temporary SQLite database.

    A batch may have millions of jobs: beyond SQLite's page cache the data is on disk.
    """

    def __init__(self) -> None:
        self._opened: sqlite3.Connection | None = None

    @property
    def _db(self) -> sqlite3.Connection:
        """The connection, opened on first use: a batch that is never iterated opens no file."""
        if self._opened is None:
            # SQLite stores a database without a name in a temporary file and deletes it on close.
            self._opened = sqlite3.connect("", isolation_level=None)
            self._opened.execute("PRAGMA journal_mode = OFF")  # nothing to recover after a crash
            self._opened.execute(_TABLE)
        return self._opened

    def count(self, *words: str) -> int:
        """Count an occurrence; return the count so far, including this one.

        Raises `JournalError` if the disk is full.
        """
        row_id = _mark(words)
        try:
            self._db.execute(_COUNT, (row_id,))
            return int(self._value(row_id))
        except sqlite3.Error as error:
            raise _full(error) from error

    def first(self, value: str, *words: str) -> str:
        """Return the first value stored for a key; ``value`` is stored if there is none."""
        row_id = _mark(words)
        try:
            self._db.execute(
                "INSERT INTO seen VALUES (?, ?) ON CONFLICT DO NOTHING", (row_id, value)
            )
            return str(self._value(row_id))
        except sqlite3.Error as error:
            raise _full(error) from error

    def close(self) -> None:
        """Close and delete the database."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _value(self, mark: int) -> str | int:
        query = "SELECT value FROM seen WHERE mark = ?"
        found: str | int = self._db.execute(query, (mark,)).fetchone()[0]
        return found


def _mark(words: tuple[str, ...]) -> int:
    # 64 bits fit an integer key; a collision among a million keys has a chance of 3e-8.
    digest = hashlib.sha256("\0".join(words).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _full(error: sqlite3.Error) -> JournalError:
    return JournalError(
        f"The batch cannot store which jobs it has started: {error}. Check whether the disk for "
        "temporary files is full. No further job was started."
    )
