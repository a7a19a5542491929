"""A peer group in PostgreSQL: the leader is a row, messages are sent by NOTIFY and never stored."""

import logging
from collections.abc import Callable
from typing import Final

import psycopg

from a2e_async._core.journal.lease_owner import is_owner_dead
from a2e_async._core.journal.peers import PeerCallbacks
from a2e_async._core.journal.protocol import LEASE_DURATION
from a2e_async.contrib.postgres import schema as tables
from a2e_async.contrib.postgres.connection import Connection, execute
from a2e_async.contrib.postgres.worker import JournalWorker

logger: Final = logging.getLogger("a2e_async.polling")

RESIGNED_SECONDS: Final = 60.0
"""Time (s) for which a client that has resigned does not lead again."""

MAX_PAYLOAD_BYTES: Final = 7_500
"""Maximum size of a payload (bytes): a reply to it, with the name, must fit as well."""


class PostgresPeerGroup:
    """The clients of ``account`` on one database (a `PeerGroup`, and a `ConnectionUser`).

    Created by the journal for one client; changed on its event loop by the client and by the
    worker, whose connection it uses.
    """

    def __init__(self, worker: JournalWorker, account: str) -> None:
        self._worker = worker
        self._account = account
        self._callbacks: PeerCallbacks | None = None
        self._leader: str | None = None
        self._listening = False
        self._must_find_leader = False
        self._flush_requested = False
        self._unsent: list[tuple[str, str]] = []
        self._senders: set[str] = set()
        """Clients whose disappearance must be reported to the callbacks while this client leads."""
        self._last_heartbeat = float("-inf")
        self._resigned_at = float("-inf")
        self._resign_pending = False

    @property
    def name(self) -> str:
        """This client's name in the group: the owner name of its entries."""
        return self._worker.name

    def join(self, callbacks: PeerCallbacks) -> None:
        """Join the group. Raises `JournalError`."""
        self._worker.add_connection_user(self)
        self._callbacks, self._must_find_leader = callbacks, True
        self._last_heartbeat = self._worker.time()

    def request_flush(self) -> None:
        """Schedule a flush of the outbox."""
        self._flush_requested = True
        self._worker.wake()

    def resign(self) -> None:
        """Do not lead for a minute. The others are notified in the next turn."""
        self._resigned_at = self._worker.time()
        self._resign_pending = True
        self._set_leader(None)
        self._worker.wake()

    @property
    def pending(self) -> bool:
        """Whether messages must be sent or the leader must be found."""
        return self._flush_requested or self._must_find_leader or self._resign_pending

    async def connected(self, connection: Connection) -> None:
        """Listen, and find the leader again: it may have changed, and messages may be lost."""
        self._listening = False
        await self._listen(connection)
        self._must_find_leader = True

    async def run_pending(self, connection: Connection, *, heartbeat: bool) -> None:
        """Send the messages; find the leader if necessary."""
        await self._listen(connection)
        if self._resign_pending:
            await self._delete_leadership(connection)
            self._resign_pending = False
        if heartbeat:
            before, self._last_heartbeat = self._last_heartbeat, self._worker.time()
            if self._last_heartbeat - before > LEASE_DURATION:
                self._set_leader(None)  # this process was suspended: the leader considers it dead
        if heartbeat or self._must_find_leader:
            self._must_find_leader = False
            await self._find_or_become_leader(connection)
        if heartbeat and self._leader == self.name and self._senders:
            parameters = (sorted(self._senders), self._worker.clock())
            alive = {
                row[0]
                for row in await (
                    await execute(connection, tables.SELECT_ALIVE_OWNERS, parameters)
                ).fetchall()
            }
            for gone in self._senders - alive:
                self._remove_sender(gone)
        self._flush_requested = False
        self._notify_callbacks(lambda member: self._unsent.extend(member.take_outbox()))
        if self._unsent:
            names, messages = zip(*self._unsent, strict=True)
            try:
                await execute(
                    connection, tables.SEND_MESSAGES, (self.name, list(names), list(messages))
                )
            except psycopg.Error as error:
                if connection.closed:
                    raise
                # A lost message only costs a delay, while endless retries would block the journal.
                # (The error's text may repeat the message, signed URLs included, so it is not
                # logged.)
                name = type(error).__name__
                logger.warning("poll results could not be sent to the other clients: %s", name)
            self._unsent = []

    def notified(self, notification: psycopg.Notify) -> None:
        """Handle a message of another client, or a change of the leader."""
        first, _, rest = notification.payload.partition(" ")
        if notification.channel == f"a2e_m_{self.name[-32:]}":
            if notification.payload.isascii() and len(notification.payload) <= MAX_PAYLOAD_BYTES:
                self._senders.add(first)
                self._notify_callbacks(lambda member: member.message_received(first, rest))
        elif notification.channel == "a2e_lead" and first == self._account and rest != self.name:
            if rest and rest == self._leader:
                self._set_leader(rest)  # the leader reconnected and may have missed messages
            else:
                self._must_find_leader = True  # read the row: other schemas share this channel

    def disconnected(self) -> None:
        """Without a connection no client can be reached."""
        self._unsent = []
        self._set_leader(None)

    async def closing(self, connection: Connection) -> None:
        """Give up leadership, so that another client can lead at once."""
        await self._delete_leadership(connection)

    async def _listen(self, connection: Connection) -> None:
        if not self._listening:
            await connection.execute(f"LISTEN a2e_m_{self.name[-32:]}".encode())
            await connection.execute("LISTEN a2e_lead")
            self._listening = True

    async def _find_or_become_leader(self, connection: Connection) -> None:
        """Find the leader; become the leader if there is none."""
        found = await (
            await execute(connection, tables.SELECT_LEADER, (self._worker.clock(), self._account))
        ).fetchall()
        leader, alive = found[0] if found else ("", False)
        alive = alive and not is_owner_dead(leader)
        has_resigned = self._worker.time() - self._resigned_at < RESIGNED_SECONDS
        if not alive and not has_resigned:
            values = (self._account, self.name, leader)
            if not await (await execute(connection, tables.BECOME_LEADER, values)).fetchall():
                self._must_find_leader = True  # another client was faster
                return
            leader, alive = self.name, True
        if not alive:
            self._set_leader(None)
        elif leader != self._leader:
            self._set_leader(leader)
            if leader == self.name:
                await self._announce_leader(connection, leader)

    async def _announce_leader(self, connection: Connection, leader: str) -> None:
        notice = f"{self._account} {leader}"
        await connection.execute("SELECT pg_notify('a2e_lead', %s)", (notice,))

    async def _delete_leadership(self, connection: Connection) -> None:
        if (await execute(connection, tables.DELETE_LEADER, (self._account, self.name))).rowcount:
            await self._announce_leader(connection, "")

    def _set_leader(self, leader: str | None) -> None:
        if leader is None and self._leader is None:
            return
        self._leader = leader
        self._unsent, self._senders = [], set()
        self._notify_callbacks(lambda member: member.leader_changed(leader))

    def _remove_sender(self, name: str) -> None:
        self._senders.discard(name)
        self._notify_callbacks(lambda member: member.peer_left(name))

    def _notify_callbacks(self, call: Callable[[PeerCallbacks], object]) -> None:
        """Call a callback; errors of the polling code must not stop the journal's connection."""
        try:
            if self._callbacks is not None:
                call(self._callbacks)
        except Exception:
            logger.exception("a message of another client could not be handled")
