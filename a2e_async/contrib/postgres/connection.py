"""One connection to PostgreSQL: opened, checked, its schema migrated; errors made readable."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import psycopg
from psycopg import conninfo

from a2e_async._core.base_errors import hide_frames
from a2e_async._core.journal.address import database_address
from a2e_async._core.redact import Secret, redact
from a2e_async.contrib.postgres.schema import MIGRATIONS, SCHEMA_VERSION
from a2e_async.errors import ConfigurationError, JournalError

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
Cursor = psycopg.AsyncCursor[tuple[Any, ...]]

LOCK_TIMEOUT_MS: Final = 10_000
"""Timeout for locks and for idle transactions (ms): well below the duration of a lease."""

_CONNECTION_DEFAULTS: Final[Mapping[str, str]] = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
    "target_session_attrs": "read-write",
    "application_name": "a2e_async",
}
"""Connection parameters, unless the URL sets them. They detect a database that disappears silently
within half a lease, and reject a standby in place of the primary."""

RECONNECT_TIMEOUT: Final = 45.0
"""Time (s) for which a database may be away: a restart, a failover, or it starts later."""

REFUSED_TIMEOUT: Final = 5.0
"""The same if it answers that the address is wrong, which only a person can change."""

_REFUSALS: Final = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "no such database",
    "no such user",
    "no pg_hba.conf entry",
    "permission denied for database",
    "does not support SSL",
    "certificate verify failed",
    "unsupported startup parameter",
)
"""Texts of PostgreSQL, libpq and PgBouncer that say that an address is wrong: a failed connection
has no SQLSTATE. A server may say it in another language; then it counts as an outage."""

_POOLER_PROBES: Final = 3
"""How often a pooler is asked for a second session before it counts as one that keeps sessions."""

_PROBE_TIMEOUT: Final = 5.0
"""Time (s) for these questions: a pooler that keeps sessions may have none left."""

_MIGRATION_LOCK: Final = 0x41324A4C
"""Key of the advisory lock under which tables are created."""


class DatabaseTarget:
    """The address of the database. Its ``repr`` and its errors never contain the password."""

    @hide_frames
    def __init__(self, url: str, *, used_as: str = "journal") -> None:
        given = _parse_url(url)
        if given is None:  # raised outside the handler: the driver's error contains the whole URL
            raise ConfigurationError(
                "The PostgreSQL address is invalid. It must look like "
                "postgresql://user@host:5432/database, with special characters written as %XX, or "
                "like host=… dbname=…."
            )
        self._conninfo = Secret(
            conninfo.make_conninfo("", **{**_CONNECTION_DEFAULTS, **given}), "[database]"
        )
        host = given.get("host") or given.get("hostaddr") or "localhost"
        self._used_as = used_as
        self.name: str = f"{host}/{given.get('dbname') or given.get('user') or ''}"
        self._secrets = tuple(
            Secret(str(value), "***")
            for key, value in given.items()
            if key in ("password", "sslpassword", "passfile", "oauth_client_secret") and value
        )

    def __repr__(self) -> str:
        return self.name

    def conninfo(self) -> str:
        """Return the connection string for libpq. A method, because it may contain the password."""
        return self._conninfo.reveal()

    async def connect(self) -> Connection:
        """Return a connection. Raises `psycopg.Error`."""
        connect = psycopg.AsyncConnection.connect
        connection = await connect(self._conninfo.reveal(), autocommit=True)
        # The same few statements repeat all the time: prepare them early.
        connection.prepare_threshold = 2
        return connection

    def to_journal_error(self, error: BaseException) -> JournalError:
        """Return the `JournalError` that explains a failure to the user."""
        if isinstance(error, JournalError):
            return error
        return self.unusable_error(
            self.describe(error), "No job is started until the database responds again."
        )

    def describe(self, error: BaseException) -> str:
        """Return the type and the first line of an error, without the password."""
        text = redact(next(iter(str(error).strip().splitlines()), ""))
        for secret in self._secrets:  # also those too short for `redact`
            text = text.replace(secret.reveal(), secret.shown)
        return f"{type(error).__name__}: {text}".rstrip(": ")

    def unusable_error(self, reason: str, advice: str) -> JournalError:
        """Return an error that says why the database cannot be used, and what to do."""
        return JournalError(f"The {self._used_as} {self.name} cannot be used: {reason}. {advice}")


def _parse_url(url: str) -> dict[str, Any] | None:
    """Return the settings in an address, None if it cannot be parsed as it was meant.

    A special character in a password that is not written as %XX ends the password: the rest would
    be taken for the host or the database, and be shown in errors.
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


async def execute(
    connection: Connection, query: str, values: tuple[Any, ...] | Mapping[str, Any] = ()
) -> Cursor:
    """Execute a statement of this package, which contains no text from outside."""
    return await connection.execute(query.encode(), values or None)


def is_transient(error: BaseException) -> bool:
    """Return whether an error may be transient, as opposed to a statement that was refused."""
    large = isinstance(error, psycopg.errors.ProgramLimitExceeded)
    return isinstance(error, psycopg.OperationalError) and not large


def is_refused(error: BaseException) -> bool:
    """Return whether the database answered that the address is wrong: password, user, name."""
    return any(text in str(error) for text in _REFUSALS)


async def check_session(connection: Connection, target: DatabaseTarget) -> None:
    """Raise `JournalError` if a pooler gives each transaction another session of the database.

    Listening, settings and prepared statements belong to one session. A pooler is recognised by the
    process id in its greeting, which is not the backend's. Without one, this is a single query.
    """
    backend = await _backend_pid(connection)
    if backend == connection.info.backend_pid:
        return
    shared = False
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT):
            for _ in range(_POOLER_PROBES):
                # A pooler that does not keep sessions gives the idle one to the next client.
                async with await target.connect() as other:
                    shared = await _backend_pid(other) == backend
                if shared := shared or await _backend_pid(connection) != backend:
                    break
    except TimeoutError:
        return
    if shared:
        raise target.unusable_error(
            "a connection pooler gives its sessions away after each transaction (PgBouncer: "
            "pool_mode = transaction)",
            "Use a pool with pool_mode = session, or connect to PostgreSQL directly.",
        )


async def _backend_pid(connection: Connection) -> int:
    row = await (await connection.execute("SELECT pg_backend_pid()")).fetchone()
    return int(row[0]) if row else 0


async def prepare_connection(connection: Connection, target: DatabaseTarget) -> None:
    """Prepare a new connection for the journal; create or migrate the tables if necessary.

    Raises `psycopg.Error`, and `JournalError` if a later version of the package wrote the tables or
    if a pooler does not keep sessions.
    """
    await check_session(connection, target)
    await connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) "
        "WHERE current_setting('synchronous_commit') = 'off'"
    )
    for name, value in (
        ("lock_timeout", str(LOCK_TIMEOUT_MS)),
        ("idle_in_transaction_session_timeout", str(LOCK_TIMEOUT_MS)),
        ("default_transaction_isolation", "read committed"),
    ):
        await connection.execute("SELECT set_config(%s, %s, false)", (name, value))
    if await _schema_version(connection) == SCHEMA_VERSION:
        return
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
        version = await _schema_version(connection)  # another client may have been faster
        if version > SCHEMA_VERSION:
            reason = (
                f"its schema has version {version}, this package supports up to {SCHEMA_VERSION}"
            )
            raise target.unusable_error(reason, "Update a2e-async.")
        if version == 0:
            await connection.execute("CREATE TABLE IF NOT EXISTS a2e_version (version int)")
            await connection.execute("INSERT INTO a2e_version VALUES (0)")
        for migration in MIGRATIONS[version:]:
            for statement in migration.split(";"):
                if statement.strip():
                    await execute(connection, statement)
        await connection.execute("UPDATE a2e_version SET version = %s", (SCHEMA_VERSION,))


async def _schema_version(connection: Connection) -> int:
    # Not to_regclass(): its cache may not contain a table that was just committed.
    query = "SELECT FROM pg_class WHERE relname = 'a2e_version' AND pg_table_is_visible(oid)"
    if await (await connection.execute(query)).fetchone() is None:
        return 0
    row = await (await connection.execute("SELECT max(version) FROM a2e_version")).fetchone()
    return int(row[0] or 0) if row else 0
