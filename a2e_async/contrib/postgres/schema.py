"""Tables and statements of the PostgreSQL journal; conversion of entries to rows (pure).

**Later versions.** `a2e_version` is the number of migrations that a database has gone through. The
n-th of `MIGRATIONS` leads from version n to n + 1. To change the tables, append a migration and
never edit an earlier one.

Values that SQL statements use have a column. All others are in one JSON document, stored as text:
PostgreSQL's own text and ``jsonb`` types cannot store every string.
"""

import json
from collections.abc import Iterable
from typing import Any, Final

from a2e_async._core.converter import unstructure
from a2e_async._core.journal.protocol import Entry
from a2e_async._core.journal.stored_entries import readable_entries, structure_entry
from a2e_async._core.typeguards import is_sequence

MIGRATIONS: Final[tuple[str, ...]] = (
    """
    CREATE TABLE a2e_jobs (
        seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        key text NOT NULL UNIQUE,
        kind text NOT NULL,
        digest text NOT NULL,
        state smallint NOT NULL,
        ids text[] NOT NULL,
        coins bigint,
        reserved bigint,
        succeeded boolean,
        hook text,
        owner text,
        created_at double precision NOT NULL,
        updated_at double precision NOT NULL,
        rest text NOT NULL
    );
    CREATE INDEX a2e_jobs_open ON a2e_jobs (seq) WHERE state < 4 AND succeeded IS NOT FALSE;
    CREATE INDEX a2e_jobs_hook ON a2e_jobs (hook) WHERE hook IS NOT NULL;
    CREATE INDEX a2e_jobs_updated ON a2e_jobs (updated_at);
    CREATE TABLE a2e_tasks (
        kind text, id text, seq bigint NOT NULL, PRIMARY KEY (kind, id)
    );
    CREATE TABLE a2e_owners (
        owner text PRIMARY KEY, until double precision NOT NULL, groups bigint NOT NULL
    ) WITH (fillfactor = 50);
    CREATE TABLE a2e_watches (key text, owner text, PRIMARY KEY (key, owner));
    CREATE TABLE a2e_pruned (
        day text, kind text,
        coins bigint NOT NULL, reserved bigint NOT NULL, starts bigint NOT NULL,
        PRIMARY KEY (day, kind)
    );
    CREATE TABLE a2e_paces (
        account text PRIMARY KEY,
        arrives double precision NOT NULL,
        held_until double precision NOT NULL
    ) WITH (fillfactor = 10);
    """,
    "CREATE TABLE a2e_leaders (account text PRIMARY KEY, owner text NOT NULL)",
    # Entries written before accounts existed have the account "".
    """
    ALTER TABLE a2e_jobs ADD COLUMN account text NOT NULL DEFAULT '';
    ALTER TABLE a2e_jobs ADD COLUMN missing_since double precision;
    ALTER TABLE a2e_jobs DROP CONSTRAINT a2e_jobs_key_key;
    CREATE UNIQUE INDEX a2e_jobs_key ON a2e_jobs (key, account);
    ALTER TABLE a2e_tasks ADD COLUMN account text NOT NULL DEFAULT '';
    ALTER TABLE a2e_tasks DROP CONSTRAINT a2e_tasks_pkey;
    ALTER TABLE a2e_tasks ADD PRIMARY KEY (id, kind, account);
    ALTER TABLE a2e_pruned ADD COLUMN account text NOT NULL DEFAULT '';
    ALTER TABLE a2e_pruned DROP CONSTRAINT a2e_pruned_pkey;
    ALTER TABLE a2e_pruned ADD PRIMARY KEY (account, day, kind);
    CREATE TABLE a2e_uploads (
        account text, digest text, content_type text,
        url text NOT NULL, until double precision NOT NULL,
        PRIMARY KEY (account, digest, content_type)
    );
    """,
)

SCHEMA_VERSION: Final = len(MIGRATIONS)
"""Version of the tables that this package writes."""

IS_OPEN: Final = "state < 4 AND succeeded IS NOT FALSE"
"""`Entry.open` in SQL, identical to the condition of the index on open entries."""

COLUMNS: Final = (
    "key", "kind", "digest", "state", "ids", "coins", "reserved", "succeeded", "missing_since",
    "hook", "account", "owner", "created_at", "updated_at",
)  # fmt: skip

_ALL_COLUMNS: Final = ", ".join((*COLUMNS, "rest"))

IS_VISIBLE: Final = "(%s::text IS NULL OR account IN (%s, ''))"
"""Whether a client may see a row. Takes the account twice; None sees all rows."""

# Every statement below is assembled from constants of this module only.
INSERT_ENTRY: Final = f"""INSERT INTO a2e_jobs ({_ALL_COLUMNS})
    VALUES ({", ".join("%s" for _ in (*COLUMNS, "rest"))}) RETURNING seq"""  # noqa: S608
UPDATE_ENTRY: Final = f"""UPDATE a2e_jobs
    SET {", ".join(f"{name} = %s" for name in (*COLUMNS, "rest"))} WHERE seq = %s"""  # noqa: S608
DELETE_ENTRY: Final = "DELETE FROM a2e_jobs WHERE seq = %s"
_SELECT_KEYS: Final = (
    f"SELECT {_ALL_COLUMNS}, seq FROM a2e_jobs WHERE key = ANY(%s) AND {IS_VISIBLE}"  # noqa: S608
)
# If several accounts have an entry of a key, a client without an account gets the last of them.
LOCK_ENTRIES: Final = f"{_SELECT_KEYS} ORDER BY key, account DESC FOR UPDATE"
SELECT_BY_KEY: Final = f"{_SELECT_KEYS} ORDER BY account DESC"
SELECT_BY_TASK: Final = f"""SELECT {_ALL_COLUMNS} FROM a2e_jobs
    WHERE seq = (SELECT seq FROM a2e_tasks WHERE kind = %s AND id = %s AND {IS_VISIBLE}
    ORDER BY account DESC LIMIT 1)"""  # noqa: S608
SELECT_BY_WEBHOOK_ID: Final = (
    f"SELECT key FROM a2e_jobs WHERE hook = %s AND {IS_VISIBLE} ORDER BY seq LIMIT 1"  # noqa: S608
)
SELECT_UPDATED_SINCE: Final = (
    f"SELECT {_ALL_COLUMNS} FROM a2e_jobs WHERE updated_at >= %s AND {IS_VISIBLE}"  # noqa: S608
)
SELECT_CLAIMS: Final = "SELECT kind, id, account FROM a2e_tasks WHERE id = ANY(%s)"
SELECT_LEASES: Final = """SELECT owner, until FROM a2e_owners
    WHERE owner IN (SELECT owner FROM a2e_jobs WHERE key = ANY(%s))"""
# Without ON CONFLICT: if another client has just claimed the task, the transaction is retried.
INSERT_CLAIM: Final = """INSERT INTO a2e_tasks (kind, id, account, seq)
    SELECT kind, %s, account, seq FROM a2e_jobs WHERE key = %s AND account = %s"""
MOVE_CLAIMS: Final = "UPDATE a2e_tasks SET account = %s WHERE id = ANY(%s) AND seq = %s"
# Sent after the commit. A client that listened before gets it; one that listens later reads the
# committed entry. Inside the transaction NOTIFY would serialise all commits.
NOTIFY_KEY_LISTENERS: Final = """SELECT pg_notify('a2e_' || right(owner, 32), key) FROM a2e_watches
    WHERE key = ANY(%s) AND owner <> %s"""
NOTIFY_ALL_LISTENERS: Final = """SELECT pg_notify('a2e_all', right(%s, 32) || key)
    FROM unnest(%s::text[]) AS keys (key)
    WHERE EXISTS (SELECT FROM a2e_watches WHERE key = '' AND owner <> %s)"""

_CLOCK: Final = "coalesce(%s, extract(epoch FROM clock_timestamp())::float8)"
RENEW_LEASE: Final = f"""INSERT INTO a2e_owners AS mine VALUES (%s, {_CLOCK} + %s, %s)
    ON CONFLICT (owner) DO UPDATE SET until = excluded.until,
    groups = greatest(mine.groups, excluded.groups)
    RETURNING until, groups"""  # noqa: S608
"""Renews a lease; returns the clock, too, and the last committed transaction of this owner."""

SELECT_LEADER: Final = f"""SELECT led.owner, coalesce(until > {_CLOCK}, false)
    FROM a2e_leaders AS led LEFT JOIN a2e_owners USING (owner) WHERE account = %s"""  # noqa: S608
"""Returns the leader of an account's clients, and whether its lease is valid."""

BECOME_LEADER: Final = """INSERT INTO a2e_leaders AS led VALUES (%s, %s)
    ON CONFLICT (account) DO UPDATE SET owner = excluded.owner WHERE led.owner = %s
    RETURNING owner"""
"""Become the leader in place of a dead one; returns no row if another client was faster."""

DELETE_LEADER: Final = "DELETE FROM a2e_leaders WHERE account = %s AND owner = %s"
SELECT_ALIVE_OWNERS: Final = (
    f"SELECT owner FROM a2e_owners WHERE owner = ANY(%s) AND until > {_CLOCK}"  # noqa: S608
)
SEND_MESSAGES: Final = """SELECT pg_notify('a2e_m_' || right(name, 32), %s || ' ' || message)
    FROM unnest(%s::text[], %s::text[]) AS said (name, message)"""

_SELECT_ENTRY_COSTS: Final = """SELECT account,
    to_char(to_timestamp(created_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day,
    kind, coalesce(coins, 0) AS coins,
    CASE WHEN coins IS NULL AND succeeded IS NOT FALSE THEN coalesce(reserved, 0) ELSE 0 END
    AS reserved, 1 AS starts"""
SELECT_SPENT: Final = f"""SELECT day, kind, sum(coins)::bigint, sum(reserved)::bigint,
    sum(starts)::bigint
    FROM ({_SELECT_ENTRY_COSTS} FROM a2e_jobs
    UNION ALL SELECT account, day, kind, coins, reserved, starts FROM a2e_pruned) AS money
    WHERE {IS_VISIBLE} GROUP BY day, kind ORDER BY day, kind"""  # noqa: S608
_ADD_TO_SUM: Final = """ON CONFLICT (account, day, kind) DO UPDATE SET
    coins = kept.coins + excluded.coins, reserved = kept.reserved + excluded.reserved,
    starts = kept.starts + excluded.starts"""
_INSERT_PRUNED_COST: Final = (
    "INSERT INTO a2e_pruned AS kept (account, day, kind, coins, reserved, starts)"
)
ADD_UPLOAD_COST: Final = f"""{_INSERT_PRUNED_COST} VALUES (
    %s, to_char(to_timestamp({_CLOCK}) AT TIME ZONE 'UTC', 'YYYY-MM-DD'), %s, %s, %s, 1)
    {_ADD_TO_SUM}"""
PRUNE_ENTRIES: Final = f"""WITH old AS (
        DELETE FROM a2e_jobs WHERE seq IN (
            SELECT seq FROM a2e_jobs WHERE (
                (updated_at < %s AND state = ANY(%s) AND NOT ({IS_OPEN})) OR (%s AND {IS_OPEN}
                AND missing_since < %s)
            ) AND {IS_VISIBLE} ORDER BY seq LIMIT %s FOR UPDATE SKIP LOCKED
        ) RETURNING seq, key, account, kind, coins, reserved, succeeded, created_at
    ), claims AS (
        DELETE FROM a2e_tasks WHERE seq IN (SELECT seq FROM old)
    ), sums AS (
        {_INSERT_PRUNED_COST}
        SELECT account, day, kind, sum(coins), sum(reserved), sum(starts)
        FROM ({_SELECT_ENTRY_COSTS} FROM old) AS money GROUP BY account, day, kind {_ADD_TO_SUM}
    )
    SELECT key FROM old"""  # noqa: S608

SELECT_UPLOAD: Final = f"""SELECT url, until FROM a2e_uploads
    WHERE {IS_VISIBLE} AND digest = %s AND content_type = %s AND until > {_CLOCK}
    ORDER BY until DESC LIMIT 1"""  # noqa: S608
SAVE_UPLOAD: Final = """INSERT INTO a2e_uploads VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT (account, digest, content_type)
    DO UPDATE SET url = excluded.url, until = excluded.until"""
DELETE_EXPIRED_UPLOADS: Final = f"DELETE FROM a2e_uploads WHERE until <= {_CLOCK}"  # noqa: S608
ADOPT_ACCOUNT: Final = f"""WITH mine AS (
        UPDATE a2e_jobs SET account = %(account)s WHERE account = %(former)s AND NOT EXISTS (
            SELECT FROM a2e_jobs AS other
            WHERE other.key = a2e_jobs.key AND other.account IN (%(account)s, '')
        ) AND NOT EXISTS (
            SELECT FROM a2e_tasks AS its JOIN a2e_tasks AS other USING (kind, id)
            WHERE its.seq = a2e_jobs.seq AND its.id = ANY(a2e_jobs.ids)
            AND other.account IN (%(account)s, '')
        ) RETURNING seq, key
    ), claims AS (
        UPDATE a2e_tasks SET account = %(account)s
        WHERE seq IN (SELECT seq FROM mine) AND account = %(former)s
    ), sums AS (
        DELETE FROM a2e_pruned WHERE account = %(former)s
        RETURNING day, kind, coins, reserved, starts
    ), added AS (
        {_INSERT_PRUNED_COST} SELECT %(account)s, day, kind, coins, reserved, starts FROM sums
        {_ADD_TO_SUM}
    ), uploads AS (
        DELETE FROM a2e_uploads WHERE account = %(former)s
        RETURNING digest, content_type, url, until
    ), kept AS (
        INSERT INTO a2e_uploads AS kept
        SELECT %(account)s, digest, content_type, url, until FROM uploads
        ON CONFLICT (account, digest, content_type)
        DO UPDATE SET url = excluded.url, until = excluded.until
        WHERE excluded.until > kept.until
    )
    SELECT key FROM mine"""  # noqa: S608


def page_query(open_only: bool, by_state: bool) -> str:
    """Return the query for a page of entries.

    Its parameters: the row number to continue after, the account twice, the states if ``by_state``,
    the limit.
    """
    where = f"seq > %s AND {IS_VISIBLE}" + (f" AND {IS_OPEN}" if open_only else "")
    where += " AND state = ANY(%s)" if by_state else ""
    return f"SELECT {_ALL_COLUMNS}, seq FROM a2e_jobs WHERE {where} ORDER BY seq LIMIT %s"  # noqa: S608


def accounts_query(open_only: bool) -> str:
    """Return the query that counts the entries of each account, and its open ones."""
    where = f" WHERE {IS_OPEN}" if open_only else ""
    return f"""SELECT account, count(*), count(*) FILTER (WHERE {IS_OPEN}) FROM a2e_jobs{where}
        GROUP BY account ORDER BY account COLLATE "C\""""  # noqa: S608


def to_row(entry: Entry) -> tuple[Any, ...]:
    """Return an entry's columns and its document. Raises as `json.dumps` does, and `ValueError`."""
    values: dict[str, Any] = unstructure(entry)
    columns = [_column_value(values.pop(name)) for name in COLUMNS]
    document = {name: value for name, value in values.items() if value is not None}
    return (*columns, json.dumps(document, separators=(",", ":")))


def to_entry(row: tuple[Any, ...]) -> Entry:
    """Return the entry of a row: its columns, then its document; further columns are ignored."""
    return structure_entry(
        {**json.loads(row[len(COLUMNS)]), **dict(zip(COLUMNS, row, strict=False))}
    )


def to_entries(rows: Iterable[tuple[Any, ...]]) -> list[Entry]:
    """Return the entries of rows. One that cannot be decoded is logged and omitted."""
    return readable_entries(rows, to_entry)


def _column_value(value: Any) -> Any:
    if is_sequence(value):
        return [_column_value(one) for one in value]
    return _check_text(value) if isinstance(value, str) else value


def _check_text(value: str) -> str:
    if "\0" in value or (not value.isascii() and value != value.encode(errors="replace").decode()):
        raise ValueError("a key or an id contains characters that PostgreSQL cannot store")
    return value
