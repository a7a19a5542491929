"""A journal in PostgreSQL: many workers on many hosts, under one account.

``A2E(journal="postgresql://…")`` creates one. Its leases use the database's clock, so the clocks of
the hosts may differ. NOTIFY informs a worker of changes that others make to the entries it listens
to.
"""

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Final, Unpack

from attrs import evolve

from a2e_async.contrib import postgres_tables as tables
from a2e_async.contrib.postgres_link import Connection, Target, run
from a2e_async.contrib.postgres_news import Told
from a2e_async.contrib.postgres_worker import Worker
from a2e_async.errors import sealed
from a2e_async.events import Event
from a2e_async.tasks.budget import UPLOAD
from a2e_async.tasks.journal import (
    AccountEntries,
    Begun,
    Changes,
    Entry,
    Spent,
    State,
    Upload,
)
from a2e_async.tasks.journal_rules import bound, priced

if TYPE_CHECKING:
    from a2e_async.contrib.postgres_crew import PostgresCrew
    from a2e_async.contrib.postgres_limiter import PostgresLimiter

PRUNED: Final = 5_000
"""Entries pruned in one transaction."""

CHANGEABLE: Final = frozenset(Changes.__annotations__)

_PLAIN: Final = Entry(key="", kind="", digest="")


class PostgresJournal:
    """A `Journal` in the database ``url``; its tables are created at the first use.

    ``url`` is a libpq URL: ``postgresql://user@host/database``. The password comes from
    ``PGPASSWORD``, ``~/.pgpass`` or the URL. In tests ``clock`` (seconds since 1970) replaces the
    database's clock, and ``host_clock`` the loop's. Nothing is opened before the first use; an
    object belongs to one event loop. It holds one connection and reconnects if that is lost. An
    operation waits up to 45 s for an unreachable database, then raises `JournalError`. In a child
    of the process that used it every method raises: create a new one there.
    """

    shared = True
    """Other clients start jobs of the same account: names carry marks, the rate limit is shared."""

    @sealed
    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float] | None = None,
        host_clock: Callable[[], float] | None = None,
    ) -> None:
        self.target = Target(url)
        self._worker = Worker(self.target, clock=clock, host_clock=host_clock)

    def __repr__(self) -> str:
        return f"<PostgresJournal {self.target}>"

    @property
    def owner(self) -> str:
        """The name under which this client owns entries; unique to this object."""
        return self._worker.owner

    def limiter(
        self, rate: float, burst: float, account: str, emit: Callable[[Event], None]
    ) -> "PostgresLimiter":
        """Return a rate limiter that shares ``rate`` (requests/s) within ``account``."""
        from a2e_async.contrib.postgres_limiter import PostgresLimiter

        made = PostgresLimiter(self.target, rate, burst, account, emit=emit)
        self._worker.news.on_hold(account, made.held_elsewhere)
        return made

    def crew(self, account: str) -> "PostgresCrew":
        """Return the group of clients of ``account`` on this database; one polls for all."""
        from a2e_async.contrib.postgres_crew import PostgresCrew

        return PostgresCrew(self._worker, account)

    def bind(self, account: str) -> None:
        """Use only this account from now on: its entries alone are read and written.

        Raises `ConfigurationError` if the journal is bound to another account.
        """
        self._worker.account = bound(self._worker.account, account)

    async def open(self) -> None:
        """Connect, and create the tables if necessary."""
        await self._worker.ask(query=_nothing)

    async def aclose(self) -> None:
        """Finish pending operations, give up the leases, disconnect. May be called again."""
        await self._worker.aclose()

    async def begin(self, entry: Entry) -> Begun:
        """Write a new entry, or return the existing one of its key."""
        entry = priced(entry)
        self._held(entry)
        return await self._worker.ask(entry.key, lambda group: group.begin(entry), ids=entry.ids)

    async def advance(self, key: str, state: State, **values: Unpack[Changes]) -> Entry | None:
        """Move an entry to a later state (never back), set fields, and return it.

        Raises `LeaseLost` for a step up to `State.INTENT` if another client owns the entry.
        """
        if unknown := values.keys() - CHANGEABLE:
            raise TypeError(f"advance() cannot set {', '.join(sorted(unknown))}")
        self._held(evolve(_PLAIN, key=key, **values))
        return await self._worker.ask(
            key, lambda group: group.advance(key, state, values), ids=values.get("ids", ())
        )

    async def drop(self, key: str) -> bool:
        """Delete an entry of this client that has no task at the service; return whether it did."""
        return await self._worker.ask(key, lambda group: group.drop(key))

    async def take(self, key: str) -> bool:
        """Become the owner of an open entry whose owner is dead; return whether it is owned now."""
        return await self._worker.ask(key, lambda group: group.take(key))

    async def get(self, key: str) -> Entry | None:
        """Return the entry of a key."""
        rows = await self._select(tables.BY_KEY, ([key], *self._worker.mine))
        return self._read(rows[-1]) if rows else None

    async def find(self, kind: str, id: str) -> Entry | None:
        """Return the entry of this remote task (the first one that claimed it)."""
        rows = await self._select(tables.BY_TASK, (kind, id, *self._worker.mine))
        return self._read(rows[0]) if rows else None

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
        rows = await self._select(query, (after, *self._worker.mine, *among, limit))
        return tables.to_entries(rows), rows[-1][-1] if len(rows) == limit else 0

    def watch(self, key: str, told: Told) -> Callable[[], None]:
        """Call ``callback`` on this loop when others change the entry.

        It is called at once if the notification arrives, and within 5 s if it is lost. Return a
        function that stops it.
        """
        return self._worker.news.watch(key, told)

    def watch_all(self, told: Callable[[Entry], None]) -> Callable[[], None]:
        """Call ``callback`` on this loop with each entry that others change.

        Return a function that stops it.
        """
        return self._worker.news.watch_all(told)

    async def heard(self, hook: str) -> Entry | None:
        """Record a webhook event of a start; return the entry of the start."""
        rows = await self._select(tables.BY_HOOK, (hook, *self._worker.mine))
        if not rows:
            return None
        key: str = rows[0][0]
        return await self._worker.ask(key, lambda group: group.heard(key, hook))

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
        values = (before, among, missing, before, *self._worker.mine, PRUNED)

        async def some(link: Connection) -> int:
            cursor = await run(link, tables.PRUNE, values)
            keys = [row[0] for row in await cursor.fetchall()]
            await self._worker.news.tell(link, keys)
            return len(keys)

        pruned = more = await self._worker.ask(query=some)
        while more == PRUNED:
            pruned += (more := await self._worker.ask(query=some))
        return pruned

    async def spent(self) -> Sequence[Spent]:
        """Return coins spent and reserved by day (UTC) and kind, in that order."""
        return [
            Spent(day=day, kind=kind, coins=coins, reserved=reserved, starts=starts)
            for day, kind, coins, reserved, starts in await self._select(
                tables.SUMS, self._worker.mine
            )
        ]

    async def uploaded(self, digest: str, content_type: str) -> Upload | None:
        """Return the earlier upload of a content, if its URL is still readable."""
        what = (*self._worker.mine, digest, content_type, self._worker.clock())
        for url, until in await self._select(tables.UPLOADED, what):
            return Upload(digest=digest, content_type=content_type, url=url, until=until)
        return None

    async def keep_upload(self, upload: Upload) -> None:
        """Record an upload, and delete expired ones."""
        account = self._worker.account or ""

        async def keep(link: Connection) -> None:
            await run(link, tables.CLEAR_UPLOADS, (self._worker.clock(),))
            values = (account, upload.digest, upload.content_type, upload.url, upload.until)
            await run(link, tables.KEEP_UPLOAD, values)

        await self._worker.ask(query=keep)

    async def pay_upload(self, coins: int) -> None:
        """Add the cost of an upload to `spent`."""
        values = (self._worker.account or "", self._worker.clock(), UPLOAD, coins)
        await self._worker.ask(query=lambda link: run(link, tables.PAY, values))

    async def accounts(self, *, open_only: bool = False) -> Sequence[AccountEntries]:
        """Return the number of entries of each account, including accounts not visible here."""
        return [
            AccountEntries(account=account, entries=entries, open=some)
            for account, entries, some in await self._select(tables.accounts_query(open_only))
        ]

    async def adopt(self, former: str) -> int:
        """Move the entries of another account to this client's account; return how many."""
        values = {"account": self._worker.account or "", "former": former}
        if former == values["account"]:
            return 0

        async def adopt(link: Connection) -> int:
            cursor = await run(link, tables.ADOPT, values)
            return len(await cursor.fetchall())

        return await self._worker.ask(query=adopt)

    def _read(self, row: tuple[Any, ...]) -> Entry:
        try:
            return tables.to_entry(row)
        except Exception as error:
            why = f"its entry for key {row[0]!r} cannot be decoded ({type(error).__name__})"
            raise self.target.unusable(why, "Check that row of a2e_jobs.") from error

    async def _select(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        async def select(link: Connection) -> list[tuple[Any, ...]]:
            return await (await run(link, query, values)).fetchall()

        return await self._worker.ask(query=select)

    def _held(self, entry: Entry) -> None:
        try:
            tables.to_row(entry)
        except (TypeError, ValueError, RecursionError) as error:
            why = f"it cannot store these values ({type(error).__name__}: {error})"
            raise self.target.unusable(why, "Pass plain JSON values.") from error


async def _nothing(_: Connection) -> None:
    """A query that does nothing, to connect."""
