"""Notifications of entries that other clients change, and the listeners of each key."""

from collections.abc import Callable

import psycopg
from attrs import define, field

from a2e_async._core.journal.protocol import HEARTBEAT_INTERVAL, Entry
from a2e_async.contrib.postgres import schema as tables
from a2e_async.contrib.postgres.connection import Connection, execute
from a2e_async.contrib.postgres.group_commit import EntryTransaction

OnEntryChanged = Callable[[Entry | None], None]


@define(eq=False)
class KeyListeners:
    """The callbacks of a key, and the last known entry once ``entry_is_known``.

    Created and changed by `EntryNotifications` alone; lives as long as the key has a callback.
    """

    callbacks: list[OnEntryChanged] = field(factory=list[OnEntryChanged])
    entry_is_known: bool = False
    entry: Entry | None = None

    def update(self, entry: Entry | None) -> None:
        """Call the callbacks with an entry as others have changed it."""
        changed = self.entry_is_known and self.entry != entry
        self.entry_is_known, self.entry = True, entry
        for callback in tuple(self.callbacks) if changed else ():
            callback(entry)


class EntryNotifications:
    """Listens to entries for the client ``owner`` (a `ConnectionUser`).

    ``request_turn`` schedules a turn of the worker. ``account_filter`` returns the parameters of
    `schema.IS_VISIBLE`.

    Created by the `JournalWorker`; changed by callers and by notifications, on its event loop only.
    """

    def __init__(
        self,
        owner: Callable[[], str],
        request_turn: Callable[[], None],
        account_filter: Callable[[], tuple[str | None, str | None]],
    ) -> None:
        self._owner = owner
        self._request_turn = request_turn
        self._account_filter = account_filter
        self._listeners_by_key: dict[str, KeyListeners] = {}
        self._notified_keys: set[str] = set()
        self._keys_to_register: set[str] = set()
        self._all_entry_callbacks: list[Callable[[Entry], None]] = []
        self._changed_keys: dict[str, None] = {}
        """Keys of entries that others have changed and that were not reported to callbacks yet."""
        self._hold_callbacks: dict[str, Callable[[float], None]] = {}
        self.caught_up_to: float | None = None
        """The database's time up to which all changes were reported to callbacks."""

    def watch(self, key: str, callback: OnEntryChanged) -> Callable[[], None]:
        """Call ``callback`` when others change an entry; return a function that stops it."""
        self._request_turn()  # first, because it raises for a journal that cannot be used
        if key not in self._listeners_by_key:
            self._listeners_by_key[key] = KeyListeners()
            self._keys_to_register.add(key)
        listeners = self._listeners_by_key[key]
        listeners.callbacks.append(callback)

        def end() -> None:
            if callback in listeners.callbacks:
                listeners.callbacks.remove(callback)
            if not listeners.callbacks and self._listeners_by_key.get(key) is listeners:
                del self._listeners_by_key[key]
                self._keys_to_register.add(key)

        return end

    def watch_all(self, callback: Callable[[Entry], None]) -> Callable[[], None]:
        """Call ``callback`` with every entry that others change; return a function to stop it."""
        self._request_turn()
        self._all_entry_callbacks.append(callback)
        self._keys_to_register.add("")

        def end() -> None:
            if callback in self._all_entry_callbacks:
                self._all_entry_callbacks.remove(callback)
                self._keys_to_register.add("")

        return end

    def on_hold(self, account: str, callback: Callable[[float], None]) -> None:
        """Call ``callback`` with the seconds of a pause that another worker reports."""
        self._hold_callbacks[account] = callback

    async def notify_peers(self, connection: Connection, keys: list[str]) -> None:
        """Notify the other workers, after the commit, of changed entries."""
        await execute(connection, tables.NOTIFY_KEY_LISTENERS, (keys, self._owner()))
        await execute(connection, tables.NOTIFY_ALL_LISTENERS, (self._owner(), keys, self._owner()))

    def notify_local(self, transaction: EntryTransaction) -> None:
        """Report what others had changed before this transaction; its own changes are known."""
        for key in self._listeners_by_key.keys() & {*transaction.stored, *transaction.entries}:
            listeners = self._listeners_by_key[key]
            if listeners.entry_is_known:
                listeners.update(transaction.stored[key][1] if key in transaction.stored else None)
                listeners.entry = transaction.entries.get(key)

    @property
    def pending(self) -> bool:
        """Whether keys must be registered or entries read."""
        return bool(self._keys_to_register or self._notified_keys or self._changed_keys)

    async def connected(self, connection: Connection) -> None:
        """Listen again, and catch up on changes made while disconnected."""
        await connection.execute(f"LISTEN a2e_{self._owner()[-32:]}".encode())
        await connection.execute("LISTEN a2e_hold")
        for key in (*self._listeners_by_key, *([""] if self._all_entry_callbacks else [])):
            await self._register(connection, key)
        if self._all_entry_callbacks and self.caught_up_to is not None:
            missed = await execute(
                connection,
                tables.SELECT_UPDATED_SINCE,
                (self.caught_up_to - HEARTBEAT_INTERVAL, *self._account_filter()),
            )
            self._call_all_entry_callbacks(tables.to_entries(await missed.fetchall()))
        self._notified_keys.update(self._listeners_by_key)

    async def run_pending(self, connection: Connection, *, heartbeat: bool) -> None:
        """Register and unregister keys, and report what others changed."""
        if heartbeat:
            self._notified_keys.update(self._listeners_by_key)  # a notification may have been lost
        keys = set(self._keys_to_register)
        for key in keys:
            await self._register(connection, key)
        self._keys_to_register -= keys
        keys = (keys | self._notified_keys) & self._listeners_by_key.keys()
        self._notified_keys.clear()
        changed, self._changed_keys = self._changed_keys, {}
        if keys or changed:
            cursor = await execute(
                connection, tables.SELECT_BY_KEY, ([*keys, *changed], *self._account_filter())
            )
            entries = {entry.key: entry for entry in tables.to_entries(await cursor.fetchall())}
            for key in keys & self._listeners_by_key.keys():
                self._listeners_by_key[key].update(entries.get(key))
            self._call_all_entry_callbacks([entries[key] for key in changed if key in entries])

    def notified(self, notification: psycopg.Notify) -> None:
        """Handle a notification of a changed entry, or of a rate-limit pause."""
        mine = self._owner()[-32:]
        if notification.channel == "a2e_hold":
            seconds, _, account = notification.payload.partition(" ")
            if account in self._hold_callbacks and seconds.replace(".", "", 1).isdecimal():
                self._hold_callbacks[account](float(seconds))
        elif notification.channel == f"a2e_{mine}":
            self._notified_keys.add(notification.payload)
        elif notification.channel == "a2e_all" and notification.payload[:32] != mine:
            self._changed_keys[notification.payload[32:]] = None

    def disconnected(self) -> None:
        """Do nothing: `connected` catches up."""

    async def closing(self, connection: Connection) -> None:
        """Stop listening."""
        await execute(connection, "DELETE FROM a2e_watches WHERE owner = %s", (self._owner(),))

    def _call_all_entry_callbacks(self, entries: list[Entry]) -> None:
        for callback in tuple(self._all_entry_callbacks):
            for entry in entries:
                callback(entry)

    async def _register(self, connection: Connection, key: str) -> None:
        if not key:
            await execute(
                connection, "LISTEN a2e_all" if self._all_entry_callbacks else "UNLISTEN a2e_all"
            )
        if key in self._listeners_by_key or (not key and self._all_entry_callbacks):
            query = "INSERT INTO a2e_watches VALUES (%s, %s) ON CONFLICT DO NOTHING"
        else:
            query = "DELETE FROM a2e_watches WHERE key = %s AND owner = %s"
        await execute(connection, query, (key, self._owner()))
