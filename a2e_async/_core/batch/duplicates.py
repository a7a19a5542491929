"""Detects duplicate jobs and files of a batch, in constant memory."""

import hashlib
import sqlite3
from typing import Final

from a2e_async.errors import JournalError

_CREATE_TABLE: Final = "CREATE TABLE seen (mark INTEGER PRIMARY KEY, value)"
_COUNT_OCCURRENCE: Final = (
    "INSERT INTO seen VALUES (?, 1) ON CONFLICT (mark) DO UPDATE SET value = value + 1"
)


class DuplicateStore:
    """Counts of keys and their first values, in a temporary SQLite database.

    A batch may have millions of jobs: beyond SQLite's page cache the data is on disk.

    Created for one pass over a batch's jobs, which alone writes it and closes it.
    """

    def __init__(self) -> None:
        self._connection: sqlite3.Connection | None = None

    @property
    def _open_connection(self) -> sqlite3.Connection:
        """The connection, opened on first use: a batch that is never iterated opens no file."""
        if self._connection is None:
            # SQLite stores a database without a name in a temporary file and deletes it on close.
            self._connection = sqlite3.connect("", isolation_level=None)
            self._connection.execute(
                "PRAGMA journal_mode = OFF"
            )  # nothing to recover after a crash
            self._connection.execute(_CREATE_TABLE)
        return self._connection

    def count_occurrence(self, *words: str) -> int:
        """Count an occurrence; return the count so far, including this one.

        Raises `JournalError` if the disk is full.
        """
        row_id = _row_id(words)
        try:
            self._open_connection.execute(_COUNT_OCCURRENCE, (row_id,))
            return int(self._read_value(row_id))
        except sqlite3.Error as error:
            raise _storage_full_error(error) from error

    def first_value(self, value: str, *words: str) -> str:
        """Return the first value stored for a key; ``value`` is stored if there is none."""
        row_id = _row_id(words)
        try:
            self._open_connection.execute(
                "INSERT INTO seen VALUES (?, ?) ON CONFLICT DO NOTHING", (row_id, value)
            )
            return str(self._read_value(row_id))
        except sqlite3.Error as error:
            raise _storage_full_error(error) from error

    def close(self) -> None:
        """Close and delete the database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read_value(self, row_id: int) -> str | int:
        query = "SELECT value FROM seen WHERE mark = ?"
        found: str | int = self._open_connection.execute(query, (row_id,)).fetchone()[0]
        return found


def _row_id(key_parts: tuple[str, ...]) -> int:
    # 64 bits fit an integer key; a collision among a million keys has a chance of 3e-8.
    digest = hashlib.sha256("\0".join(key_parts).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _storage_full_error(error: sqlite3.Error) -> JournalError:
    return JournalError(
        f"The batch cannot store which jobs it has started: {error}. Check whether the disk for "
        "temporary files is full. No further job was started."
    )
