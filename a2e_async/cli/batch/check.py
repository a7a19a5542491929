"""From the lines of a batch file to jobs, and the pass over all of them before money is spent."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen

from a2e_async.cli.batch.cells import is_plain
from a2e_async.cli.batch.rows import Row, Wrong, read_rows
from a2e_async.errors import InvalidInput
from a2e_async.inputs import Media, build_input, check_media, input_fields, is_url
from a2e_async.narrow import is_list
from a2e_async.resources.files import MAX_UPLOAD
from a2e_async.resources.registry import kind_named
from a2e_async.tasks.kind import Job

SHOWN: Final = 50
"""Problems that are told one by one; the rest are counted."""

AT_ONCE: Final = 100
"""Lines looked at between two chances for Ctrl-C to be heard."""

OWN_KEYS: Final = ("auto:", "batch:")
"""How keys begin that the client makes."""


@frozen
class LineJob(Job[Any]):
    """A job and the line that it stands on."""

    line: int


@define
class Found:
    """What the pass found: jobs by kind, the first `SHOWN` problems, and how many there are."""

    kinds: Counter[str] = field(factory=Counter[str])
    wrong: list[Wrong] = field(factory=list[Wrong])
    count: int = 0

    @property
    def jobs(self) -> int:
        """How many jobs the file has."""
        return self.kinds.total()

    def add(self, wrong: Wrong) -> None:
        """Count a problem, and keep it if it is one of the first."""
        self.count += 1
        if len(self.wrong) < SHOWN:
            self.wrong.append(wrong)


async def check_all(path: Path, say: Callable[[str], None]) -> Found:
    """Look at every line: kind, inputs, local files, keys that are there twice.

    What is kept of the lines is on disk: the memory it takes does not grow with the file.
    Raises OSError when the file cannot be read.
    """
    found, base = Found(), path.parent.absolute()
    # A database without a name is a file of its own that vanishes when it is closed.
    with closing(sqlite3.connect("")) as keys, closing(read_rows(path)) as rows:
        keys.execute("CREATE TABLE keys (key TEXT PRIMARY KEY, line INTEGER) WITHOUT ROWID")
        for place, row in enumerate(rows, 1):
            if isinstance(row, Wrong):
                found.add(row)
            else:
                found.kinds[row.kind] += 1
                for wrong in _problems(row, base, keys):
                    found.add(wrong)
            if place % AT_ONCE == 0:
                say(f"checking {path.name}: {place} jobs")
                await asyncio.sleep(0)
    return found


def read_jobs(path: Path) -> Generator[LineJob]:
    """Yield the jobs of a file that was checked before.

    Raises `InvalidInput` at a line that is no job, as when the file was changed since.
    """
    base = path.parent.absolute()
    with closing(read_rows(path)) as rows:
        for row in rows:
            if isinstance(row, Wrong):
                raise InvalidInput(f"{row.said(str(path))} It was changed since it was checked.")
            yield job_of(row, base)


@frozen
class CheckedFile:
    """The ``jobs`` jobs of a file that was checked before; each iteration reads it again."""

    path: Path
    jobs: int

    def __len__(self) -> int:
        """Return how many there are."""
        return self.jobs

    def __iter__(self) -> Generator[LineJob]:
        """Yield them, as `read_jobs` does."""
        return read_jobs(self.path)


def job_of(row: Row, base: Path) -> LineJob:
    """Return a row's job; its local paths are those of ``base``. Raises `InvalidInput`."""
    kind = kind_named(row.kind)
    inputs = {name: value for name, value in row.inputs.items() if value is not None}
    for name in _media_inputs(row.kind) & inputs.keys():
        given = inputs[name]
        inputs[name] = (
            [_placed(name, item, base) for item in given]
            if is_list(given)
            else _placed(name, given, base)
        )
    made = build_input(kind.input, (), inputs)
    check_key(made.key)
    return LineJob(kind, made, row.number)


def check_key(key: str | None) -> None:
    """Raise `InvalidInput` for a key that the client could have made, or that looks like another.

    A key with a space or zero-width character too many would start, and pay for, the same job
    a second time.
    """
    if key is None or not key.strip():
        return  # a blank one is refused with the other inputs
    if not is_plain(key):
        raise InvalidInput(
            "key must not begin or end with a space, nor hold characters that cannot be seen: "
            f"{ascii(key)[:60]}.",
            field="key",
        )
    if key.startswith(OWN_KEYS):
        raise InvalidInput(
            f"key must not begin with {' or '.join(OWN_KEYS)}: such keys are the client's own.",
            field="key",
        )


def _problems(row: Row, base: Path, keys: sqlite3.Connection) -> Generator[Wrong]:
    try:
        job = job_of(row, base)
    except InvalidInput as error:
        yield Wrong.of(row.number, error)
        return
    for f, _, value in job.input.media():
        if isinstance(value, str) and not is_url(value):
            types: Media = f.note(Media)
            wrong = _file_error(value, types.types, f.name)
            if wrong is not None:
                yield Wrong.of(row.number, wrong)
    if job.key is None:
        return
    try:
        keys.execute("INSERT INTO keys VALUES (?, ?)", (job.key, row.number))
    except sqlite3.IntegrityError:
        (line,) = keys.execute("SELECT line FROM keys WHERE key = ?", (job.key,)).fetchone()
        yield Wrong(row.number, f"{job.key!r:.60} is the key of line {line} already.", "key")


def _placed(name: str, value: Any, base: Path) -> Any:
    """Return a media input whose local path begins at ``base``. Raises `InvalidInput`."""
    check_media(name, value)
    return value if is_url(value) else str(base / value)


@cache
def _media_inputs(kind: str) -> frozenset[str]:
    cls: Any = kind_named(kind).input
    return frozenset(f.name for f in input_fields(cls) if f.note(Media) is not None)


@lru_cache(maxsize=4096)
def _file_error(path: str, types: tuple[Any, ...], name: str) -> InvalidInput | None:
    """Return what is wrong with a local file; the same files often serve many jobs."""
    from a2e_async.transport.source import look

    try:
        look(path, allowed=types, field=name, max_bytes=MAX_UPLOAD)
    except InvalidInput as error:
        return error
    return None
