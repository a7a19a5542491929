"""The tables of the SQLite journal, and how entries become rows and back (pure).

**Later versions.** ``user_version`` of a file counts the migrations it has gone through. The n-th
of `MIGRATIONS` leads from version n to n + 1; to change the tables, append one and never touch
those before it, so every version ever written can be read. Columns are read by name: adding one
with a default leaves the rest as it is.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from operator import attrgetter
from typing import Any, Final

from a2e_async.tasks.journal import Changes, Entry, State

APPLICATION: Final = 0x41324A4C
"""``application_id`` of a journal: tells it from other SQLite files."""

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE jobs (
            seq INTEGER PRIMARY KEY,
            change INTEGER NOT NULL,
            key TEXT NOT NULL UNIQUE,
            kind TEXT NOT NULL,
            digest TEXT NOT NULL,
            state INTEGER NOT NULL,
            path TEXT NOT NULL,
            name TEXT,
            mark TEXT,
            echo TEXT,
            expected INTEGER NOT NULL,
            sent_at REAL,
            lost_at REAL,
            ids TEXT,
            coins INTEGER,
            reserved INTEGER,
            succeeded INTEGER,
            failure TEXT,
            urls TEXT,
            outputs INTEGER,
            paths TEXT,
            meta TEXT,
            own_key INTEGER NOT NULL,
            owner TEXT,
            created_at REAL NOT NULL,
            updated_at REAL NOT NULL
        )""",
        "CREATE INDEX jobs_open ON jobs (seq) WHERE state < 4 AND succeeded IS NOT 0",
        "CREATE INDEX jobs_change ON jobs (change)",
        """CREATE TABLE tasks (
            kind TEXT NOT NULL, id TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (kind, id)
        ) WITHOUT ROWID""",
        "CREATE TABLE owners (owner TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID",
        # `change` numbers every change of an entry, and `seq` is the number of its first one:
        # a number is never used again, not even after its entry is gone.
        """CREATE TABLE counters (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            change INTEGER NOT NULL,
            drops INTEGER NOT NULL
        )""",
        "INSERT INTO counters VALUES (1, 0, 0)",
        """CREATE TABLE pruned (
            day TEXT NOT NULL,
            kind TEXT NOT NULL,
            coins INTEGER NOT NULL,
            reserved INTEGER NOT NULL,
            starts INTEGER NOT NULL,
            PRIMARY KEY (day, kind)
        ) WITHOUT ROWID""",
    ),
    (
        "ALTER TABLE jobs ADD COLUMN hook TEXT",
        "ALTER TABLE jobs ADD COLUMN event_at REAL",
        "CREATE INDEX jobs_hook ON jobs (hook) WHERE hook IS NOT NULL",
    ),
)

VERSION: Final = len(MIGRATIONS)
"""Of the tables that this package writes."""

OPEN: Final = "state < 4 AND succeeded IS NOT 0"
"""`Entry.open` in SQL, word for word the condition of the index on open entries."""

COLUMNS: Final = (
    "key", "kind", "digest", "state", "path", "name", "mark", "echo", "expected", "sent_at",
    "lost_at", "ids", "coins", "reserved", "succeeded", "failure", "urls", "outputs", "paths",
    "meta", "own_key", "hook", "event_at", "owner", "created_at", "updated_at",
)  # fmt: skip

CHANGEABLE: Final = frozenset(Changes.__annotations__)

Value = str | int | float | None
"""What a column holds."""

_ALL: Final = ", ".join(COLUMNS)
INSERT: Final = (
    f"INSERT INTO jobs (seq, change, {_ALL}) "  # noqa: S608  # names of this module
    f"VALUES ({', '.join('?' * (len(COLUMNS) + 2))}) ON CONFLICT (key) DO NOTHING"
)
BY_KEY: Final = f"SELECT {_ALL} FROM jobs WHERE key = ?"  # noqa: S608  # names of this module
BY_TASK: Final = (
    f"SELECT {', '.join(f'jobs.{name}' for name in COLUMNS)} "  # noqa: S608  # names of this module
    "FROM tasks JOIN jobs USING (seq) WHERE tasks.kind = ? AND tasks.id = ?"
)
BY_HOOK: Final = f"SELECT {_ALL} FROM jobs WHERE hook = ? ORDER BY seq LIMIT 1"  # noqa: S608  # names of this module
CHANGED: Final = f"SELECT {_ALL} FROM jobs WHERE change > ? ORDER BY change"  # noqa: S608  # names of this module

_MONEY: Final = """SELECT date(created_at, 'unixepoch') AS day, kind, coalesce(coins, 0) AS coins,
    CASE WHEN coins IS NULL AND succeeded IS NOT 0 THEN coalesce(reserved, 0) ELSE 0 END
    AS reserved, 1 AS starts FROM jobs"""
KEEP_SUM: Final = f"""INSERT INTO pruned {_MONEY} WHERE seq = ? ON CONFLICT (day, kind) DO UPDATE
    SET coins = coins + excluded.coins, reserved = reserved + excluded.reserved,
    starts = starts + excluded.starts"""  # noqa: S608  # names of this module
SUMS: Final = f"""SELECT day, kind, sum(coins), sum(reserved), sum(starts)
    FROM ({_MONEY} UNION ALL SELECT day, kind, coins, reserved, starts FROM pruned)
    GROUP BY day, kind ORDER BY day, kind"""  # noqa: S608  # names of this module


def page_query(states: tuple[State, ...] | None, open_only: bool) -> str:
    """Return the query of a page: parameters are the place to go on after and the limit."""
    where = "seq > ?"
    if states is not None:
        where += f" AND state IN ({', '.join(str(int(state)) for state in states)})"
    # Without statistics SQLite would rather walk through all the closed entries.
    source = f"jobs INDEXED BY jobs_open WHERE {OPEN} AND" if open_only else "jobs WHERE"
    return f"SELECT {_ALL}, seq FROM {source} {where} ORDER BY seq LIMIT ?"  # noqa: S608  # names and numbers of this module


@cache
def update_query(columns: tuple[str, ...]) -> str:
    """Return the statement that sets ``columns`` of one entry; the last parameter is its key."""
    return f"UPDATE jobs SET {', '.join(f'{name} = ?' for name in columns)} WHERE key = ?"  # noqa: S608  # names of this module


def to_row(entry: Entry) -> tuple[Value, ...]:
    """Return an entry's columns, in the order of `COLUMNS`."""
    values = list(_FIELDS(entry))
    for place, write in _WRITE_AT:
        values[place] = write(values[place])
    return tuple(values)


def to_column(name: str, value: Any) -> Value:
    """Return a field's value as its column holds it. Raises as `json.dumps` and `str` do."""
    write = _WRITE.get(name)
    return value if write is None else write(value)


def to_entry(row: tuple[Any, ...]) -> Entry:
    """Return the entry of a row whose first columns are `COLUMNS`."""
    values = list(row)
    for place, read in _READ_AT:
        values[place] = read(values[place])
    return Entry(**dict(zip(COLUMNS, values, strict=False)))


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _json_or_null(value: Any) -> str | None:
    return _json(value) if value else None


def _list(text: str | None) -> tuple[str, ...]:
    return tuple(json.loads(text)) if text else ()


def _texts(text: str | None) -> Mapping[str, str]:
    return json.loads(text) if text else {}


_WRITE: Final[Mapping[str, Callable[[Any], Value]]] = {
    "state": int,
    "echo": _json_or_null,
    "ids": lambda ids: "+".join(ids) or None,
    "urls": _json_or_null,
    "paths": _json_or_null,
    "meta": lambda meta: None if meta is None else _json(meta),
}
_READ: Final[Mapping[str, Callable[[Any], Any]]] = {
    "state": State,
    "echo": _texts,
    "ids": lambda ids: tuple(ids.split("+")) if ids else (),
    "succeeded": lambda value: None if value is None else bool(value),
    "urls": _list,
    "paths": _texts,
    "meta": lambda text: None if text is None else json.loads(text),
    "own_key": bool,
}

_FIELDS: Final[Callable[[Entry], tuple[Any, ...]]] = attrgetter(*COLUMNS)
_WRITE_AT: Final = tuple((COLUMNS.index(name), write) for name, write in _WRITE.items())
_READ_AT: Final = tuple((COLUMNS.index(name), read) for name, read in _READ.items())
