"""An in-memory journal: the reference model for the other implementations."""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Unpack

from attrs import define, evolve, field

from a2e_async._core.journal.protocol import (
    HEARTBEAT_INTERVAL,
    LEASE_DURATION,
    MAX_COINS,
    AccountEntries,
    BeginResult,
    Entry,
    EntryChanges,
    LeaseLost,
    SpendSummary,
    State,
    UploadedInput,
)
from a2e_async.errors import ConfigurationError

KeyCallback = Callable[[Entry | None], None]
EntryCallback = Callable[[Entry], None]


@define(eq=False)
class ClientClocks:
    """The clocks of one client. A frozen clock simulates a suspended or killed process."""

    world: "SharedJournalState"
    frozen: float | None = None

    def wall(self) -> float:
        return 1_768_000_000.0 + self.world.now

    def host(self) -> float:
        return self.world.now if self.frozen is None else self.frozen


@define(eq=False)
class SharedJournalState:
    """The state that all clients of a journal share."""

    now: float = 1_000.0
    entries: dict[int, Entry] = field(factory=dict[int, Entry])
    leases: dict[str, float] = field(factory=dict[str, float])
    pruned: list[Entry] = field(factory=list[Entry])
    uploads: dict[tuple[str, str, str], UploadedInput] = field(
        factory=dict[tuple[str, str, str], UploadedInput]
    )
    upload_coins: list[tuple[str, float, int, int]] = field(
        factory=list[tuple[str, float, int, int]]
    )
    last_seq: int = 0
    watchers: list[tuple["ModelJournal", str, KeyCallback]] = field(
        factory=list[tuple["ModelJournal", str, KeyCallback]]
    )

    listeners: list[tuple["ModelJournal", EntryCallback]] = field(
        factory=list[tuple["ModelJournal", EntryCallback]]
    )

    def notify(self, by: "ModelJournal", key: str, entry: Entry | None) -> None:
        for client, callback in tuple(self.listeners):
            if client is not by and entry is not None and client.is_visible(entry.account):
                callback(entry)
        for client, watched_key, callback in tuple(self.watchers):
            if (
                client is not by
                and watched_key == key
                and (not entry or client.is_visible(entry.account))
            ):
                callback(entry)


@define(eq=False)
class ModelJournal:
    """One client of a `SharedJournalState`."""

    world: SharedJournalState
    owner: str
    time: ClientClocks
    account: str | None = None
    last_heartbeat: float = float("-inf")

    def is_visible(self, account: str) -> bool:
        return self.account is None or account in (self.account, "")

    def bind(self, account: str) -> None:
        if self.account not in (None, account):
            raise ConfigurationError("A journal object serves one account.")
        self.account = account

    def _renew_lease(self) -> None:
        now = self.time.host()
        if now - self.last_heartbeat >= HEARTBEAT_INTERVAL:
            if self.last_heartbeat == float("-inf"):  # a new client deletes expired leases
                for owner, until in tuple(self.world.leases.items()):
                    if not now <= until <= now + LEASE_DURATION + 1:
                        del self.world.leases[owner]
            self.world.leases[self.owner], self.last_heartbeat = now + LEASE_DURATION, now

    def _visible_entries(self) -> list[tuple[int, Entry]]:
        self._renew_lease()
        return [
            pair for pair in sorted(self.world.entries.items()) if self.is_visible(pair[1].account)
        ]

    def _at(self, key: str) -> int | None:
        found = [(one.account, seq) for seq, one in self._visible_entries() if one.key == key]
        return min(found)[1] if found else None

    def _entry(self, key: str) -> Entry | None:
        at = self._at(key)
        return None if at is None else self.world.entries[at]

    def _put(self, at: int, entry: Entry) -> Entry:
        entry = evolve(entry, updated_at=self.time.wall())
        self.world.entries[at] = entry
        self.world.notify(self, entry.key, entry)
        return entry

    def _is_held_by_other(self, kind: str, id: str, account: str) -> bool:
        """Whether an entry of the account, or one without an account, holds a task."""
        return any(
            one.kind == kind and id in one.ids and (not account or one.account in (account, ""))
            for one in self.world.entries.values()
        )

    def _owner_is_alive(self, owner: str | None) -> bool:
        return self.world.leases.get(owner or "", 0) > self.time.host()

    async def open(self) -> None:
        self._renew_lease()

    async def aclose(self) -> None:
        self.world.leases.pop(self.owner, None)

    async def begin(self, entry: Entry) -> BeginResult:
        at = self._at(entry.key)
        if at is None:
            self.world.last_seq += 1
            now, account = self.time.wall(), self.account or ""
            ids = tuple(
                id for id in entry.ids if not self._is_held_by_other(entry.kind, id, account)
            )
            entry = evolve(
                entry,
                ids=ids,
                state=entry.state if ids or not entry.ids else min(entry.state, State.INTENT),
                coins=_price(entry.coins),
                reserved=_price(entry.reserved),
                account=account,
                owner=self.owner,
                created_at=now,
                updated_at=now,
            )
            self.world.entries[self.world.last_seq] = entry
            self.world.notify(self, entry.key, entry)
            return BeginResult(entry, is_owner=True, created=True)
        found = self.world.entries[at]
        mine = (
            (found.kind, found.digest) == (entry.kind, entry.digest)
            and found.state < State.ACCEPTED
            and await self.acquire(entry.key)
        )
        return BeginResult(self.world.entries[at], is_owner=mine, created=False)

    async def advance(self, key: str, state: State, **values: Unpack[EntryChanges]) -> Entry | None:
        at = self._at(key)
        entry = None if at is None else self.world.entries[at]
        before_sending = state in (State.RESERVED, State.INTENT)
        if before_sending and (
            entry is None or entry.owner != self.owner or entry.state >= State.ACCEPTED
        ):
            raise LeaseLost(key)
        if at is None or entry is None:
            return None
        changes: dict[str, Any] = dict(values)
        for name in changes.keys() & {"coins", "reserved"}:
            changes[name] = _price(changes[name])
        known = {} if entry.coins is None else {"coins": entry.coins}
        wanted = [id for id in values.get("ids", ()) if id not in entry.ids]
        new = [id for id in wanted if not self._is_held_by_other(entry.kind, id, entry.account)]
        if new and entry.ids and changes.get("coins") is not None:
            changes["coins"] = _price(changes["coins"] + (entry.coins or 0))
        if new:
            state = max(state, State.ACCEPTED)
        elif wanted and not entry.ids:
            state = min(state, State.INTENT)
            changes.pop("coins", None)
        if changes.get("coins") is None:
            changes |= known
        changes["ids"] = (*entry.ids, *dict.fromkeys(new))
        if state > entry.state and self.account and not entry.account:
            changes["account"] = self.account
        return self._put(at, evolve(entry, **changes, state=max(state, entry.state)))

    async def drop(self, key: str) -> bool:
        at = self._at(key)
        entry = None if at is None else self.world.entries[at]
        if entry is None or entry.owner != self.owner or entry.state >= State.ACCEPTED:
            return False
        assert at is not None
        del self.world.entries[at]
        self.world.notify(self, key, None)
        return True

    async def acquire(self, key: str) -> bool:
        at = self._at(key)
        entry = None if at is None else self.world.entries[at]
        if at is None or entry is None or not entry.open:
            return False
        if entry.owner == self.owner:
            return True
        if self._owner_is_alive(entry.owner):
            return False
        self._put(at, evolve(entry, owner=self.owner))
        return True

    async def get(self, key: str) -> Entry | None:
        return self._entry(key)

    async def find(self, kind: str, id: str) -> Entry | None:
        found = [
            (one.account, -seq)
            for seq, one in self._visible_entries()
            if one.kind == kind and id in one.ids
        ]
        return self.world.entries[-max(found)[1]] if found else None

    async def entries(
        self,
        *,
        states: Collection[State] | None = None,
        open_only: bool = False,
        after: int = 0,
        limit: int = 1000,
    ) -> tuple[Sequence[Entry], int]:
        page = [
            (seq, entry)
            for seq, entry in self._visible_entries()
            if seq > after
            and (not open_only or entry.open)
            and (states is None or entry.state in states)
        ][:limit]
        return [entry for _, entry in page], page[-1][0] if len(page) == limit else 0

    def watch(self, key: str, callback: KeyCallback) -> Callable[[], None]:
        watcher = (self, key, callback)
        self.world.watchers.append(watcher)
        return lambda: self.world.watchers.remove(watcher)

    async def record_event(self, webhook_id: str) -> Entry | None:
        found = [(seq, one) for seq, one in self._visible_entries() if one.hook == webhook_id]
        if not found:
            return None
        at, entry = found[0]
        return self._put(at, evolve(entry, event_at=self.time.wall())) if entry.open else entry

    def watch_all(self, callback: EntryCallback) -> Callable[[], None]:
        listener = (self, callback)
        self.world.listeners.append(listener)
        return lambda: self.world.listeners.remove(listener)

    async def prune(
        self,
        before: float,
        *,
        states: Collection[State] = (State.FINISHED, State.SAVED),
        missing: bool = False,
    ) -> int:
        old = [
            (seq, entry)
            for seq, entry in self._visible_entries()
            if (not entry.open and entry.updated_at < before and entry.state in states)
            or (missing and entry.missing and (entry.missing_since or 0) < before)
        ]
        for seq, entry in old:
            del self.world.entries[seq]
            self.world.pruned.append(entry)
            self.world.notify(self, entry.key, None)
        return len(old)

    async def spent(self) -> Sequence[SpendSummary]:
        self._renew_lease()
        sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
        for entry in (*self.world.pruned, *self.world.entries.values()):
            if not self.is_visible(entry.account):
                continue
            held = entry.coins is None and entry.succeeded is not False
            total = sums[_day(entry.created_at), entry.kind]
            total[0] += entry.coins or 0
            total[1] += (entry.reserved or 0) if held else 0
            total[2] += 1
        for account, at, coins, reserved in self.world.upload_coins:
            if self.is_visible(account):
                total = sums[_day(at), "upload"]
                total[0] += coins
                total[1] += reserved
                total[2] += 1
        return [
            SpendSummary(day=day, kind=kind, coins=coins, reserved=reserved, starts=starts)
            for (day, kind), (coins, reserved, starts) in sorted(sums.items())
        ]

    async def find_upload(self, digest: str, content_type: str) -> UploadedInput | None:
        self._renew_lease()
        found = [
            one
            for (account, *what), one in self.world.uploads.items()
            if self.is_visible(account) and what == [digest, content_type]
        ]
        best = max(found, key=lambda one: one.valid_until, default=None)
        return best if best is not None and best.valid_until > self.time.wall() else None

    async def save_upload(self, upload: UploadedInput) -> None:
        self._renew_lease()
        now = self.time.wall()
        live = {place: one for place, one in self.world.uploads.items() if one.valid_until > now}
        live[self.account or "", upload.digest, upload.content_type] = upload
        self.world.uploads = live

    async def record_upload_cost(self, coins: int, *, reserved: int = 0) -> None:
        self._renew_lease()
        self.world.upload_coins.append((self.account or "", self.time.wall(), coins, reserved))

    async def accounts(self, *, open_only: bool = False) -> Sequence[AccountEntries]:
        self._renew_lease()
        counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for entry in self.world.entries.values():
            if entry.open or not open_only:
                counts[entry.account][0] += 1
                counts[entry.account][1] += entry.open
        return [
            AccountEntries(account=account, entries=count, open=some)
            for account, (count, some) in sorted(counts.items())
        ]

    async def adopt_account(self, former_account: str) -> int:
        account = self.account or ""
        keys = {one.key for one in self.world.entries.values() if one.account in (account, "")}
        adopted = 0
        for seq, entry in tuple(self.world.entries.items()):
            known = any(self._is_held_by_other(entry.kind, id, account) for id in entry.ids)
            if entry.account == former_account and entry.key not in keys and not known:
                self.world.entries[seq] = evolve(entry, account=account)
                adopted += 1
        self.world.pruned = [
            evolve(one, account=account) if one.account == former_account else one
            for one in self.world.pruned
        ]
        for (name, *_), upload in tuple(self.world.uploads.items()):
            if name == former_account:
                del self.world.uploads[former_account, upload.digest, upload.content_type]
                place = (account, upload.digest, upload.content_type)
                mine = self.world.uploads.get(place)
                if mine is None or upload.valid_until > mine.valid_until:
                    self.world.uploads[place] = upload
        self.world.upload_coins = [
            (account if name == former_account else name, at, coins, reserved)
            for name, at, coins, reserved in self.world.upload_coins
        ]
        return adopted


def _price(value: Any) -> int | None:
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    fine = isinstance(value, int | float) and not isinstance(value, bool)
    return math.ceil(value) if fine and 0 <= value <= MAX_COINS else None


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()
