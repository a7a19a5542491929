"""Notifications of entries that other clients change, and who listens to which keys."""

from collections.abc import Callable

import psycopg
from attrs import define, field

from a2e_async.contrib import postgres_tables as tables
from a2e_async.contrib.postgres_group import Group
from a2e_async.contrib.postgres_link import Connection, run
from a2e_async.tasks.journal import HEARTBEAT, Entry

Told = Callable[[Entry | None], None]


@define(eq=False)
class Watched:
    """The callbacks of a key, and the last known entry once ``entry_is_known``."""

    told: list[Told] = field(factory=list[Told])
    known: bool = False
    entry: Entry | None = None

    def see(self, entry: Entry | None) -> None:
        """Call the callbacks with an entry as others have changed it."""
        news = self.known and self.entry != entry
        self.known, self.entry = True, entry
        for told in tuple(self.told) if news else ():
            told(entry)


class News:
    """Listens to entries for the client ``owner`` (a `ConnectionUser`).

    ``request_turn`` schedules a turn of the worker. ``account_filter`` returns the parameters of
    `postgres_tables.IS_VISIBLE`.
    """

    def __init__(
        self,
        owner: Callable[[], str],
        stir: Callable[[], None],
        mine: Callable[[], tuple[str | None, str | None]],
    ) -> None:
        self._owner = owner
        self._stir = stir
        self._mine = mine
        self._watched: dict[str, Watched] = {}
        self._noted: set[str] = set()
        self._unregistered: set[str] = set()
        self._listeners: list[Callable[[Entry], None]] = []
        self._changed: dict[str, None] = {}
        """Keys of entries that others have changed and that were not reported to callbacks yet."""
        self._holds: dict[str, Callable[[float], None]] = {}
        self.heard_at: float | None = None
        """The database's time up to which all changes were reported to callbacks."""

    def watch(self, key: str, told: Told) -> Callable[[], None]:
        """Call ``callback`` when others change an entry; return a function that stops it."""
        self._stir()  # first, because it raises for a journal that cannot be used
        if key not in self._watched:
            self._watched[key] = Watched()
            self._unregistered.add(key)
        listeners = self._watched[key]
        listeners.told.append(told)

        def end() -> None:
            if told in listeners.told:
                listeners.told.remove(told)
            if not listeners.told and self._watched.get(key) is listeners:
                del self._watched[key]
                self._unregistered.add(key)

        return end

    def watch_all(self, told: Callable[[Entry], None]) -> Callable[[], None]:
        """Call ``callback`` with every entry that others change; return a function to stop it."""
        self._stir()
        self._listeners.append(told)
        self._unregistered.add("")

        def end() -> None:
            if told in self._listeners:
                self._listeners.remove(told)
                self._unregistered.add("")

        return end

    def on_hold(self, account: str, held: Callable[[float], None]) -> None:
        """Call ``callback`` with the seconds of a pause that another worker reports."""
        self._holds[account] = held

    async def tell(self, link: Connection, keys: list[str]) -> None:
        """Notify the other workers, after the commit, of changed entries."""
        await run(link, tables.TELL, (keys, self._owner()))
        await run(link, tables.TELL_ALL, (self._owner(), keys, self._owner()))

    def see(self, group: Group) -> None:
        """Report what others had changed before this transaction; its own changes are known."""
        for key in self._watched.keys() & {*group.found, *group.entries}:
            listeners = self._watched[key]
            if listeners.known:
                listeners.see(group.found[key][1] if key in group.found else None)
                listeners.entry = group.entries.get(key)

    @property
    def pending(self) -> bool:
        """Whether keys must be registered or entries read."""
        return bool(self._unregistered or self._noted or self._changed)

    async def connected(self, link: Connection) -> None:
        """Listen again, and catch up on changes made while disconnected."""
        await link.execute(f"LISTEN a2e_{self._owner()[-32:]}".encode())
        await link.execute("LISTEN a2e_hold")
        for key in (*self._watched, *([""] if self._listeners else [])):
            await self._register(link, key)
        if self._listeners and self.heard_at is not None:
            missed = await run(link, tables.SINCE, (self.heard_at - HEARTBEAT, *self._mine()))
            self._tell_all(tables.to_entries(await missed.fetchall()))
        self._noted.update(self._watched)

    async def turn(self, link: Connection, *, beat: bool) -> None:
        """Register and unregister keys, and report what others changed."""
        if beat:
            self._noted.update(self._watched)  # a notification may have been lost
        keys = set(self._unregistered)
        for key in keys:
            await self._register(link, key)
        self._unregistered -= keys
        keys = (keys | self._noted) & self._watched.keys()
        self._noted.clear()
        changed, self._changed = self._changed, {}
        if keys or changed:
            cursor = await run(link, tables.BY_KEY, ([*keys, *changed], *self._mine()))
            entries = {entry.key: entry for entry in tables.to_entries(await cursor.fetchall())}
            for key in keys & self._watched.keys():
                self._watched[key].see(entries.get(key))
            self._tell_all([entries[key] for key in changed if key in entries])

    def heard(self, note: psycopg.Notify) -> None:
        """Handle a notification of a changed entry, or of a rate-limit pause."""
        mine = self._owner()[-32:]
        if note.channel == "a2e_hold":
            seconds, _, account = note.payload.partition(" ")
            if account in self._holds and seconds.replace(".", "", 1).isdecimal():
                self._holds[account](float(seconds))
        elif note.channel == f"a2e_{mine}":
            self._noted.add(note.payload)
        elif note.channel == "a2e_all" and note.payload[:32] != mine:
            self._changed[note.payload[32:]] = None

    def lost(self) -> None:
        """Do nothing: `connected` catches up."""

    async def leave(self, link: Connection) -> None:
        """Stop listening."""
        await run(link, "DELETE FROM a2e_watches WHERE owner = %s", (self._owner(),))

    def _tell_all(self, entries: list[Entry]) -> None:
        for told in tuple(self._listeners):
            for entry in entries:
                told(entry)

    async def _register(self, link: Connection, key: str) -> None:
        if not key:
            await run(link, "LISTEN a2e_all" if self._listeners else "UNLISTEN a2e_all")
        if key in self._watched or (not key and self._listeners):
            query = "INSERT INTO a2e_watches VALUES (%s, %s) ON CONFLICT DO NOTHING"
        else:
            query = "DELETE FROM a2e_watches WHERE key = %s AND owner = %s"
        await run(link, query, (key, self._owner()))
