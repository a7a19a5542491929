"""A peer group in PostgreSQL: the leader is a row, messages are sent by NOTIFY and never stored."""

import logging
from collections.abc import Callable
from typing import Final

import psycopg

from a2e_async.contrib import postgres_tables as tables
from a2e_async.contrib.postgres_link import Connection, run
from a2e_async.contrib.postgres_worker import Worker
from a2e_async.tasks.crew import Member
from a2e_async.tasks.journal import LEASE
from a2e_async.tasks.owner import is_dead

logger = logging.getLogger("a2e_async.poller")

REST: Final = 60.0
"""Time (s) for which a client that has resigned does not lead again."""

LONGEST: Final = 7_500
"""Maximum size of a payload (bytes): a reply to it, with the name, must fit as well."""


class PostgresCrew:
    """The clients of ``account`` on one database (a `PeerGroup`, and a `ConnectionUser`)."""

    def __init__(self, worker: Worker, account: str) -> None:
        self._worker = worker
        self._account = account
        self._member: Member | None = None
        self._leader: str | None = None
        self._listens = False
        self._unsettled = False
        self._stirred = False
        self._unsent: list[tuple[str, str]] = []
        self._senders: set[str] = set()
        """Clients whose disappearance must be reported to the callbacks while this client leads."""
        self._beaten = float("-inf")
        self._resigned_at = float("-inf")
        self._resigns = False

    @property
    def name(self) -> str:
        """This client's name in the group: the owner name of its entries."""
        return self._worker.name

    def join(self, member: Member) -> None:
        """Join the group. Raises `JournalError`."""
        self._worker.ride(self)
        self._member, self._unsettled = member, True
        self._beaten = self._worker.time()

    def stir(self) -> None:
        """Schedule a flush of the outbox."""
        self._stirred = True
        self._worker.ring()

    def resign(self) -> None:
        """Do not lead for a minute. The others are notified in the next turn."""
        self._resigned_at = self._worker.time()
        self._resigns = True
        self._lead(None)
        self._worker.ring()

    @property
    def pending(self) -> bool:
        """Whether messages must be sent or the leader must be found."""
        return self._stirred or self._unsettled or self._resigns

    async def connected(self, link: Connection) -> None:
        """Listen, and find the leader again: it may have changed, and messages may be lost."""
        self._listens = False
        await self._listen(link)
        self._unsettled = True

    async def turn(self, link: Connection, *, beat: bool) -> None:
        """Send the messages; find the leader if necessary."""
        await self._listen(link)
        if self._resigns:
            await self._give_up_lead(link)
            self._resigns = False
        if beat:
            before, self._beaten = self._beaten, self._worker.time()
            if self._beaten - before > LEASE:
                self._lead(None)  # this process was suspended: the leader considers it dead
        if beat or self._unsettled:
            self._unsettled = False
            await self._settle(link)
        if beat and self._leader == self.name and self._senders:
            asked = (sorted(self._senders), self._worker.clock())
            alive = {row[0] for row in await (await run(link, tables.ALIVE, asked)).fetchall()}
            for gone in self._senders - alive:
                self._forget(gone)
        self._stirred = False
        self._tell(lambda member: self._unsent.extend(member.outbox()))
        if self._unsent:
            names, messages = zip(*self._unsent, strict=True)
            try:
                await run(link, tables.SEND, (self.name, list(names), list(messages)))
            except psycopg.Error as error:
                if link.closed:
                    raise
                # A lost message only costs a delay, while endless retries would block the journal.
                # (The error's text may repeat the message, signed URLs included, so it is not
                # logged.)
                name = type(error).__name__
                logger.warning("poll results could not be sent to the other clients: %s", name)
            self._unsent = []

    def heard(self, note: psycopg.Notify) -> None:
        """Handle a message of another client, or a change of the leader."""
        first, _, rest = note.payload.partition(" ")
        if note.channel == f"a2e_m_{self.name[-32:]}":
            if note.payload.isascii() and len(note.payload) <= LONGEST:
                self._senders.add(first)
                self._tell(lambda member: member.heard(first, rest))
        elif note.channel == "a2e_lead" and first == self._account and rest != self.name:
            if rest and rest == self._leader:
                self._lead(rest)  # the leader reconnected and may have missed messages
            else:
                self._unsettled = True  # read the row: other schemas share this channel

    def lost(self) -> None:
        """Without a connection no client can be reached."""
        self._unsent = []
        self._lead(None)

    async def leave(self, link: Connection) -> None:
        """Give up leadership, so that another client can lead at once."""
        await self._give_up_lead(link)

    async def _listen(self, link: Connection) -> None:
        if not self._listens:
            await link.execute(f"LISTEN a2e_m_{self.name[-32:]}".encode())
            await link.execute("LISTEN a2e_lead")
            self._listens = True

    async def _settle(self, link: Connection) -> None:
        """Find the leader; become the leader if there is none."""
        found = await (
            await run(link, tables.LEADER, (self._worker.clock(), self._account))
        ).fetchall()
        leader, alive = found[0] if found else ("", False)
        alive = alive and not is_dead(leader)
        rests = self._worker.time() - self._resigned_at < REST
        if not alive and not rests:
            values = (self._account, self.name, leader)
            if not await (await run(link, tables.LEAD, values)).fetchall():
                self._unsettled = True  # another client was faster
                return
            leader, alive = self.name, True
        if not alive:
            self._lead(None)
        elif leader != self._leader:
            self._lead(leader)
            if leader == self.name:
                await self._announce(link, leader)

    async def _announce(self, link: Connection, leader: str) -> None:
        notice = f"{self._account} {leader}"
        await link.execute("SELECT pg_notify('a2e_lead', %s)", (notice,))

    async def _give_up_lead(self, link: Connection) -> None:
        if (await run(link, tables.RESIGN, (self._account, self.name))).rowcount:
            await self._announce(link, "")

    def _lead(self, leader: str | None) -> None:
        if leader is None and self._leader is None:
            return
        self._leader = leader
        self._unsent, self._senders = [], set()
        self._tell(lambda member: member.led_by(leader))

    def _forget(self, name: str) -> None:
        self._senders.discard(name)
        self._tell(lambda member: member.left(name))

    def _tell(self, call: Callable[[Member], object]) -> None:
        """Call a callback; errors of the polling code must not stop the journal's connection."""
        try:
            if self._member is not None:
                call(self._member)
        except Exception:
            logger.exception("a message of another client could not be handled")
