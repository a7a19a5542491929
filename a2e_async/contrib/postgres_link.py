"""One connection to PostgreSQL: made, checked, its tables brought up to date; errors explained."""

from collections.abc import Mapping
from typing import Any, Final

import psycopg
from psycopg import conninfo

from a2e_async.contrib.postgres_tables import MIGRATIONS, VERSION
from a2e_async.errors import ConfigurationError, JournalError, sealed
from a2e_async.redact import Secret, redact
from a2e_async.tasks.journal_address import database_address

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
Cursor = psycopg.AsyncCursor[tuple[Any, ...]]

LOCK_WAIT: Final = 10_000
"""Milliseconds to wait for another client's transaction, and that one may stand still; well
below a lease."""

_PATIENT: Final[Mapping[str, str]] = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
    "target_session_attrs": "read-write",
    "application_name": "a2e_async",
}
"""What a connection is made with, unless its URL says otherwise: a database that is gone without
a word is noticed within half a lease, and no standby is taken for the primary."""

_MAKING: Final = 0x41324A4C
"""The advisory lock under which tables are made."""


class Target:
    """Where the database is. Its ``repr`` and its errors never hold the password."""

    @sealed
    def __init__(self, url: str) -> None:
        given = _settings(url)
        if given is None:  # outside of the handler: the driver's error repeats the whole URL
            raise ConfigurationError(
                "The PostgreSQL address cannot be read. It must look like "
                "postgresql://user@host:5432/database, where special characters are written as "
                "%XX, or like host=… dbname=…."
            )
        self._info = Secret(conninfo.make_conninfo("", **{**_PATIENT, **given}), "[database]")
        host = given.get("host") or given.get("hostaddr") or "localhost"
        self.name = f"{host}/{given.get('dbname') or given.get('user') or ''}"
        self._secrets = tuple(
            Secret(str(value), "***")
            for key, value in given.items()
            if key in ("password", "sslpassword", "passfile", "oauth_client_secret") and value
        )

    def __repr__(self) -> str:
        return self.name

    def conninfo(self) -> str:
        """Return what libpq connects with. A method, as it may hold the password."""
        return self._info.reveal()

    async def connect(self) -> Connection:
        """Return a connection. Raises `psycopg.Error`."""
        connect = psycopg.AsyncConnection.connect
        connection = await connect(self._info.reveal(), autocommit=True)
        connection.prepare_threshold = 2
        return connection

    def explain(self, error: BaseException) -> JournalError:
        """Return what a failure means to a user."""
        if isinstance(error, JournalError):
            return error
        text = redact(next(iter(str(error).strip().splitlines()), ""))
        for secret in self._secrets:  # the short ones, too
            text = text.replace(secret.reveal(), secret.shown)
        why = f"{type(error).__name__}: {text}".rstrip(": ")
        return self.unusable(why, "Nothing more is started until it answers.")

    def unusable(self, why: str, advice: str) -> JournalError:
        """Return the error that says why the database cannot be used and what helps."""
        return JournalError(f"The journal {self.name} cannot be used: {why}. {advice}")


def _settings(url: str) -> dict[str, Any] | None:
    """Return the settings of an address, None for one that cannot be read as it was meant.

    A character of a password that should have been written as %XX ends it: what follows would be
    taken for the host or the database, and be shown as such.
    """
    try:
        given = conninfo.conninfo_to_dict(database_address(url) or "")
    except (psycopg.Error, UnicodeError, ConfigurationError):
        return None
    shown = "".join(str(given.get(name) or "") for name in ("host", "hostaddr", "dbname"))
    ports = str(given.get("port") or "").replace(",", "")
    if not given or any(sign in shown for sign in "@=?") or (ports and not ports.isdecimal()):
        return None
    return given


async def run(
    connection: Connection, query: str, values: tuple[Any, ...] | Mapping[str, Any] = ()
) -> Cursor:
    """Execute one of this package's own statements, put together from its own names alone."""
    return await connection.execute(query.encode(), values or None)


def passes(error: BaseException) -> bool:
    """Whether it may be over by itself: not what the database refuses as such."""
    large = isinstance(error, psycopg.errors.ProgramLimitExceeded)
    return isinstance(error, psycopg.OperationalError) and not large


async def prepare(connection: Connection, target: Target) -> None:
    """Make a new connection fit for the journal; make or update the tables if need be.

    Raises `psycopg.Error`, and `JournalError` when a later version has written them.
    """
    await connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) "
        "WHERE current_setting('synchronous_commit') = 'off'"
    )
    for name, value in (
        ("lock_timeout", str(LOCK_WAIT)),
        ("idle_in_transaction_session_timeout", str(LOCK_WAIT)),
        ("default_transaction_isolation", "read committed"),
    ):
        await connection.execute("SELECT set_config(%s, %s, false)", (name, value))
    if await _version(connection) == VERSION:
        return
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MAKING,))
        version = await _version(connection)  # another one may have been faster
        if version > VERSION:
            why = f"it is of version {version}, this package knows up to {VERSION}"
            raise target.unusable(why, "Update a2e-async.")
        if version == 0:
            await connection.execute("CREATE TABLE IF NOT EXISTS a2e_version (version int)")
            await connection.execute("INSERT INTO a2e_version VALUES (0)")
        for migration in MIGRATIONS[version:]:
            for statement in migration.split(";"):
                if statement.strip():
                    await run(connection, statement)
        await connection.execute("UPDATE a2e_version SET version = %s", (VERSION,))


async def _version(connection: Connection) -> int:
    # Not to_regclass(): it answers from a cache that may not know of what was just committed.
    query = "SELECT FROM pg_class WHERE relname = 'a2e_version' AND pg_table_is_visible(oid)"
    if await (await connection.execute(query)).fetchone() is None:
        return 0
    row = await (await connection.execute("SELECT max(version) FROM a2e_version")).fetchone()
    return int(row[0] or 0) if row else 0
