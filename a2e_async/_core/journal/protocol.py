"""The journal protocol: durable records of starts, each step written before the next one.

A start goes through `State`s: reserved (its key is taken, nothing was sent), intent (it may have
been sent), accepted (the service returned its ids), finished, saved. Each state is durable before
the next step begins, so after a crash at any point another process knows what may have been paid.
`Journal` is the protocol of a store; `a2e_async._core.journal.sqlite` implements it with a file.
What a store may do beyond that (share a rate limit, poll for others) is `JournalCapabilities`.

**Ownership.** Each journal object is an owner with a lease that it renews itself. Decisions need
the lease: `Journal.begin`, `Journal.acquire`, `Journal.drop` and the step to `State.INTENT`. If a
client was suspended for longer than `LEASE_DURATION`, another one may have acquired its entry;
then its step to `State.INTENT` raises `LeaseLost`, and nothing may be sent. Facts need no lease:
from `State.ACCEPTED` on, `Journal.advance` writes what any client knows. Ids are only ever added,
because each of them may have been paid. A remote task belongs to one entry: an id that another
entry holds is not added, as the returned entry shows.

**Accounts.** A client binds its journal to its account (`Journal.bind`). From then on it sees
only the entries of that account and those without one. The latter were written before journals
had accounts; they get the account when the client advances them. The same key in two accounts
means two starts. A journal that was never bound sees every entry.
"""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, Protocol, TypedDict, Unpack

from attrs import field, frozen

from a2e_async._core.journal.peers import PeerGroup
from a2e_async._core.typeguards import MAX_PRICE, parse_price
from a2e_async.errors import JournalError

if TYPE_CHECKING:
    from a2e_async._core.http.rate_limit import RateLimiter
    from a2e_async.events import Event

LEASE_DURATION: Final = 30.0
"""Seconds after the last heartbeat during which a client still owns its open entries."""

HEARTBEAT_INTERVAL: Final = 5.0
"""Seconds between two heartbeats."""


MAX_COINS: Final = MAX_PRICE
"""The highest price that is stored (coins); sums of such prices still fit into a column."""


class LeaseLost(JournalError):
    """The entry is no longer this client's: another client acquired it, or it was dropped.

    Nothing may be sent for it. Users never see this error: the client then waits for the other
    client's result.
    """


class ClosedBy:
    """The values of ``Entry.closed_by``: all reasons for which an entry is closed."""

    SAVED: Final = "saved"
    """Its files are on disk."""
    ACKNOWLEDGED: Final = "acknowledged"
    """The user called ``task.ack()``."""
    FAILED: Final = "failed"
    """The API reported that the task failed, and it has no good outputs to save."""
    SETTLED: Final = "settled"
    """The user closed it with ``a2e journal settle``."""
    NO_FILES: Final = "no files"
    """The task has no files or cannot be polled: there is nothing to save."""
    RETURNED: Final = "returned"
    """A paid call without a task returned its result to the caller."""


class State(IntEnum):
    """The progress of a start; it never goes back."""

    RESERVED = 0
    """Its key is reserved; nothing was sent."""
    INTENT = 1
    """It may have been sent, accepted and charged."""
    ACCEPTED = 2
    """The service returned its ids."""
    FINISHED = 3
    """The task has succeeded or failed at the service."""
    SAVED = 4
    """Its files are on disk, or there is nothing to save."""


@frozen(kw_only=True)
class Entry:
    """The journal's record of one start.

    Inputs are stored as digests only: ``digest`` of all of them, ``echo`` of those that a record
    shows, by wire name. ``sent_at`` and ``lost_at`` (seconds since 1970) limit the period in
    which the service may have created the task. ``coins`` is the accepted price, ``reserved``
    the coins that a budget reserved for it, ``uploads`` the coins paid to upload its inputs.
    ``own_key``: the client generated the key. The journal itself sets ``event_at``, ``account``,
    ``owner``, ``created_at`` and ``updated_at`` (seconds since 1970).
    """

    key: str
    kind: str
    digest: str
    state: State = State.RESERVED
    path: str = ""
    name: str | None = None
    mark: str | None = None
    echo: Mapping[str, str] = field(factory=dict[str, str], repr=False)
    expected: int = 1
    sent_at: float | None = None
    lost_at: float | None = None
    ids: tuple[str, ...] = ()
    coins: int | None = None
    reserved: int | None = None
    uploads: int = 0
    succeeded: bool | None = None
    """How it ended; None until then, and until the good outputs of a failed task are saved."""
    failure: str | None = None
    """Why the task failed; None for all other tasks."""
    missing_since: float | None = None
    """When the service first did not know the task (seconds since 1970); the entry stays open."""
    closed_by: str | None = None
    """One of `ClosedBy`; None while the entry is open, and for entries of earlier versions."""
    urls: tuple[str, ...] = field(default=(), repr=False)
    """The results of a paid call without a task; the service has no list of them."""
    outputs: int | None = None
    """How many files the finished task has; of a failed one, its good outputs."""
    paths: Mapping[str, str] = field(factory=dict[str, str])
    """The paths of saved files, by task id and index of the file: ``id#0``."""
    meta: Mapping[str, Any] | None = field(default=None, repr=False)
    own_key: bool = False
    hook: str | None = None
    """Identifies the start in its webhook token; None for a start without a webhook."""
    event_at: float | None = None
    """When its last webhook event was recorded (seconds since 1970)."""
    account: str = ""
    """The account that the entry belongs to; "" if none is known."""
    owner: str | None = None
    created_at: float = 0.0
    updated_at: float = 0.0

    @property
    def ref(self) -> str | None:
        """The task's ref; None before the start is accepted."""
        return f"{self.kind}:{'+'.join(self.ids)}" if self.ids else None

    @property
    def cost(self) -> int:
        """The price including uploads (coins); the reserved coins if the price is unknown."""
        if (coins := parse_price(self.coins)) is not None:
            return coins + self.uploads
        return self.uploads + (0 if self.succeeded is False else self.reserved or 0)

    @property
    def open(self) -> bool:
        """Whether something is left to do: a start to find, a task to wait for or to save."""
        return self.state < State.SAVED and self.succeeded is not False

    @property
    def failed(self) -> bool:
        """Whether the task failed. While good outputs of it are to be saved, it is still `open`."""
        return self.succeeded is False or self.failure is not None

    @property
    def missing(self) -> bool:
        """Whether it is open and the service no longer knows its task."""
        return self.open and self.missing_since is not None


class EntryChanges(TypedDict, total=False):
    """The fields of `Entry` that `Journal.advance` can set."""

    path: str
    name: str | None
    mark: str | None
    echo: Mapping[str, str]
    expected: int
    sent_at: float | None
    lost_at: float | None
    ids: tuple[str, ...]
    coins: int | None
    reserved: int | None
    uploads: int
    succeeded: bool | None
    failure: str | None
    missing_since: float | None
    closed_by: str | None
    urls: tuple[str, ...]
    outputs: int | None
    paths: Mapping[str, str]
    meta: Mapping[str, Any] | None
    own_key: bool
    hook: str | None


@frozen
class BeginResult:
    """The result of `Journal.begin`.

    ``is_owner``: this client may continue the start, because the entry is new, or because it is
    not accepted and belongs to this client or to an owner that is gone. Otherwise another owner
    works on it, it is accepted, or it was begun with another kind or digest. ``created``: the
    entry was written by this call.
    """

    entry: Entry
    is_owner: bool
    created: bool


@frozen(kw_only=True)
class SpendSummary:
    """The cost of the starts of one kind that began on one day.

    ``day`` is a UTC date such as ``2026-01-12``. ``coins`` is the sum of the accepted prices,
    ``reserved`` that of the reservations of starts that have no price and did not fail.
    ``starts`` counts the entries. Pruned entries are included. Uploads have the kind "upload".
    """

    day: str
    kind: str
    coins: int
    reserved: int
    starts: int


@frozen(kw_only=True)
class UploadedInput:
    """An uploaded input file, which the service can read at ``url`` until ``valid_until``.

    ``digest`` is that of the content; ``valid_until`` is in seconds since 1970.
    """

    digest: str
    content_type: str
    url: str
    valid_until: float


@frozen(kw_only=True)
class AccountEntries:
    """The number of entries of one account in a journal, and how many of them are open."""

    account: str
    entries: int
    open: int


class Journal(Protocol):
    """A store of a client's starts. Methods that write return when the data is durable.

    One object serves one client, which makes sure that only one of its own starts uses a key at a
    time. Every method raises `JournalError` if the store fails; then it has changed nothing.
    Cancelling a caller does not undo its operation.
    """

    @property
    def owner(self) -> str:
        """The name under which this object owns entries; unique."""
        ...

    def bind(self, account: str) -> None:
        """Bind the journal to an account: from now on only its entries are read and written.

        Raises `ConfigurationError` if the journal is bound to another account.
        """
        ...

    async def open(self) -> None:
        """Open the store. The other methods open it themselves when necessary."""
        ...

    async def aclose(self) -> None:
        """Complete submitted operations, release all leases and close the store."""
        ...

    async def begin(self, entry: Entry) -> BeginResult:
        """Write a new entry, or return the one that exists under its key.

        Ids that another entry holds are left out; an entry left without ids is not accepted.
        """
        ...

    async def advance(self, key: str, state: State, **values: Unpack[EntryChanges]) -> Entry | None:
        """Advance an entry's state (never back), set fields, and return it.

        A ``state`` up to `State.INTENT` raises `LeaseLost` if the entry is not this client's. A
        later state is a fact: any client may write it. Return None if there is no entry; `begin`
        can create it again.

        ``ids`` are added to the existing ones and make the entry accepted. Ids that another
        entry holds are left out of the returned entry. If the entry had ids before, ``coins`` is
        the price of the new ids and is added. An invalid price (below 0 or above `MAX_COINS`) is
        ignored.
        """
        ...

    async def drop(self, key: str) -> bool:
        """Delete the entry of a start that was refused or withdrawn; return whether it was.

        Only an entry of this client that is not accepted is deleted.
        """
        ...

    async def get(self, key: str) -> Entry | None:
        """Return the entry with a key."""
        ...

    async def find(self, kind: str, id: str) -> Entry | None:
        """Return the entry that holds this remote task."""
        ...

    async def entries(
        self,
        *,
        states: Collection[State] | None = None,
        open_only: bool = False,
        after: int = 0,
        limit: int = 1000,
    ) -> tuple[Sequence[Entry], int]:
        """Return a page of entries in the order of creation, and ``after`` of the next page.

        ``after`` is 0 on the last page. Writes between two pages neither repeat nor skip an
        entry. An unreadable entry is logged and left out.
        """
        ...

    async def acquire(self, key: str) -> bool:
        """Acquire an open entry whose owner is gone; return whether it is this client's now."""
        ...

    def watch(self, key: str, callback: Callable[[Entry | None], None]) -> Callable[[], None]:
        """Call ``callback`` when another client changes the entry; return a function that stops it.

        The callback receives the current entry, or None if it was dropped or pruned. Of several
        quick changes it may receive only the last, and also one from just before. Changes by
        this object are not reported. To miss nothing, call `watch` before `get`.
        """
        ...

    async def record_event(self, webhook_id: str) -> Entry | None:
        """Record a webhook event for the start with this webhook id; return its entry.

        Any client may record it: ``event_at`` is set, and other clients are notified as of any
        change. A closed entry is returned unchanged. Return None if there is no entry (a start
        stores its webhook id before it is sent).
        """
        ...

    def watch_all(self, callback: Callable[[Entry], None]) -> Callable[[], None]:
        """Call ``callback`` with every entry that another client begins or changes.

        Return a function that stops it. Of several quick changes the callback may receive only
        the last. One listener serves a whole client, however many waiters it has.
        """
        ...

    async def prune(
        self,
        before: float,
        *,
        states: Collection[State] = (State.FINISHED, State.SAVED),
        missing: bool = False,
    ) -> int:
        """Delete finished entries last changed before ``before``; return how many.

        ``before`` is in seconds since 1970. Open entries are kept, except with ``missing``: then
        those missing since before that time are deleted, too. Reusing the key of a deleted entry
        starts, and charges for, a new task. `spent` still includes deleted entries.
        """
        ...

    async def spent(self) -> Sequence[SpendSummary]:
        """Return the coins spent and reserved, sorted by day and kind."""
        ...

    async def find_upload(self, digest: str, content_type: str) -> UploadedInput | None:
        """Return an earlier upload of the same content that is still valid, if any."""
        ...

    async def save_upload(self, upload: UploadedInput) -> None:
        """Store an upload, so that the same content need not be uploaded again."""
        ...

    async def record_upload_cost(self, coins: int, *, reserved: int = 0) -> None:
        """Add the price of an upload (coins) to `spent`.

        ``reserved`` are the coins of one that may have been charged: its response was lost.
        """
        ...

    async def accounts(self, *, open_only: bool = False) -> Sequence[AccountEntries]:
        """Return how many entries each account has, including accounts not bound here."""
        ...

    async def adopt_account(self, former_account: str) -> int:
        """Move the entries of another account to this client's account; return how many.

        For an account whose API key has changed. Entries whose key or task is already in an entry
        of this account are not moved.
        """
        ...


class EntryFilters(TypedDict, total=False):
    """The options of `Journal.entries`, apart from the position of the page."""

    states: Collection[State] | None
    open_only: bool
    limit: int


async def entry_pages(
    journal: Journal, **filters: Unpack[EntryFilters]
) -> AsyncGenerator[Sequence[Entry]]:
    """Yield all pages of `Journal.entries`, one after the other."""
    after = 0
    while True:
        entries, after = await journal.entries(after=after, **filters)
        yield entries
        if not after:
            return


class JournalCapabilities:
    """What a journal can do beyond what `Journal` requires; by default nothing.

    A journal of your own needs the methods of `Journal` only, and everything works with it. One
    that can do more inherits from this class and overrides what it can: without inheriting, an
    attribute with one of these names has no effect. Stateless: the journal itself holds the state.
    """

    shared: bool = False
    """Whether other clients start jobs of the same account; then names always carry a mark."""

    def withdraw(self, key: str, sent_at: float) -> None:
        """Drop the entry of a start that was not sent, without waiting. Does nothing by default.

        Called when an event loop or the process ends and no coroutine can run any more. An entry
        with another ``sent_at`` (seconds since 1970) belongs to a later attempt and is kept.
        Without this, the next run searches for the start, and finds nothing. May raise
        `JournalError`.
        """

    def limiter(
        self,
        rate: float,
        burst: float,
        account: str,
        emit: "Callable[[Event], None]",
    ) -> "RateLimiter | None":
        """Return a limiter that shares ``rate`` (requests/s) among the clients of ``account``.

        None, the default: each client keeps to its own ``rate`` and ``burst`` (requests). ``emit``
        takes events for the user.
        """
        return None

    def peers(self, account: str) -> PeerGroup | None:
        """Return the group of clients of ``account``, of which one polls for all.

        None, the default: each client polls for itself.
        """
        return None


_NO_CAPABILITIES: Final = JournalCapabilities()


def capabilities_of(journal: Journal | None) -> JournalCapabilities:
    """Return what a journal can do beyond what is required; without a journal that is nothing."""
    return journal if isinstance(journal, JournalCapabilities) else _NO_CAPABILITIES


UPLOAD: Final = "upload"
"""The kind under which uploads are counted."""
