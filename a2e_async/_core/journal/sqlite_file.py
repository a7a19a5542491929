"""Opens the SQLite file of a journal: creates, checks and migrates it."""

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from a2e_async._core.journal import rows
from a2e_async._core.journal.address import require_file_path
from a2e_async._core.paths import expand_home
from a2e_async.errors import JournalError

T = TypeVar("T")

LOCK_TIMEOUT: Final = 10.0
"""Seconds to wait for another process's transaction; well below the duration of a lease."""

_LOCK_ROUND_TIMEOUT: Final = 0.02
"""Seconds that SQLite itself waits for a lock.

SQLite's pauses between tries grow to 100 ms, during which a busy process can take the lock again
and again. Many short rounds give every process a chance.
"""

_MAX_WAL_SIZE: Final = 16 * 2**20
"""Maximum size (bytes) of the write-ahead log after a checkpoint; a long reader lets it grow."""

_creation_lock = threading.Lock()
"""Held while a file is created and opened.

POSIX drops all of a process's locks on a file when any handle of it is closed. Closing the handle
that created the file could therefore release the locks of another journal in this process.
"""

if hasattr(os, "register_at_fork"):

    def _renew() -> None:
        global _creation_lock  # it may be held by a thread that does not exist in the child
        _creation_lock = threading.Lock()

    os.register_at_fork(after_in_child=_renew)


def check_journal_path(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a journal file.

    Raises `JournalError` if it cannot be one, `ConfigurationError` for a database address.
    """
    text = require_file_path(os.fsdecode(path))
    if not text or text == ":memory:" or text.startswith("file:"):
        raise JournalError("The journal must be a file on this machine. Give the path of a file.")
    where = Path(expand_home(text)).absolute()
    try:
        exists, is_directory, is_file = where.exists(), where.is_dir(), where.is_file()
    except OSError as error:  # a name that is too long, or a directory that must not be read
        reason = error.strerror or str(error)
        raise unusable_journal_error(where, reason, "Give another path.") from error
    if is_directory:
        raise unusable_journal_error(where, "it is a directory", "Give the path of a file.")
    if exists and not is_file:
        raise unusable_journal_error(where, "it is not a regular file", "Give another path.")
    if not where.parent.is_dir():
        raise unusable_journal_error(
            where, "its directory does not exist", "Create the directory first."
        )
    return where


def open_database(path: Path) -> sqlite3.Connection:
    """Open the file, create it if necessary (mode 0600), and migrate its tables.

    Raises `JournalError`, `sqlite3.Error` or `OSError`. A file that is not a journal is not
    changed.
    """
    with _creation_lock:
        made = _create_file(path)
        db = sqlite3.connect(path, timeout=_LOCK_ROUND_TIMEOUT, isolation_level=None)
        try:
            _configure(db, path)
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


def retry_while_locked(attempt: Callable[[], T]) -> T:
    """Call ``attempt`` and return its result; retry for `LOCK_TIMEOUT` while the file is locked."""
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            return attempt()
        except sqlite3.OperationalError as error:
            if _primary_error_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise


def journal_error_from(path: Path, error: Exception) -> JournalError:
    """Return a failure as a `JournalError` that tells the user what to do."""
    if isinstance(error, JournalError):
        return error
    code = _primary_error_code(error)
    if code == sqlite3.SQLITE_BUSY:
        reason = f"another process has held it locked for {LOCK_TIMEOUT:.0f} s"
        return unusable_journal_error(path, reason, "End that process or its transaction.")
    if code == sqlite3.SQLITE_FULL:
        return unusable_journal_error(path, "the disk is full", "Free some space and try again.")
    if code == sqlite3.SQLITE_IOERR:
        return unusable_journal_error(
            path, f"the disk failed ({error})", "Check the disk and its quota."
        )
    if code == sqlite3.SQLITE_NOTADB:
        return unusable_journal_error(path, "it is not a journal", "Give another path.")
    if code == sqlite3.SQLITE_CORRUPT:
        return unusable_journal_error(
            path, "it is corrupt", "Keep a copy of it and restore a backup."
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN) or isinstance(error, OSError):
        why = error.strerror if isinstance(error, OSError) else error
        reason = f"it cannot be opened for writing ({why})"
        return unusable_journal_error(
            path, reason, "Check the permissions of the file and of its directory."
        )
    return unusable_journal_error(
        path, f"{type(error).__name__}: {error}", "No further start is made."
    )


def unusable_journal_error(path: Path, reason: str, advice: str) -> JournalError:
    """Return the error for a journal that cannot be used, with the reason and an advice."""
    return JournalError(f"The journal {path.name} cannot be used: {reason}. {advice}")


def file_identities(real_path: str) -> tuple[tuple[tuple[int, int], ...], int]:
    """Return device and inode of a database's three files, and the size of its log (bytes).

    ``real_path`` is the path of the database without links. Raises `FileNotFoundError` if one of
    the files is gone.
    """
    stats = [os.stat(real_path + suffix) for suffix in ("", "-wal", "-shm")]  # noqa: PTH116  # half the time of a Path's, in each group
    return tuple((stat.st_dev, stat.st_ino) for stat in stats), stats[1].st_size


def schema_version(db: sqlite3.Connection) -> int:
    """Return the version of the file's tables."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


def too_new_error(path: Path, version: int) -> JournalError:
    """Return the error for a file that a later version of this package has written."""
    reason = f"it has version {version}, but this package only supports up to {rows.SCHEMA_VERSION}"
    return unusable_journal_error(path, reason, "Update a2e-async.")


def _create_file(path: Path) -> bool:
    try:
        # Created here and not by SQLite, so that no other user can ever read it. SQLite creates
        # the log files with the same mode.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return False
    return True


def _configure(db: sqlite3.Connection, path: Path) -> None:
    # Check first: nothing may be written to a file that is not a journal, not even the log mode.
    _check_is_journal(db, path)
    (mode,) = retry_while_locked(lambda: db.execute("PRAGMA journal_mode = WAL").fetchone())
    if mode != "wal":
        advice = "Put the journal on a local disk of this machine."
        raise unusable_journal_error(path, "its file system has no shared memory", advice)
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA fullfsync = ON")  # for macOS, where fsync does not flush the disk's cache
    db.execute("PRAGMA checkpoint_fullfsync = ON")
    db.execute("PRAGMA wal_autocheckpoint = 0")  # see `SqliteStore._checkpoint`
    db.execute(f"PRAGMA journal_size_limit = {_MAX_WAL_SIZE}")
    if schema_version(db) < rows.SCHEMA_VERSION:
        _migrate(db, path)


def _check_is_journal(db: sqlite3.Connection, path: Path) -> None:
    """Raise `JournalError` unless the file is empty or a journal of a supported version."""

    def read() -> tuple[int, int, int]:
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = db.execute("PRAGMA application_id").fetchone()
        return int(tables), int(application), schema_version(db)

    tables, application, version = retry_while_locked(read)
    if not tables and not application and not version:
        return
    if application != rows.APPLICATION_ID:
        raise unusable_journal_error(
            path, "it is another application's database", "Give another path."
        )
    if version > rows.SCHEMA_VERSION:
        raise too_new_error(path, version)


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    retry_while_locked(lambda: db.execute("BEGIN IMMEDIATE"))
    try:
        _check_is_journal(db, path)  # again, with the lock: another process may have migrated it
        for migration in rows.MIGRATIONS[schema_version(db) :]:
            for statement in migration:
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {rows.APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {rows.SCHEMA_VERSION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _primary_error_code(error: Exception) -> int:
    """Return SQLite's primary error code, 0 for an error without one."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
