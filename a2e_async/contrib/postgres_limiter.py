"""The pace of a whole fleet: the generic cell rate of `a2e_async.transport.ratelimit`, in one row.

A worker asks for the turns that its queue needs: one statement moves the row on and gives their
instants, counted from the database's now, so clocks do not matter. It gives at least one turn,
however late, and as many as come within `AHEAD`: who is late in the line asks once and not again
and again, and what a worker takes with it when it dies is little. Priorities, deadlines and the
queue stay the worker's own. No statement waits for a disk.

While the database is away each worker keeps to its share of the rate by itself.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import Any, Final

from a2e_async.contrib.postgres_link import Connection, Target, prepare, run
from a2e_async.events import Event, PaceAlone
from a2e_async.transport.ratelimit import Gcra, Pacer

logger = logging.getLogger("a2e_async.transport")

AHEAD: Final = 0.25
"""Seconds for which more than one turn is taken in advance."""

STALE: Final = 0.5
"""Seconds after which a turn that nobody used is over: used later, it would come on top."""

MOST: Final = 1_000
"""Turns taken in one statement."""

AWAY: Final = 2.0
"""Seconds without an answer after which the database counts as away, and until it is asked anew."""

COUNTED: Final = 10.0
"""Seconds between two counts of the workers."""

_NOW: Final = "extract(epoch FROM clock_timestamp())::float8"
_TAKE: Final = f"""WITH pace AS (
        SELECT account, held_until, {_NOW} AS now, greatest(arrives, {_NOW}) AS base
        FROM a2e_paces WHERE account = %(account)s FOR UPDATE
    ), taken AS (
        SELECT *, least(%(wanted)s, greatest(1,
            floor((now + %(ahead)s - base) / %(interval)s + %(burst)s))) AS turns FROM pace
    )
    UPDATE a2e_paces SET arrives = base + turns * %(interval)s FROM taken
    WHERE a2e_paces.account = taken.account
    RETURNING base - (%(burst)s - 1) * %(interval)s - now, turns, taken.held_until - now"""  # noqa: S608
_HOLD: Final = f"""UPDATE a2e_paces SET held_until = greatest(held_until, {_NOW} + %(seconds)s),
    arrives = greatest(arrives, {_NOW} + %(seconds)s + (%(burst)s - 1) * %(interval)s)
    WHERE account = %(account)s"""  # noqa: S608
# Who listens to all changes waits for tasks, and so looks at them.
_COUNT: Final = f"""SELECT count(*),
    count(*) FILTER (WHERE owner IN (SELECT owner FROM a2e_watches WHERE key = ''))
    FROM a2e_owners WHERE until > {_NOW}"""  # noqa: S608


class Turns:
    """Turns that were taken in the database, as the state of a pace: when each may be used."""

    def __init__(self, interval: float, burst: float) -> None:
        self.interval = interval
        self.burst = burst
        self._due: deque[float] = deque()

    def __len__(self) -> int:
        return len(self._due)

    @property
    def last(self) -> float:
        """When the last of them may be used."""
        return self._due[-1] if self._due else -math.inf

    def add(self, due: float) -> None:
        """Take in one turn."""
        self._due.append(due)

    def ready_at(self, now: float, cost: float = 1) -> float:
        """Return when ``cost`` may be taken; inf while there are not enough turns."""
        while self._due and self._due[0] < now - STALE:
            self._due.popleft()
        needed = max(1, math.ceil(cost))
        return max(now, self._due[needed - 1]) if len(self._due) >= needed else math.inf

    def take(self, now: float, cost: float = 1) -> None:
        """Use turns."""
        for _ in range(min(len(self._due), max(1, math.ceil(cost)))):
            self._due.popleft()

    def try_take(self, now: float, cost: float = 1) -> bool:
        """Use turns if they are there and due."""
        if self.ready_at(now, cost) > now:
            return False
        self.take(now, cost)
        return True

    def give_back(self, cost: float) -> None:
        """Take turns in again that were not used."""
        first = self._due[0] if self._due else None
        now = asyncio.get_running_loop().time()
        self._due.extendleft([now if first is None else min(now, first)] * max(1, math.ceil(cost)))

    def drain(self, now: float) -> None:
        """Nothing to do: the database's row is drained."""


class PostgresLimiter(Pacer):
    """The `Pacer` of one client, whose rate is that of all clients of ``account`` together.

    ``rate`` requests per second, ``burst`` of them at once. It holds a connection of its own, as
    turns must not wait for the journal's commits. ``emit`` is told when it must go on alone.
    """

    def __init__(
        self,
        target: Target,
        rate: float,
        burst: float,
        account: str,
        *,
        emit: Callable[[Event], None] = lambda _: None,
    ) -> None:
        super().__init__(rate, burst)
        self._target = target
        self._rate = rate
        self._turns = Turns(self._gcra.interval, burst)
        self._gcra = self._turns
        self._alone: Gcra | None = None
        self._emit = emit
        self._values: dict[str, Any] = {
            "account": account,
            "interval": self._turns.interval,
            "burst": burst,
            "ahead": AHEAD,
        }
        self.account = account
        self._workers = self._lookers = 1
        self._counted = -math.inf
        self._retry = -math.inf
        self._link: Connection | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._holds: list[float] = []
        self._called = asyncio.Event()

    def look_share(self) -> float:
        """Return this client's part of the looks: all that wait for tasks have the same."""
        return 1 / max(1, self._lookers)

    def pause_until(self, until: float) -> bool:
        """Hold everybody of the fleet until ``until`` (loop time); return whether that is news."""
        news = super().pause_until(until)
        if news:
            self._holds.append(until)
            self._called.set()
            self._fetch()
        return news

    def held_elsewhere(self, seconds: float) -> None:
        """Another worker was told to wait for ``seconds``."""
        super().pause_until(self._now() + seconds)

    def close(self, error: BaseException) -> None:
        """Fail everybody who waits, and who comes later; disconnect."""
        super().close(error)
        if self._fetching is not None:
            self._fetching.cancel()
        self._cut()

    def _soonest(self, now: float, cost: float) -> float:
        return now  # only the database knows

    def _pump(self) -> None:
        super()._pump()
        if len(self):
            self._fetch()

    def _fetch(self) -> None:
        if self._closed is None and (self._fetching is None or self._fetching.done()):
            loop = asyncio.get_running_loop()
            # An empty context: what the first caller had set must not leak into later work.
            self._fetching = loop.create_task(self._run(), context=Context())

    async def _run(self) -> None:
        while self._closed is None:
            now = self._now()
            wanted = math.ceil(sum(t.cost for _, _, t in self._queue if not t.future.done()))
            if not self._holds and wanted <= len(self._turns):
                return
            if not self._holds and self._turns.last > now + AHEAD / 2:
                # Woken by nobody: what comes meanwhile has its turn after these.
                self._called.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(self._turns.last - AHEAD / 2):
                        await self._called.wait()
                continue
            await self._take(min(wanted - len(self._turns), MOST))
            super()._pump()

    async def _take(self, wanted: int) -> None:
        if self._now() >= self._retry:
            try:
                async with asyncio.timeout(AWAY):
                    await self._ask(wanted)
            except Exception as error:  # whatever it is: those in the queue must go on
                self._cut()
                self._retry = self._now() + AWAY
                self._go_alone(error)
            else:
                if self._alone is not None:
                    logger.info("the pace is shared again through %s", self._target)
                    self._alone = None
                return
        if self._alone is None:
            return
        self._holds.clear()
        now = self._now()
        for _ in range(max(wanted, 0)):
            due = self._alone.ready_at(now)
            self._alone.take(due)
            self._turns.add(due)
            if due > now + AHEAD:
                return

    def _go_alone(self, error: BaseException) -> None:
        if self._alone is not None:
            return
        share = 1 / max(1, self._workers)
        # No burst, after the turns that are taken: what others do just now is not known.
        self._alone = Gcra(self._rate * share, 1)
        self._alone.take(max(self._now(), self._turns.last))
        logger.warning(
            "%s, which shares the pace, is away (%s); this client keeps to %.3g requests/s",
            self._target,
            type(error).__name__,
            self._rate * share,
        )
        self._emit(PaceAlone(rate=self._rate * share))

    async def _ask(self, wanted: int) -> None:
        link = self._link or await self._connect()
        if self._now() - self._counted >= COUNTED:
            ((workers, lookers),) = await (await run(link, _COUNT)).fetchall()
            self._workers, self._lookers = int(workers), int(lookers)
            self._counted = self._now()
        if self._alone is not None:
            # The row does not know what was sent meanwhile: go on without a burst.
            await link.execute(_HOLD.encode(), {**self._values, "seconds": 0})
        while self._holds:
            seconds = self._holds[0] - self._now()
            await link.execute(_HOLD.encode(), {**self._values, "seconds": max(0.0, seconds)})
            notice = f"{seconds:.3f} {self.account}"
            await link.execute("SELECT pg_notify('a2e_hold', %s)", (notice,))
            self._holds.pop(0)
        if wanted <= 0:
            return
        cursor = await link.execute(_TAKE.encode(), {**self._values, "wanted": wanted})
        ((first, turns, held),) = await cursor.fetchall()
        # Counted from the answer, which comes later than the database's now: never too early.
        now = self._now()
        if held > 0:
            super().pause_until(now + float(held))
        for n in range(int(turns)):
            self._turns.add(now + max(0.0, float(held), float(first) + n * self._turns.interval))

    async def _connect(self) -> Connection:
        link = await self._target.connect()
        try:
            await prepare(link, self._target)
            await link.execute("SET synchronous_commit = off")
            await link.execute(
                "INSERT INTO a2e_paces VALUES (%s, 0, 0) ON CONFLICT DO NOTHING", (self.account,)
            )
        except BaseException:
            link.pgconn.finish()
            raise
        self._link = link
        return link

    def _cut(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.pgconn.finish()
