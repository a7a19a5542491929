"""A journal in PostgreSQL: many workers on many hosts, under one account.

``A2E(journal="postgresql://…")`` creates one. Its leases use the database's clock, so the clocks of
the hosts may differ. NOTIFY informs a worker of changes that others make to the entries it listens
to.
"""

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Final, Unpack

from attrs import evolve

from a2e_async._core.base_errors import hide_frames
from a2e_async._core.journal.protocol import (
    UPLOAD,
    AccountEntries,
    BeginResult,
    Entry,
    EntryChanges,
    JournalCapabilities,
    SpendSummary,
    State,
    UploadedInput,
)
from a2e_async._core.journal.rules import check_account_binding, with_valid_prices
from a2e_async.contrib.postgres import schema as tables
from a2e_async.contrib.postgres.connection import Connection, DatabaseTarget, execute
from a2e_async.contrib.postgres.notifications import OnEntryChanged
from a2e_async.contrib.postgres.worker import JournalWorker
from a2e_async.events import Event

if TYPE_CHECKING:
    from a2e_async.contrib.postgres.peers import PostgresPeerGroup
    from a2e_async.contrib.postgres.rate_limit import PostgresRateLimiter

PRUNE_BATCH_SIZE: Final = 5_000
"""Entries pruned in one transaction."""

CHANGEABLE_FIELDS: Final = frozenset(EntryChanges.__annotations__)

_BLANK_ENTRY: Final = Entry(key="", kind="", digest="")


class PostgresJournal(JournalCapabilities):
    """A `Journal` in the database ``url``; its tables are created at the first use.

    ``url`` is a libpq URL: ``postgresql://user@host/database``. The password comes from
    ``PGPASSWORD``, ``~/.pgpass`` or the URL. In tests ``clock`` (seconds since 1970) replaces the
    database's clock, and ``host_clock`` the loop's. Nothing is opened before the first use; an
    object belongs to one event loop. It holds one connection and reconnects if that is lost. An
    operation waits up to 45 s for an unreachable database, then raises `JournalError`; behind a
    pooler that does not keep sessions it raises at once, and if the first connection is refused
    (password, user, name) after 5 s. In a child of the process that used it every method raises:
    create a new one there.
    """

    shared = True
    """Other clients start jobs of the same account: names carry marks, the rate limit is shared."""

    @hide_frames
    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float] | None = None,
        host_clock: Callable[[], float] | None = None,
    ) -> None:
        self.target: DatabaseTarget = DatabaseTarget(url)
        self._worker = JournalWorker(self.target, clock=clock, host_clock=host_clock)

    def __repr__(self) -> str:
        return f"<PostgresJournal {self.target}>"

    @property
    def owner(self) -> str:
        """The name under which this client owns entries; unique to this object."""
        return self._worker.owner

    def limiter(
        self, rate: float, burst: float, account: str, emit: Callable[[Event], None]
    ) -> "PostgresRateLimiter":
        """Return a rate limiter that shares ``rate`` (requests/s) within ``account``."""
        from a2e_async.contrib.postgres.rate_limit import PostgresRateLimiter

        made = PostgresRateLimiter(self.target, rate, burst, account, emit=emit)
        self._worker.notifications.on_hold(account, made.on_peer_hold)
        return made

    def peers(self, account: str) -> "PostgresPeerGroup":
        """Return the group of clients of ``account`` on this database; one polls for all."""
        from a2e_async.contrib.postgres.peers import PostgresPeerGroup

        return PostgresPeerGroup(self._worker, account)

    def bind(self, account: str) -> None:
        """Use only this account from now on: its entries alone are read and written.

        Raises `ConfigurationError` if the journal is bound to another account.
        """
        self._worker.account = check_account_binding(self._worker.account, account)

    async def open(self) -> None:
        """Connect, and create the tables if necessary."""
        await self._worker.submit(query=_only_connect)

    async def aclose(self) -> None:
        """Finish pending operations, give up the leases, disconnect. May be called again."""
        await self._worker.aclose()

    async def begin(self, entry: Entry) -> BeginResult:
        """Write a new entry, or return the existing one of its key."""
        entry = with_valid_prices(entry)
        self._check_storable(entry)
        return await self._worker.submit(entry.key, lambda group: group.begin(entry), ids=entry.ids)

    async def advance(self, key: str, state: State, **values: Unpack[EntryChanges]) -> Entry | None:
        """Move an entry to a later state (never back), set fields, and return it.

        Raises `LeaseLost` for a step up to `State.INTENT` if another client owns the entry.
        """
        if unknown := values.keys() - CHANGEABLE_FIELDS:
            raise TypeError(f"advance() cannot set {', '.join(sorted(unknown))}")
        self._check_storable(evolve(_BLANK_ENTRY, key=key, **values))
        return await self._worker.submit(
            key, lambda group: group.advance(key, state, values), ids=values.get("ids", ())
        )

    async def drop(self, key: str) -> bool:
        """Delete an entry of this client that has no task at the service; return whether it did."""
        return await self._worker.submit(key, lambda group: group.drop(key))

    async def acquire(self, key: str) -> bool:
        """Become the owner of an open entry whose owner is dead; return whether it is owned now."""
        return await self._worker.submit(key, lambda group: group.acquire(key))

    async def get(self, key: str) -> Entry | None:
        """Return the entry of a key."""
        rows = await self._select(tables.SELECT_BY_KEY, ([key], *self._worker.account_filter))
        return self._decode_entry(rows[-1]) if rows else None

    async def find(self, kind: str, id: str) -> Entry | None:
        """Return the entry of this remote task (the first one that claimed it)."""
        rows = await self._select(tables.SELECT_BY_TASK, (kind, id, *self._worker.account_filter))
        return self._decode_entry(rows[0]) if rows else None

    async def entries(
        self,
        *,
        states: Collection[State] | None = None,
        open_only: bool = False,
        after: int = 0,
        limit: int = 1000,
    ) -> tuple[Sequence[Entry], int]:
        """Return entries in order of creation, and the ``after`` of the next page (0 at the end).

        An entry that is just being committed may be missing.
        """
        if limit < 1:
            raise ValueError("limit must be at least 1")
        among = () if states is None else ([int(state) for state in states],)
        query = tables.page_query(open_only, states is not None)
        rows = await self._select(query, (after, *self._worker.account_filter, *among, limit))
        return tables.to_entries(rows), rows[-1][-1] if len(rows) == limit else 0

    def watch(self, key: str, callback: OnEntryChanged) -> Callable[[], None]:
        """Call ``callback`` on this loop when others change the entry.

        It is called at once if the notification arrives, and within 5 s if it is lost. Return a
        function that stops it.
        """
        return self._worker.notifications.watch(key, callback)

    def watch_all(self, callback: Callable[[Entry], None]) -> Callable[[], None]:
        """Call ``callback`` on this loop with each entry that others change.

        Return a function that stops it.
        """
        return self._worker.notifications.watch_all(callback)

    async def record_event(self, webhook_id: str) -> Entry | None:
        """Record a webhook event of a start; return the entry of the start."""
        rows = await self._select(
            tables.SELECT_BY_WEBHOOK_ID, (webhook_id, *self._worker.account_filter)
        )
        if not rows:
            return None
        key: str = rows[0][0]
        return await self._worker.submit(key, lambda group: group.record_event(key, webhook_id))

    async def prune(
        self,
        before: float,
        *,
        states: Collection[State] = (State.FINISHED, State.SAVED),
        missing: bool = False,
    ) -> int:
        """Delete closed entries last changed before ``before``; return how many.

        With ``missing`` also entries that have been missing at the service since before then.
        """
        among = [int(state) for state in states]
        values = (before, among, missing, before, *self._worker.account_filter, PRUNE_BATCH_SIZE)

        async def some(connection: Connection) -> int:
            cursor = await execute(connection, tables.PRUNE_ENTRIES, values)
            keys = [row[0] for row in await cursor.fetchall()]
            await self._worker.notifications.notify_peers(connection, keys)
            return len(keys)

        pruned = more = await self._worker.submit(query=some)
        while more == PRUNE_BATCH_SIZE:
            pruned += (more := await self._worker.submit(query=some))
        return pruned

    async def spent(self) -> Sequence[SpendSummary]:
        """Return coins spent and reserved by day (UTC) and kind, in that order."""
        return [
            SpendSummary(day=day, kind=kind, coins=coins, reserved=reserved, starts=starts)
            for day, kind, coins, reserved, starts in await self._select(
                tables.SELECT_SPENT, self._worker.account_filter
            )
        ]

    async def find_upload(self, digest: str, content_type: str) -> UploadedInput | None:
        """Return the earlier upload of a content, if its URL is still readable."""
        what = (*self._worker.account_filter, digest, content_type, self._worker.clock())
        for url, until in await self._select(tables.SELECT_UPLOAD, what):
            return UploadedInput(
                digest=digest, content_type=content_type, url=url, valid_until=until
            )
        return None

    async def save_upload(self, upload: UploadedInput) -> None:
        """Record an upload, and delete expired ones."""
        account = self._worker.account or ""

        async def keep(connection: Connection) -> None:
            await execute(connection, tables.DELETE_EXPIRED_UPLOADS, (self._worker.clock(),))
            values = (account, upload.digest, upload.content_type, upload.url, upload.valid_until)
            await execute(connection, tables.SAVE_UPLOAD, values)

        await self._worker.submit(query=keep)

    async def record_upload_cost(self, coins: int, *, reserved: int = 0) -> None:
        """Add the cost of an upload, charged or reserved (coins), to `spent`."""
        values = (self._worker.account or "", self._worker.clock(), UPLOAD, coins, reserved)
        await self._worker.submit(
            query=lambda connection: execute(connection, tables.ADD_UPLOAD_COST, values)
        )

    async def accounts(self, *, open_only: bool = False) -> Sequence[AccountEntries]:
        """Return the number of entries of each account, including accounts not visible here."""
        return [
            AccountEntries(account=account, entries=entries, open=some)
            for account, entries, some in await self._select(tables.accounts_query(open_only))
        ]

    async def adopt_account(self, former_account: str) -> int:
        """Move the entries of another account to this client's account; return how many."""
        values = {"account": self._worker.account or "", "former": former_account}
        if former_account == values["account"]:
            return 0

        async def adopt(connection: Connection) -> int:
            cursor = await execute(connection, tables.ADOPT_ACCOUNT, values)
            return len(await cursor.fetchall())

        return await self._worker.submit(query=adopt)

    def _decode_entry(self, row: tuple[Any, ...]) -> Entry:
        try:
            return tables.to_entry(row)
        except Exception as error:
            reason = f"its entry for key {row[0]!r} cannot be decoded ({type(error).__name__})"
            raise self.target.unusable_error(reason, "Check that row of a2e_jobs.") from error

    async def _select(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        async def select(connection: Connection) -> list[tuple[Any, ...]]:
            return await (await execute(connection, query, values)).fetchall()

        return await self._worker.submit(query=select)

    def _check_storable(self, entry: Entry) -> None:
        try:
            tables.to_row(entry)
        except (TypeError, ValueError, RecursionError) as error:
            reason = f"it cannot store these values ({type(error).__name__}: {error})"
            raise self.target.unusable_error(reason, "Pass plain JSON values.") from error


async def _only_connect(_: Connection) -> None:
    """A query that does nothing, to connect."""
