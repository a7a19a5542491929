"""Opens a journal's SQLite file: makes it, checks that it is one, brings its tables up to date."""

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
"""Seconds to wait for another process's transaction; well below a lease."""

_TURN: Final = 0.02
"""Seconds that SQLite itself waits for a lock. Its pauses grow to 100 ms, in which a busy process
takes the lock again and again; asking anew in short rounds gives every process its turn."""

_WAL_KEPT: Final = 16 * 2**20
"""Bytes of the write-ahead log that stay on disk after a long reader let it grow."""

_making = threading.Lock()
"""Held while a file is made and first opened: closing a second handle of a file would drop the
locks that another journal of this process has on it."""

if hasattr(os, "register_at_fork"):

    def _renew() -> None:
        global _making  # whoever held it in the parent does not live here
        _making = threading.Lock()

    os.register_at_fork(after_in_child=_renew)


def checked(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a journal; raise `JournalError` for what cannot be one.

    Raises `ConfigurationError` for the address of a database.
    """
    text = file_path(os.fsdecode(path))
    if not text or text == ":memory:" or text.startswith("file:"):
        raise JournalError("A journal must be a file on this machine. Give its path.")
    where = Path(text).absolute()
    if where.is_dir():
        raise unusable(where, "it is a directory", "Give the path of a file.")
    if not where.parent.is_dir():
        raise unusable(where, "its directory does not exist", "Make the directory first.")
    return where


def connect(path: Path) -> sqlite3.Connection:
    """Open the file, make it if needed (mode 0600), and bring its tables up to date.

    Raises `JournalError`, `sqlite3.Error` or `OSError`; a file that is no journal is left alone.
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
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    return db


def patiently(attempt: Callable[[], T]) -> T:
    """Return what ``attempt`` returns, trying for `BUSY` seconds while the file is locked."""
    deadline = time.monotonic() + BUSY
    while True:
        try:
            return attempt()
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise


def explain(path: Path, error: Exception) -> JournalError:
    """Return what a failure means to a user and what to do about it."""
    if isinstance(error, JournalError):
        return error
    code = _code(error)
    if code == sqlite3.SQLITE_BUSY:
        why = f"another process has held it locked for {BUSY:.0f} s"
        return unusable(path, why, "End that process or its transaction.")
    if code == sqlite3.SQLITE_FULL:
        return unusable(path, "the disk is full", "Make room and try again.")
    if code == sqlite3.SQLITE_IOERR:
        return unusable(path, f"the disk refused it ({error})", "Check the disk and its quota.")
    if code == sqlite3.SQLITE_NOTADB:
        return unusable(path, "it is no journal", "Give another path.")
    if code == sqlite3.SQLITE_CORRUPT:
        return unusable(path, "it is damaged", "Keep a copy of it, then restore a sound one.")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN) or isinstance(error, OSError):
        why = f"it cannot be opened and written ({error})"
        return unusable(path, why, "Check the rights of the file and of its directory.")
    return unusable(path, f"{type(error).__name__}: {error}", "Nothing more is started.")


def unusable(path: Path, why: str, advice: str) -> JournalError:
    """Return the error that says why a journal cannot be used and what helps."""
    return JournalError(f"The journal {path.name} cannot be used: {why}. {advice}")


def whereabouts(real: str) -> tuple[tuple[tuple[int, int], ...], int]:
    """Return what tells the three files of a database from any others, and the log's bytes.

    ``real`` is its path without links. Raises `FileNotFoundError` when one is gone.
    """
    stats = [os.stat(real + suffix) for suffix in ("", "-wal", "-shm")]  # noqa: PTH116  # half the time of a Path's, in each group
    return tuple((stat.st_dev, stat.st_ino) for stat in stats), stats[1].st_size


def version_of(db: sqlite3.Connection) -> int:
    """Return the version of the tables."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


def too_new(path: Path, version: int) -> JournalError:
    """Return the error of a file that a later package wrote."""
    why = f"it is of version {version}, this package knows up to {journal_rows.VERSION}"
    return unusable(path, why, "Update a2e-async.")


def _make(path: Path) -> bool:
    try:
        # Made here, so that nobody else can read it from the beginning on; SQLite gives its other
        # files the same mode.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return False
    return True


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    # Nothing is written, not even the mode of the log, before it is known to be a journal.
    _check(db, path)
    (mode,) = patiently(lambda: db.execute("PRAGMA journal_mode = WAL").fetchone())
    if mode != "wal":
        advice = "Put the journal on a disk of this machine."
        raise unusable(path, "its file system has no shared memory", advice)
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA fullfsync = ON")  # elsewhere than on macOS a sync is one already
    db.execute("PRAGMA checkpoint_fullfsync = ON")
    db.execute("PRAGMA wal_autocheckpoint = 0")  # the store does it, see `Store.checkpoint`
    db.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT}")
    if version_of(db) < journal_rows.VERSION:
        _migrate(db, path)


def _check(db: sqlite3.Connection, path: Path) -> None:
    """Raise `JournalError` unless it is empty or a journal of a known version."""

    def read() -> tuple[int, int, int]:
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = db.execute("PRAGMA application_id").fetchone()
        return int(tables), int(application), version_of(db)

    tables, application, version = patiently(read)
    if not tables and not application and not version:
        return
    if application != journal_rows.APPLICATION:
        raise unusable(path, "it is a database of something else", "Give another path.")
    if version > journal_rows.VERSION:
        raise too_new(path, version)


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    patiently(lambda: db.execute("BEGIN IMMEDIATE"))
    try:
        _check(db, path)  # another process may have been faster
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
    """Return SQLite's primary code of an error, 0 when it has none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
