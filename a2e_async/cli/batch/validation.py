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
    check_media,
    is_url,
)
from a2e_async._core.tasks.kind import TaskKind
from a2e_async._core.typeguards import is_list
from a2e_async.cli.batch.csv_cells import is_plain
from a2e_async.cli.batch.job_file import Comment, JobFile, JobLine, LineError, read_rows
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
    comment_count: int = 0
    not_utf8_count: int = 0
    """Lines that are not UTF-8 text; all of them count as one error."""

    @property
    def job_count(self) -> int:
        """The number of jobs in the file."""
        return self.kinds.total()

    def add(self, error: LineError) -> None:
        """Count an error, and keep it if it is one of the first."""
        self.not_utf8_count += error.not_utf8
        if error.not_utf8 and self.not_utf8_count > 1:
            return
        self.error_count += 1
        if len(self.errors) < MAX_PRINTED_ERRORS:
            self.errors.append(error)


async def check_all(file: JobFile, show: Callable[[str], None]) -> ValidationResult:
    """Check every line: kind, inputs, local files and repeated keys.

    Raises OSError if the file cannot be read.
    """
    result = ValidationResult()
    with closing(_checked_rows(file)) as rows:
        for count, (row, _, errors) in enumerate(rows, 1):
            result.comment_count += isinstance(row, Comment)
            if isinstance(row, JobLine):
                result.kinds[row.kind] += 1
            for error in errors:
                result.add(error)
            if count % LINES_PER_STEP == 0:
                show(f"checking {file.label}: {count} jobs")
                await asyncio.sleep(0)
    if not result.job_count and not result.error_count:
        result.add(LineError(1, "the file has no jobs."))
    return result


def read_jobs(file: JobFile, on_error: Callable[[LineError], None]) -> Generator[LineJob]:
    """Yield the jobs of a file; ``on_error`` gets each error of a line that changed since."""
    with closing(_checked_rows(file)) as rows:
        for _, job, errors in rows:
            for error in errors:
                on_error(error)
            if job is not None and not errors:
                yield job


@frozen
class CheckedFile:
    """The ``job_count`` jobs of a validated file; each iteration reads and checks it again.

    Rows that were appended meanwhile are jobs, too.
    """

    file: JobFile
    job_count: int
    on_error: Callable[[LineError], None]

    def __len__(self) -> int:
        """Return the number of jobs."""
        return self.job_count

    def __iter__(self) -> Generator[LineJob]:
        """Yield the jobs, like `read_jobs`."""
        return read_jobs(self.file, self.on_error)


def _checked_rows(
    file: JobFile,
) -> Generator[tuple[JobLine | LineError | Comment, LineJob | None, list[LineError]]]:
    """Yield each row with its job, if it is one, and its errors.

    Keys are kept in a temporary file, so that memory does not grow with the batch file.
    """
    # SQLite deletes a database without a name when it is closed.
    with closing(sqlite3.connect("")) as keys, closing(read_rows(file)) as rows:
        keys.execute("CREATE TABLE keys (key TEXT PRIMARY KEY, line INTEGER) WITHOUT ROWID")
        for row in rows:
            if isinstance(row, JobLine):
                job, errors = _check_row(row, file.base, keys)
                yield row, job, errors
            else:
                yield row, None, [row] if isinstance(row, LineError) else []


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


def _check_row(
    row: JobLine, base: Path, keys: sqlite3.Connection
) -> tuple[LineJob | None, list[LineError]]:
    """Return a line's job, None if it cannot be built, and all errors of the line."""
    kind, errors = kind_named(row.kind), list(row.errors)
    inputs = {name: value for name, value in row.inputs.items() if value is not None}
    for name in _media_inputs(kind) & inputs.keys():
        value = inputs[name]
        inputs[name] = (
            [_resolve_path(item, base) for item in value]
            if is_list(value)
            else _resolve_path(value, base)
        )
    unread = _fields_of(errors)
    found = [
        error
        for error in kind.input_errors(inputs)
        if error.field not in unread and "input" not in unread
    ]
    job = None
    if not found and not errors:
        job = LineJob(kind, kind.build_input(inputs), row.number)
    errors += [LineError.of(row.number, error) for error in found]
    for f in kind.inputs:
        if f.media is None or f.name in _fields_of(errors) or f.name not in inputs:
            continue
        value = inputs[f.name]
        for item in value if is_list(value) else [value]:
            if isinstance(item, str) and not is_url(item):
                file_error = _file_error(item, f.media.types, f.name)
                errors += [LineError.of(row.number, file_error)] if file_error else []
    key = inputs.get("key")
    if "key" in _fields_of(errors) or not isinstance(key, str) or not key.strip():
        return job, errors
    try:
        check_key(key)
        keys.execute("INSERT INTO keys VALUES (?, ?)", (key, row.number))
    except InvalidInput as error:
        errors.append(LineError.of(row.number, error))
    except sqlite3.IntegrityError:
        (line,) = keys.execute("SELECT line FROM keys WHERE key = ?", (key,)).fetchone()
        errors.append(
            LineError(row.number, f"{key!r:.60} is already the key of line {line}.", "key")
        )
    return job, errors


def _fields_of(errors: list[LineError]) -> set[str | None]:
    return {error.field for error in errors}


def _resolve_path(value: Any, base: Path) -> Any:
    """Return a media input with its local path relative to ``base``."""
    try:
        check_media("", value)
    except InvalidInput:
        return value  # reported with the other inputs
    return value if is_url(value) else str(base / local_path(value, ""))


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
