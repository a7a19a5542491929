"""The tables of the SQLite journal, its statements, and the conversion of entries (pure).

**Migrations.** The ``user_version`` of a file is the number of migrations applied to it. The n-th
item of `MIGRATIONS` migrates version n to n + 1. To change the tables, append an item and never
change earlier ones, so that files of every version can be read. Columns are read by name, so a
new column with a default needs no other change.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from operator import attrgetter
from typing import Any, Final

from a2e_async._core.journal.protocol import Entry, EntryChanges, State
from a2e_async._core.journal.stored_entries import readable_entries

APPLICATION_ID: Final = 0x41324A4C
"""The ``application_id`` of a journal: distinguishes it from other SQLite files."""

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
        # Every change of an entry gets the next number in `change`; `seq` is the number of its
        # first change. Numbers are never reused, not even when the entry is deleted: pages and
        # listeners continue after the last number they have seen.
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
    (
        # Entries from before accounts existed get the account "". The tables are created again
        # because SQLite cannot change a constraint of a table.
        "ALTER TABLE jobs RENAME TO jobs_2",
        """CREATE TABLE jobs (
            seq INTEGER PRIMARY KEY,
            change INTEGER NOT NULL,
            account TEXT NOT NULL,
            key TEXT NOT NULL,
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
            uploads INTEGER NOT NULL,
            succeeded INTEGER,
            failure TEXT,
            missing_since REAL,
            closed_by TEXT,
            urls TEXT,
            outputs INTEGER,
            paths TEXT,
            meta TEXT,
            own_key INTEGER NOT NULL,
            hook TEXT,
            event_at REAL,
            owner TEXT,
            created_at REAL NOT NULL,
            updated_at REAL NOT NULL
        )""",
        """INSERT INTO jobs SELECT seq, change, '', key, kind, digest, state, path, name, mark,
            echo, expected, sent_at, lost_at, ids, coins, reserved, 0, succeeded, failure, NULL,
            NULL, urls, outputs, paths, meta, own_key, hook, event_at, owner, created_at, updated_at
            FROM jobs_2""",
        "DROP TABLE jobs_2",
        "CREATE UNIQUE INDEX jobs_key ON jobs (key, account)",
        "CREATE INDEX jobs_open ON jobs (seq) WHERE state < 4 AND succeeded IS NOT 0",
        "CREATE INDEX jobs_change ON jobs (change)",
        "CREATE INDEX jobs_hook ON jobs (hook) WHERE hook IS NOT NULL",
        "ALTER TABLE tasks RENAME TO tasks_2",
        """CREATE TABLE tasks (
            kind TEXT NOT NULL, id TEXT NOT NULL, account TEXT NOT NULL, seq INTEGER NOT NULL,
            PRIMARY KEY (kind, id, account)
        ) WITHOUT ROWID""",
        "INSERT INTO tasks SELECT kind, id, '', seq FROM tasks_2",
        "DROP TABLE tasks_2",
        "ALTER TABLE pruned RENAME TO pruned_2",
        """CREATE TABLE pruned (
            account TEXT NOT NULL,
            day TEXT NOT NULL,
            kind TEXT NOT NULL,
            coins INTEGER NOT NULL,
            reserved INTEGER NOT NULL,
            starts INTEGER NOT NULL,
            PRIMARY KEY (account, day, kind)
        ) WITHOUT ROWID""",
        "INSERT INTO pruned SELECT '', day, kind, coins, reserved, starts FROM pruned_2",
        "DROP TABLE pruned_2",
        """CREATE TABLE uploads (
            account TEXT NOT NULL,
            digest TEXT NOT NULL,
            content_type TEXT NOT NULL,
            url TEXT NOT NULL,
            until REAL NOT NULL,
            PRIMARY KEY (account, digest, content_type)
        ) WITHOUT ROWID""",
    ),
)

SCHEMA_VERSION: Final = len(MIGRATIONS)
"""The version of the tables that this package writes."""

IS_OPEN: Final = "state < 4 AND succeeded IS NOT 0"
"""`Entry.open` in SQL. It must be identical to the index condition, or SQLite ignores the index."""

COLUMNS: Final = (
    "key", "kind", "digest", "state", "path", "name", "mark", "echo", "expected", "sent_at",
    "lost_at", "ids", "coins", "reserved", "uploads", "succeeded", "failure", "missing_since",
    "closed_by", "urls", "outputs", "paths", "meta", "own_key", "hook", "event_at", "account",
    "owner", "created_at", "updated_at",
)  # fmt: skip

CHANGEABLE_FIELDS: Final = frozenset(EntryChanges.__annotations__)

ColumnValue = str | int | float | None
"""The value of a column."""

IS_VISIBLE: Final = "(? IS NULL OR account IN (?, ''))"
"""Whether a row is visible to an account, given twice as parameter; None sees all rows."""

# The statements below contain only names and numbers of this module, never user input (S608).
_ALL_COLUMNS: Final = ", ".join(COLUMNS)
INSERT_ENTRY: Final = (
    f"INSERT INTO jobs (seq, change, {_ALL_COLUMNS}) SELECT {', '.join('?' * (len(COLUMNS) + 2))} "  # noqa: S608
    f"WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE key = ? AND {IS_VISIBLE})"
)
SELECT_BY_KEY: Final = (
    f"SELECT {_ALL_COLUMNS}, seq FROM jobs WHERE key = ? AND {IS_VISIBLE} ORDER BY account LIMIT 1"  # noqa: S608
)
DELETE_UNACCEPTED: Final = (
    f"DELETE FROM jobs WHERE key = ? AND owner = ? AND state < ? AND {IS_VISIBLE}"  # noqa: S608
)
SELECT_BY_TASK: Final = (
    f"SELECT {', '.join(f'jobs.{name}' for name in COLUMNS)}, jobs.seq "  # noqa: S608
    "FROM (SELECT seq FROM tasks WHERE kind = ? AND id = ? "
    f"AND {IS_VISIBLE} ORDER BY account DESC LIMIT 1) JOIN jobs USING (seq)"
)
SELECT_BY_WEBHOOK_ID: Final = (
    f"SELECT {_ALL_COLUMNS}, seq FROM jobs WHERE hook = ? AND {IS_VISIBLE} ORDER BY seq LIMIT 1"  # noqa: S608
)
SELECT_CHANGED: Final = (
    f"SELECT {_ALL_COLUMNS} FROM jobs WHERE change > ? AND {IS_VISIBLE} ORDER BY change"  # noqa: S608
)
SELECT_TASK_HOLDER: Final = """SELECT seq FROM tasks WHERE kind = ? AND id = ?
    AND (? = '' OR account IN (?, ''))"""
"""Finds the entry that holds a task, in an account (given twice), or in any account for ""."""

ADOPT_ACCOUNT: Final = (
    """UPDATE jobs SET account = ? WHERE account = ? AND NOT EXISTS (
        SELECT 1 FROM jobs AS mine WHERE mine.key = jobs.key AND mine.account IN (?, '')
        ) AND NOT EXISTS (
        SELECT 1 FROM tasks JOIN tasks AS mine USING (kind, id)
        WHERE tasks.seq = jobs.seq AND tasks.account = jobs.account AND mine.account IN (?, ''))""",
    """UPDATE tasks SET account = ?
        WHERE account = ? AND seq IN (SELECT seq FROM jobs WHERE account = ?)""",
    """INSERT INTO uploads SELECT ?, digest, content_type, url, until FROM uploads
        WHERE account = ? ON CONFLICT DO UPDATE SET url = excluded.url, until = excluded.until
        WHERE excluded.until > uploads.until""",
    "DELETE FROM uploads WHERE account = ?",
)

_SELECT_ENTRY_COSTS: Final = """SELECT account, date(created_at, 'unixepoch') AS day, kind,
    coalesce(coins, 0) AS coins,
    CASE WHEN coins IS NULL AND succeeded IS NOT 0 THEN coalesce(reserved, 0) ELSE 0 END
    AS reserved, 1 AS starts FROM jobs"""
_ADD_TO_SUM: Final = """ON CONFLICT (account, day, kind) DO UPDATE
    SET coins = coins + excluded.coins, reserved = reserved + excluded.reserved,
    starts = starts + excluded.starts"""
KEEP_PRUNED_COST: Final = f"INSERT INTO pruned {_SELECT_ENTRY_COSTS} WHERE seq = ? {_ADD_TO_SUM}"
ADD_UPLOAD_COST: Final = (
    f"INSERT INTO pruned VALUES (?, date(?, 'unixepoch'), ?, ?, ?, 1) {_ADD_TO_SUM}"  # noqa: S608
)
MOVE_PRUNED_COSTS: Final = (
    f"""INSERT INTO pruned SELECT ?, day, kind, coins, reserved, starts FROM pruned
        WHERE account = ? {_ADD_TO_SUM}""",  # noqa: S608
    "DELETE FROM pruned WHERE account = ?",
)
SELECT_SPENT: Final = f"""SELECT day, kind, sum(coins), sum(reserved), sum(starts)
    FROM ({_SELECT_ENTRY_COSTS}
        UNION ALL SELECT account, day, kind, coins, reserved, starts FROM pruned)
    WHERE {IS_VISIBLE} GROUP BY day, kind ORDER BY day, kind"""  # noqa: S608

SELECT_UPLOAD: Final = f"""SELECT url, until FROM uploads
    WHERE {IS_VISIBLE} AND digest = ? AND content_type = ? AND until > ?
    ORDER BY until DESC LIMIT 1"""  # noqa: S608


def accounts_query(open_only: bool) -> str:
    """Return the query for the number of entries, and of open entries, of each account."""
    source = f"jobs INDEXED BY jobs_open WHERE {IS_OPEN}" if open_only else "jobs"
    return (
        f"SELECT account, count(*), sum({IS_OPEN}) FROM {source} GROUP BY account ORDER BY account"  # noqa: S608
    )


def prune_query(states: tuple[State, ...], missing: bool) -> str:
    """Return the query for entries to prune.

    Its parameters are the last ``seq`` seen, ``before`` twice, the account twice, and the limit.
    """
    among = ", ".join(str(int(state)) for state in states)
    closed = f"updated_at < ? AND state IN ({among}) AND NOT ({IS_OPEN})"
    gone = f"missing_since < ? AND ({IS_OPEN})" if missing else "? IS NULL"
    return (
        f"SELECT seq, kind, ids FROM jobs WHERE seq > ? AND (({closed}) OR ({gone})) "  # noqa: S608
        f"AND {IS_VISIBLE} ORDER BY seq LIMIT ?"
    )


def page_query(states: tuple[State, ...] | None, open_only: bool) -> str:
    """Return the query for a page of entries.

    Its parameters are the last ``seq`` seen, the account twice, and the limit.
    """
    where = f"seq > ? AND {IS_VISIBLE}"
    if states is not None:
        where += f" AND state IN ({', '.join(str(int(state)) for state in states)})"
    # INDEXED BY, because without statistics SQLite prefers to scan all closed entries.
    source = f"jobs INDEXED BY jobs_open WHERE {IS_OPEN} AND" if open_only else "jobs WHERE"
    return f"SELECT {_ALL_COLUMNS}, seq FROM {source} {where} ORDER BY seq LIMIT ?"  # noqa: S608  # names and numbers of this module


@cache
def update_query(columns: tuple[str, ...]) -> str:
    """Return the statement that updates columns of one entry; its last parameter is the seq."""
    return f"UPDATE jobs SET {', '.join(f'{name} = ?' for name in columns)} WHERE seq = ?"  # noqa: S608  # names of this module


def to_row(entry: Entry) -> tuple[ColumnValue, ...]:
    """Return an entry's column values in the order of `COLUMNS`."""
    values = list(_ENTRY_VALUES(entry))
    for index, write in _TO_COLUMN_BY_INDEX:
        values[index] = write(values[index])
    return tuple(values)


def to_column_value(name: str, value: Any) -> ColumnValue:
    """Convert a field's value to a column value. Raises as `json.dumps` and `str` do."""
    write = _TO_COLUMN.get(name)
    return value if write is None else write(value)


def to_entry(row: tuple[Any, ...]) -> Entry:
    """Convert a row, whose first columns are `COLUMNS`, to an entry."""
    # By hand, because every step of a start reads a row: 9 us, against 16 us by the converter, and
    # SQLite itself keeps the types of columns. See intents per second in `benchmarks.journal`.
    values = list(row)
    for index, read in _FROM_COLUMN_BY_INDEX:
        values[index] = read(values[index])
    return Entry(**dict(zip(COLUMNS, values, strict=False)))


def to_entries(rows: Iterable[tuple[Any, ...]]) -> list[Entry]:
    """Convert rows to entries. An unreadable row is logged and left out."""
    return readable_entries(rows, to_entry)


# `json.dumps` with options builds an encoder on every call.
_dump_json: Final = json.JSONEncoder(separators=(",", ":")).encode


def _dump_json_or_null(value: Any) -> str | None:
    return _dump_json(value) if value else None


def _load_strings(text: str | None) -> tuple[str, ...]:
    return tuple(json.loads(text)) if text else ()


def _load_string_map(text: str | None) -> Mapping[str, str]:
    return json.loads(text) if text else {}


_TO_COLUMN: Final[Mapping[str, Callable[[Any], ColumnValue]]] = {
    "state": int,
    "echo": _dump_json_or_null,
    "ids": lambda ids: "+".join(ids) or None,
    "urls": _dump_json_or_null,
    "paths": _dump_json_or_null,
    "meta": lambda meta: None if meta is None else _dump_json(meta),
}
_FROM_COLUMN: Final[Mapping[str, Callable[[Any], Any]]] = {
    "state": State,
    "echo": _load_string_map,
    "ids": lambda ids: tuple(ids.split("+")) if ids else (),
    "succeeded": lambda value: None if value is None else bool(value),
    "urls": _load_strings,
    "paths": _load_string_map,
    "meta": lambda text: None if text is None else json.loads(text),
    "own_key": bool,
}

_ENTRY_VALUES: Final[Callable[[Entry], tuple[Any, ...]]] = attrgetter(*COLUMNS)
_TO_COLUMN_BY_INDEX: Final = tuple(
    (COLUMNS.index(name), write) for name, write in _TO_COLUMN.items()
)
_FROM_COLUMN_BY_INDEX: Final = tuple(
    (COLUMNS.index(name), read) for name, read in _FROM_COLUMN.items()
)
