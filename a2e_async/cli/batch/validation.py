"""Turns the lines of a batch file into jobs, and validates all of them before money is spent."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen

from a2e_async._core.paths import local_path
from a2e_async._core.schema.inputs import (
    AcceptedMedia,
    check_media,
    is_url,
)
from a2e_async._core.tasks.kind import TaskKind
from a2e_async._core.typeguards import is_list
from a2e_async.cli.batch.csv_cells import is_plain
from a2e_async.cli.batch.job_file import JobLine, LineError, read_rows
from a2e_async.cli.known_kinds import kind_named
from a2e_async.errors import InvalidInput
from a2e_async.kinds.jobs import Job

MAX_PRINTED_ERRORS: Final = 50
"""Errors that are printed one by one; further ones are counted."""

LINES_PER_STEP: Final = 100
"""Lines checked between two turns of the event loop, so that Ctrl-C is handled in time."""

RESERVED_KEY_PREFIXES: Final = ("auto:", "batch:")
"""Prefixes of the keys that the client generates."""


@frozen
class LineJob(Job[Any]):
    """A job and its line number in the file."""

    line: int


@define
class ValidationResult:
    """The jobs by kind, the first `MAX_PRINTED_ERRORS` errors, and the number of errors.

    Created and filled by the validation of one file; then only read.
    """

    kinds: Counter[str] = field(factory=Counter[str])
    errors: list[LineError] = field(factory=list[LineError])
    error_count: int = 0

    @property
    def job_count(self) -> int:
        """The number of jobs in the file."""
        return self.kinds.total()

    def add(self, error: LineError) -> None:
        """Count an error, and keep it if it is one of the first."""
        self.error_count += 1
        if len(self.errors) < MAX_PRINTED_ERRORS:
            self.errors.append(error)


async def check_all(path: Path, show: Callable[[str], None]) -> ValidationResult:
    """Check every line: kind, inputs, local files and repeated keys.

    Keys are kept in a temporary file, so that memory does not grow with the batch file. Raises
    OSError if the file cannot be read.
    """
    result, base = ValidationResult(), path.parent.absolute()
    # SQLite deletes a database without a name when it is closed.
    with closing(sqlite3.connect("")) as keys, closing(read_rows(path)) as rows:
        keys.execute("CREATE TABLE keys (key TEXT PRIMARY KEY, line INTEGER) WITHOUT ROWID")
        for count, row in enumerate(rows, 1):
            if isinstance(row, LineError):
                result.add(row)
            else:
                result.kinds[row.kind] += 1
                for error in _errors(row, base, keys):
                    result.add(error)
            if count % LINES_PER_STEP == 0:
                show(f"checking {path.name}: {count} jobs")
                await asyncio.sleep(0)
    return result


def read_jobs(path: Path) -> Generator[LineJob]:
    """Yield the jobs of a file that was validated before.

    Raises `InvalidInput` at an invalid line: the file was changed since.
    """
    base = path.parent.absolute()
    with closing(read_rows(path)) as rows:
        for row in rows:
            if isinstance(row, LineError):
                raise InvalidInput(
                    f"{row.text(str(path))} The file was changed since it was checked."
                )
            yield job_of(row, base)


@frozen
class CheckedFile:
    """The ``job_count`` jobs of a validated file; each iteration reads it again."""

    path: Path
    job_count: int

    def __len__(self) -> int:
        """Return the number of jobs."""
        return self.job_count

    def __iter__(self) -> Generator[LineJob]:
        """Yield the jobs, like `read_jobs`."""
        return read_jobs(self.path)


def job_of(row: JobLine, base: Path) -> LineJob:
    """Return a line's job; local paths are relative to ``base``. Raises `InvalidInput`."""
    kind = kind_named(row.kind)
    inputs = {name: value for name, value in row.inputs.items() if value is not None}
    for name in _media_inputs(kind) & inputs.keys():
        value = inputs[name]
        inputs[name] = (
            [_resolve_path(name, item, base) for item in value]
            if is_list(value)
            else _resolve_path(name, value, base)
        )
    built = kind.build_input(inputs)
    check_key(built.key)
    return LineJob(kind, built, row.number)


def check_key(key: str | None) -> None:
    """Raise `InvalidInput` for a key with a reserved prefix or with invisible characters.

    A key with an extra space or zero-width character would start, and charge for, the same job
    a second time.
    """
    if key is None or not key.strip():
        return  # blank keys are rejected with the other inputs
    if not is_plain(key):
        raise InvalidInput(
            "key must not begin or end with a space or contain invisible characters: "
            f"{ascii(key)[:60]}.",
            field="key",
        )
    if key.startswith(RESERVED_KEY_PREFIXES):
        raise InvalidInput(
            f"key must not begin with {' or '.join(RESERVED_KEY_PREFIXES)}: these prefixes are "
            "reserved.",
            field="key",
        )


def _errors(row: JobLine, base: Path, keys: sqlite3.Connection) -> Generator[LineError]:
    try:
        job = job_of(row, base)
    except InvalidInput as error:
        yield LineError.of(row.number, error)
        return
    for f, _, value in job.input.media():
        if isinstance(value, str) and not is_url(value):
            types: AcceptedMedia = f.find_metadata(AcceptedMedia)
            file_error = _file_error(value, types.types, f.name)
            if file_error is not None:
                yield LineError.of(row.number, file_error)
    if job.key is None:
        return
    try:
        keys.execute("INSERT INTO keys VALUES (?, ?)", (job.key, row.number))
    except sqlite3.IntegrityError:
        (line,) = keys.execute("SELECT line FROM keys WHERE key = ?", (job.key,)).fetchone()
        yield LineError(row.number, f"{job.key!r:.60} is already the key of line {line}.", "key")


def _resolve_path(name: str, value: Any, base: Path) -> Any:
    """Return a media input with its local path relative to ``base``. Raises `InvalidInput`."""
    check_media(name, value)
    return value if is_url(value) else str(base / local_path(value, name))


@lru_cache(maxsize=256)
def _media_inputs(kind: TaskKind[..., Any]) -> frozenset[str]:
    return frozenset(f.name for f in kind.inputs if f.media is not None)


@lru_cache(maxsize=4096)
def _file_error(path: str, types: tuple[Any, ...], name: str) -> InvalidInput | None:
    """Return the error of a local file, if any. Cached: many jobs often use the same file."""
    from a2e_async._core.files.local_file import MAX_UPLOAD_BYTES, check_local_file

    try:
        check_local_file(path, allowed=types, field=name, max_bytes=MAX_UPLOAD_BYTES)
    except InvalidInput as error:
        return error
    return None
