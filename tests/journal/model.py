"""What a journal does, in memory and without haste: the reference that the others are held to."""

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Unpack

from attrs import define, evolve, field

from a2e_async.tasks.journal import (
    HEARTBEAT,
    LEASE,
    Begun,
    Changes,
    Entry,
    Spent,
    State,
    TakenOver,
)

Told = Callable[[Entry | None], None]
ToldAll = Callable[[Entry], None]


@define(eq=False)
class Time:
    """The clocks of one client. A frozen one stands still: its process was stopped or killed."""

    world: "World"
    frozen: float | None = None

    def wall(self) -> float:
        return 1_768_000_000.0 + self.world.now

    def host(self) -> float:
        return self.world.now if self.frozen is None else self.frozen


@define(eq=False)
class World:
    """What all clients of one journal share."""

    now: float = 1_000.0
    entries: dict[str, tuple[int, Entry]] = field(factory=dict[str, tuple[int, Entry]])
    leases: dict[str, float] = field(factory=dict[str, float])
    claims: dict[tuple[str, str], str] = field(factory=dict[tuple[str, str], str])
    pruned: list[Entry] = field(factory=list[Entry])
    begun: int = 0
    watchers: list[tuple["ModelJournal", str, Told]] = field(
        factory=list[tuple["ModelJournal", str, Told]]
    )

    listeners: list[tuple["ModelJournal", ToldAll]] = field(
        factory=list[tuple["ModelJournal", ToldAll]]
    )

    def tell(self, by: "ModelJournal", key: str) -> None:
        entry = self.entries[key][1] if key in self.entries else None
        for client, told_all in tuple(self.listeners):
            if client is not by and entry is not None:
                told_all(entry)
        for client, watched, told in tuple(self.watchers):
            if client is not by and watched == key:
                told(entry)


@define(eq=False)
class ModelJournal:
    """One client of a `World`."""

    world: World
    owner: str
    time: Time
    beaten: float = float("-inf")

    def _beat(self) -> None:
        now = self.time.host()
        if now - self.beaten >= HEARTBEAT:
            if self.beaten == float("-inf"):  # who comes clears away the leases that are over
                for owner, until in tuple(self.world.leases.items()):
                    if not now <= until <= now + LEASE + 1:
                        del self.world.leases[owner]
            self.world.leases[self.owner], self.beaten = now + LEASE, now

    def _entry(self, key: str) -> Entry | None:
        self._beat()
        return self.world.entries[key][1] if key in self.world.entries else None

    def _put(self, entry: Entry) -> Entry:
        seq, _ = self.world.entries[entry.key]
        entry = evolve(entry, updated_at=self.time.wall())
        self.world.entries[entry.key] = seq, entry
        self.world.tell(self, entry.key)
        return entry

    def _alive(self, owner: str | None) -> bool:
        return self.world.leases.get(owner or "", 0) > self.time.host()

    async def open(self) -> None:
        self._beat()

    async def aclose(self) -> None:
        self.world.leases.pop(self.owner, None)

    async def begin(self, entry: Entry) -> Begun:
        found = self._entry(entry.key)
        if found is None:
            self.world.begun += 1
            now = self.time.wall()
            entry = evolve(entry, owner=self.owner, created_at=now, updated_at=now)
            self.world.entries[entry.key] = self.world.begun, entry
            for id in entry.ids:
                self.world.claims.setdefault((entry.kind, id), entry.key)
            self.world.tell(self, entry.key)
            return Begun(entry, mine=True, new=True)
        mine = (
            (found.kind, found.digest) == (entry.kind, entry.digest)
            and found.state < State.ACCEPTED
            and await self.take(entry.key)
        )
        return Begun(self.world.entries[entry.key][1], mine=mine, new=False)

    async def advance(self, key: str, state: State, **values: Unpack[Changes]) -> Entry | None:
        entry = self._entry(key)
        before_sending = state in (State.RESERVED, State.INTENT)
        if before_sending and (
            entry is None or entry.owner != self.owner or entry.state >= State.ACCEPTED
        ):
            raise TakenOver(key)
        if entry is None:
            return None
        changes: dict[str, Any] = dict(values)
        new = [id for id in values.get("ids", ()) if id not in entry.ids]
        if new and entry.ids and values.get("coins") is not None:
            changes["coins"] += entry.coins or 0
        if new:
            state = max(state, State.ACCEPTED)
        changes["ids"] = (*entry.ids, *dict.fromkeys(new))
        for id in new:
            self.world.claims.setdefault((entry.kind, id), key)
        return self._put(evolve(entry, **changes, state=max(state, entry.state)))

    async def drop(self, key: str) -> bool:
        entry = self._entry(key)
        if entry is None or entry.owner != self.owner or entry.state >= State.ACCEPTED:
            return False
        del self.world.entries[key]
        self.world.tell(self, key)
        return True

    async def take(self, key: str) -> bool:
        entry = self._entry(key)
        if entry is None or not entry.open:
            return False
        if entry.owner == self.owner:
            return True
        if self._alive(entry.owner):
            return False
        self._put(evolve(entry, owner=self.owner))
        return True

    async def get(self, key: str) -> Entry | None:
        return self._entry(key)

    async def find(self, kind: str, id: str) -> Entry | None:
        key = self.world.claims.get((kind, id))
        return self._entry(key) if key else None

    async def entries(
        self,
        *,
        states: Collection[State] | None = None,
        open_only: bool = False,
        after: int = 0,
        limit: int = 1000,
    ) -> tuple[Sequence[Entry], int]:
        self._beat()
        page = [
            (seq, entry)
            for seq, entry in sorted(self.world.entries.values(), key=lambda pair: pair[0])
            if seq > after
            and (not open_only or entry.open)
            and (states is None or entry.state in states)
        ][:limit]
        return [entry for _, entry in page], page[-1][0] if len(page) == limit else 0

    def watch(self, key: str, told: Told) -> Callable[[], None]:
        watcher = (self, key, told)
        self.world.watchers.append(watcher)
        return lambda: self.world.watchers.remove(watcher)

    async def heard(self, hook: str) -> Entry | None:
        self._beat()
        found = sorted(pair for pair in self.world.entries.values() if pair[1].hook == hook)
        entry = found[0][1] if found else None
        if entry is None or not entry.open:
            return entry
        return self._put(evolve(entry, event_at=self.time.wall()))

    def watch_all(self, told: ToldAll) -> Callable[[], None]:
        listener = (self, told)
        self.world.listeners.append(listener)
        return lambda: self.world.listeners.remove(listener)

    async def prune(
        self, before: float, *, states: Collection[State] = (State.FINISHED, State.SAVED)
    ) -> int:
        self._beat()
        old = [
            entry
            for _, entry in self.world.entries.values()
            if not entry.open and entry.updated_at < before and entry.state in states
        ]
        for entry in old:
            del self.world.entries[entry.key]
            self.world.pruned.append(entry)
            for id in entry.ids:
                if self.world.claims.get((entry.kind, id)) == entry.key:
                    del self.world.claims[entry.kind, id]
            self.world.tell(self, entry.key)
        return len(old)

    async def spent(self) -> Sequence[Spent]:
        self._beat()
        sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
        for entry in (*self.world.pruned, *(entry for _, entry in self.world.entries.values())):
            day = datetime.fromtimestamp(entry.created_at, UTC).date().isoformat()
            held = entry.coins is None and entry.succeeded is not False
            total = sums[day, entry.kind]
            total[0] += entry.coins or 0
            total[1] += (entry.reserved or 0) if held else 0
            total[2] += 1
        return [
            Spent(day=day, kind=kind, coins=coins, reserved=reserved, starts=starts)
            for (day, kind), (coins, reserved, starts) in sorted(sums.items())
        ]
