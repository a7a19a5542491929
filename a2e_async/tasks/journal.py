"""What a client must not forget: its starts, on disk before each next step happens.

A start goes through `State`s: reserved (its key is taken, nothing was sent), intent (its bytes
may have left), accepted (the service gave its ids), finished, saved. Each is durable before what
follows it is done, so a process can be killed at any instant and another one knows what may have
been paid. `Journal` is what stores them; `a2e_async.tasks.journal_sqlite` does it in a file.

**Who may do what.** Each journal object is an owner with a lease that it renews by itself.
Decisions belong to the living: `Journal.begin`, `Journal.take`, `Journal.drop` and the step to
`State.INTENT` need the lease. A client that stood still for longer than `LEASE` may find that
another one has taken its entry: its step to `State.INTENT` then raises `TakenOver`, and nothing
may be sent. Facts are never refused: from `State.ACCEPTED` on, `Journal.advance` writes down
what any client knows, and ids are only ever added, for each of them may have been paid. One
remote task belongs to one entry: an id that another entry holds is not added, and the entry that
comes back shows it.

**Accounts.** A client binds its journal to its account (`Journal.bind`). From then on it sees
the entries of that account alone, and those without one: they are from before journals knew
accounts, and become the account's when it brings one of them forward. The same key in two
accounts is two starts. A journal that was never bound sees every entry.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from enum import IntEnum
from typing import Any, Final, Protocol, TypedDict, Unpack

from attrs import field, frozen

from a2e_async.errors import JournalError
from a2e_async.narrow import MAX_PRICE, price

LEASE: Final = 30.0
"""Seconds after its last heartbeat in which a client still owns its open entries."""

HEARTBEAT: Final = 5.0
"""Seconds between two heartbeats."""


MAX_COINS: Final = MAX_PRICE
"""The highest price that is kept; a higher one is no price, and sums of these fit a column."""


class TakenOver(JournalError):
    """The entry is no longer this client's: another one works on it, or it was dropped.

    Nothing may be sent for it. It never reaches a user: who gets it waits for the other client.
    """


class ClosedBy:
    """Why an entry is closed, as ``Entry.closed_by``. Nothing else closes one."""

    SAVED: Final = "saved"
    """Its files are on disk."""
    ACKNOWLEDGED: Final = "acknowledged"
    """The user called ``task.ack()``."""
    FAILED: Final = "failed"
    """The API said that the task failed."""
    SETTLED: Final = "settled"
    """The user closed it with ``a2e journal settle``."""
    NO_FILES: Final = "no files"
    """Its kind makes no files, or cannot be polled: there is nothing to save."""
    RETURNED: Final = "returned"
    """A paid call without a task: its caller has the result."""


class State(IntEnum):
    """How far a start has come. It never goes back."""

    RESERVED = 0
    """Its key is taken; nothing was sent."""
    INTENT = 1
    """It is being sent: it may have been accepted and charged."""
    ACCEPTED = 2
    """The service gave its ids."""
    FINISHED = 3
    """The task has ended at the service, well or badly."""
    SAVED = 4
    """Its files are on disk, or there is nothing to save."""


@frozen(kw_only=True)
class Entry:
    """One start as the journal knows it.

    Of the inputs only digests are kept: ``digest`` of all, ``echo`` of those that a record
    repeats, by wire name. ``sent_at`` and ``lost_at`` (seconds since 1970) bound the time in
    which the service may have made the task. ``coins`` is the accepted price, ``reserved`` what
    a budget set aside for it, ``uploads`` what was paid to upload its inputs. ``own_key``: the key
    was made by the client, not by the user. The journal itself sets ``event_at``, ``account``,
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
    failure: str | None = None
    missing_since: float | None = None
    """When the service was found to know its task no more (seconds since 1970); it stays open."""
    closed_by: str | None = None
    """One of `ClosedBy`; None while it is open, and for entries of earlier versions."""
    urls: tuple[str, ...] = field(default=(), repr=False)
    """Results of a charged call that is no task: there is no other way back to them."""
    outputs: int | None = None
    """How many files the finished task has."""
    paths: Mapping[str, str] = field(factory=dict[str, str])
    """Where its files are on disk, by the task's id and the file's place: ``id#0``."""
    meta: Mapping[str, Any] | None = field(default=None, repr=False)
    own_key: bool = False
    hook: str | None = None
    """What names the start in its webhook's token; None for a start without one."""
    event_at: float | None = None
    """When a webhook event of it last came, as `Journal.heard` was told."""
    account: str = ""
    """The account that it belongs to; "" for none in particular."""
    owner: str | None = None
    created_at: float = 0.0
    updated_at: float = 0.0

    @property
    def ref(self) -> str | None:
        """The task's ref, None before it was accepted."""
        return f"{self.kind}:{'+'.join(self.ids)}" if self.ids else None

    @property
    def cost(self) -> int:
        """Coins that it has cost with its uploads, as far as is known.

        Without a known price, what was reserved.
        """
        if (coins := price(self.coins)) is not None:
            return coins + self.uploads
        return self.uploads + (0 if self.succeeded is False else self.reserved or 0)

    @property
    def open(self) -> bool:
        """Whether something is left to do for it: a start to find, a task to wait for or save."""
        return self.state < State.SAVED and self.succeeded is not False

    @property
    def missing(self) -> bool:
        """Whether it is open and the service was found to know its task no more."""
        return self.open and self.missing_since is not None


class Changes(TypedDict, total=False):
    """What `Journal.advance` can set; the fields of `Entry` of the same names."""

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
class Begun:
    """What `Journal.begin` found under a key.

    ``mine``: this client may go on with the entry: it is new, or nothing is known to be accepted
    and it is this client's or its owner is gone. Otherwise its owner is at work on it, it is
    accepted, or it was begun for another kind or digest. ``new``: it was written just now.
    """

    entry: Entry
    mine: bool
    new: bool


@frozen(kw_only=True)
class Spent:
    """Money of the starts of one kind that began on one day.

    ``day`` is in UTC, like ``2026-01-12``. ``coins`` is the sum of the accepted prices,
    ``reserved`` what is set aside for starts whose price is not known and that did not fail;
    ``starts`` counts the entries. Pruned entries still count. Uploads have the kind "upload".
    """

    day: str
    kind: str
    coins: int
    reserved: int
    starts: int


@frozen(kw_only=True)
class Upload:
    """A local input that was uploaded: the service can read it at ``url`` until ``until``.

    ``digest`` is that of the content; ``until`` is in seconds since 1970.
    """

    digest: str
    content_type: str
    url: str
    until: float


@frozen(kw_only=True)
class AccountEntries:
    """How many entries of one account a journal holds, and how many of them are open."""

    account: str
    entries: int
    open: int


class Journal(Protocol):
    """Where a client writes down its starts. All methods return when it is durable.

    One object serves one client, which sees to it that no two starts of its own go on with one
    key. Every method raises `JournalError` when the store fails; then nothing of it was done.
    Cancelling a caller does not take its operation back.
    """

    @property
    def owner(self) -> str:
        """The name under which this client owns entries; unique to this object."""
        ...

    def bind(self, account: str) -> None:
        """Serve this account alone from now on: see and write no other one's entries.

        Raises `ConfigurationError` when it is bound to another one.
        """
        ...

    async def open(self) -> None:
        """Open the store; the other methods do it by themselves."""
        ...

    async def aclose(self) -> None:
        """Carry out what was asked for, give up all leases and close the store."""
        ...

    async def begin(self, entry: Entry) -> Begun:
        """Write a new entry, or return what its key stands for already.

        An id that another entry holds is left out; left without any, it is not accepted.
        """
        ...

    async def advance(self, key: str, state: State, **values: Unpack[Changes]) -> Entry | None:
        """Bring an entry forward (never back), set fields, and return it.

        A ``state`` up to `State.INTENT` raises `TakenOver` when the entry is not this client's.
        Any later one is a fact and is written whoever tells it; None when the entry is not
        there (then `begin` can write it anew). ``ids`` are added to those that are there and
        make the entry accepted, except those that another entry holds: they are not in the
        entry that is returned. When ids are added to others, ``coins`` is their price and is
        added, too. A price that is none (below 0, above `MAX_COINS`) is left out.
        """
        ...

    async def drop(self, key: str) -> bool:
        """Forget an entry of which nothing is at the service: refused, withdrawn.

        Returns whether it was dropped: only this client's own, and never an accepted one.
        """
        ...

    async def get(self, key: str) -> Entry | None:
        """Return the entry of a key."""
        ...

    async def find(self, kind: str, id: str) -> Entry | None:
        """Return the entry that holds this remote task (the first that claimed it)."""
        ...

    async def entries(
        self,
        *,
        states: Collection[State] | None = None,
        open_only: bool = False,
        after: int = 0,
        limit: int = 1000,
    ) -> tuple[Sequence[Entry], int]:
        """Return entries in the order they began, and the place to go on after (0 at the end).

        No entry is given twice or left out because others write between two pages. One that
        cannot be read is logged and left out.
        """
        ...

    async def take(self, key: str) -> bool:
        """Become the owner of an open entry whose owner is gone; tell whether it is ours."""
        ...

    def watch(self, key: str, told: Callable[[Entry | None], None]) -> Callable[[], None]:
        """Call ``told`` when another client changes the entry; return what ends that.

        It gets the entry as it stands now, None when it was dropped or pruned; of several quick
        changes it may get only the last, and one from just before may come, too. What this
        object changes is not told. Watch first, then `get`: so nothing that happens in between is
        missed.
        """
        ...

    async def heard(self, hook: str) -> Entry | None:
        """Note that a webhook event came for the start of this ``hook``; return its entry.

        Whoever it belongs to: ``event_at`` becomes now, and the other clients hear of it as of
        any change. An entry with nothing left to do is returned as it is; None when there is
        none (a start writes its hook before it is sent).
        """
        ...

    def watch_all(self, told: Callable[[Entry], None]) -> Callable[[], None]:
        """Call ``told`` with every entry that another client begins or changes from now on.

        As with `watch`, of several quick changes it may get only the last. One for a whole
        client: it costs the same for one wait and for ten thousand.
        """
        ...

    async def prune(
        self,
        before: float,
        *,
        states: Collection[State] = (State.FINISHED, State.SAVED),
        missing: bool = False,
    ) -> int:
        """Forget entries with nothing left to do, last changed before ``before``; return how many.

        ``before`` is in seconds since 1970. Open entries are never pruned, but with ``missing``
        also those missing since before then. A pruned key is free: used again, it starts, and
        pays, again. `spent` keeps counting what was pruned.
        """
        ...

    async def spent(self) -> Sequence[Spent]:
        """Return coins spent and reserved by day and kind, in that order."""
        ...

    async def uploaded(self, digest: str, content_type: str) -> Upload | None:
        """Return where a content was uploaded to, if it can still be read there."""
        ...

    async def keep_upload(self, upload: Upload) -> None:
        """Keep where a content was uploaded to."""
        ...

    async def pay_upload(self, coins: int) -> None:
        """Count in `spent` what was paid to upload a file."""
        ...

    async def accounts(self, *, open_only: bool = False) -> Sequence[AccountEntries]:
        """Return how many entries each account has, also those that this client does not see."""
        ...

    async def adopt(self, former: str) -> int:
        """Give the entries of another account to this client's; return how many.

        For an account whose key has changed. An entry whose key or task is in an entry of this
        account, too, stays where it is.
        """
        ...
