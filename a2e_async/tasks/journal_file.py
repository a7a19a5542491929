"""Opens the SQLite file of a journal: creates, checks and migrates it."""

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from a2e_async.errors import JournalError
from a2e_async.tasks import journal_rows
from a2e_async.tasks.journal_address import file_path

T = TypeVar("T")

BUSY: Final = 10.0
"""Seconds to wait for another process's transaction; well below the duration of a lease."""

_TURN: Final = 0.02
"""Seconds that SQLite itself waits for a lock.

SQLite's pauses between tries grow to 100 ms, during which a busy process can take the lock again
and again. Many short rounds give every process a chance.
"""

_WAL_KEPT: Final = 16 * 2**20
"""Maximum size (bytes) of the write-ahead log after a checkpoint; a long reader lets it grow."""

_making = threading.Lock()
"""Held while a file is created and opened.

POSIX drops all of a process's locks on a file when any handle of it is closed. Closing the handle
that created the file could therefore release the locks of another journal in this process.
"""

if hasattr(os, "register_at_fork"):

    def _renew() -> None:
        global _making  # it may be held by a thread that does not exist in the child
        _making = threading.Lock()

    os.register_at_fork(after_in_child=_renew)


def checked(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a journal file.

    Raises `JournalError` if it cannot be one, `ConfigurationError` for a database address.
    """
    text = file_path(os.fsdecode(path))
    if not text or text == ":memory:" or text.startswith("file:"):
        raise JournalError("The journal must be a file on this machine. Give the path of a file.")
    where = Path(text).absolute()
    if where.is_dir():
        raise unusable(where, "it is a directory", "Give the path of a file.")
    if not where.parent.is_dir():
        raise unusable(where, "its directory does not exist", "Create the directory first.")
    return where


def connect(path: Path) -> sqlite3.Connection:
    """Open the file, create it if necessary (mode 0600), and migrate its tables.

    Raises `JournalError`, `sqlite3.Error` or `OSError`. A file that is not a journal is not
    changed.
    """
    with _making:
        made = _make(path)
        db = sqlite3.connect(path, timeout=_TURN, isolation_level=None)
        try:
            _prepare(db, path)
        except BaseException:
            db.close()
            raise
    if made and os.name == "posix":
        # Without syncing the directory, a new file can disappear in a power failure.
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    return db


def patiently(attempt: Callable[[], T]) -> T:
    """Call ``attempt`` and return its result; retry for `LOCK_TIMEOUT` while the file is locked."""
    deadline = time.monotonic() + BUSY
    while True:
        try:
            return attempt()
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise


def explain(path: Path, error: Exception) -> JournalError:
    """Return a failure as a `JournalError` that tells the user what to do."""
    if isinstance(error, JournalError):
        return error
    code = _code(error)
    if code == sqlite3.SQLITE_BUSY:
        why = f"another process has held it locked for {BUSY:.0f} s"
        return unusable(path, why, "End that process or its transaction.")
    if code == sqlite3.SQLITE_FULL:
        return unusable(path, "the disk is full", "Free some space and try again.")
    if code == sqlite3.SQLITE_IOERR:
        return unusable(path, f"the disk failed ({error})", "Check the disk and its quota.")
    if code == sqlite3.SQLITE_NOTADB:
        return unusable(path, "it is not a journal", "Give another path.")
    if code == sqlite3.SQLITE_CORRUPT:
        return unusable(path, "it is corrupt", "Keep a copy of it and restore a backup.")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN) or isinstance(error, OSError):
        why = f"it cannot be opened for writing ({error})"
        return unusable(path, why, "Check the permissions of the file and of its directory.")
    return unusable(path, f"{type(error).__name__}: {error}", "No further start is made.")


def unusable(path: Path, why: str, advice: str) -> JournalError:
    """Return the error for a journal that cannot be used, with the reason and an advice."""
    return JournalError(f"The journal {path.name} cannot be used: {why}. {advice}")


def whereabouts(real: str) -> tuple[tuple[tuple[int, int], ...], int]:
    """Return device and inode of a database's three files, and the size of its log (bytes).

    ``real_path`` is the path of the database without links. Raises `FileNotFoundError` if one of
    the files is gone.
    """
    stats = [os.stat(real + suffix) for suffix in ("", "-wal", "-shm")]  # noqa: PTH116  # half the time of a Path's, in each group
    return tuple((stat.st_dev, stat.st_ino) for stat in stats), stats[1].st_size


def version_of(db: sqlite3.Connection) -> int:
    """Return the version of the file's tables."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


def too_new(path: Path, version: int) -> JournalError:
    """Return the error for a file that a later version of this package has written."""
    why = f"it has version {version}, but this package only supports up to {journal_rows.VERSION}"
    return unusable(path, why, "Update a2e-async.")


def _make(path: Path) -> bool:
    try:
        # Created here and not by SQLite, so that no other user can ever read it. SQLite creates
        # the log files with the same mode.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return False
    return True


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    # Check first: nothing may be written to a file that is not a journal, not even the log mode.
    _check(db, path)
    (mode,) = patiently(lambda: db.execute("PRAGMA journal_mode = WAL").fetchone())
    if mode != "wal":
        advice = "Put the journal on a local disk of this machine."
        raise unusable(path, "its file system has no shared memory", advice)
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA fullfsync = ON")  # for macOS, where fsync does not flush the disk's cache
    db.execute("PRAGMA checkpoint_fullfsync = ON")
    db.execute("PRAGMA wal_autocheckpoint = 0")  # see `SqliteStore._checkpoint`
    db.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT}")
    if version_of(db) < journal_rows.VERSION:
        _migrate(db, path)


def _check(db: sqlite3.Connection, path: Path) -> None:
    """Raise `JournalError` unless the file is empty or a journal of a supported version."""

    def read() -> tuple[int, int, int]:
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = db.execute("PRAGMA application_id").fetchone()
        return int(tables), int(application), version_of(db)

    tables, application, version = patiently(read)
    if not tables and not application and not version:
        return
    if application != journal_rows.APPLICATION:
        raise unusable(path, "it is another application's database", "Give another path.")
    if version > journal_rows.VERSION:
        raise too_new(path, version)


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    patiently(lambda: db.execute("BEGIN IMMEDIATE"))
    try:
        _check(db, path)  # again, with the lock: another process may have migrated it
        for migration in journal_rows.MIGRATIONS[version_of(db) :]:
            for statement in migration:
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {journal_rows.APPLICATION}")
        db.execute(f"PRAGMA user_version = {journal_rows.VERSION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _code(error: Exception) -> int:
    """Return SQLite's primary error code, 0 for an error without one."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
