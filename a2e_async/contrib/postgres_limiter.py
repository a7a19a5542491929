"""The rate limit of a whole fleet: the generic cell rate algorithm, with its state in one row.

See `a2e_async.transport.ratelimit` for the algorithm. A worker requests as many turns as its queue
needs: one statement advances the row and returns their times, relative to the database's clock, so
the workers' clocks do not matter. It returns at least one turn, however late, and all that fall
within `PREFETCH_SECONDS`. So a worker far back in the line asks once and does not poll, and few
turns are lost when a worker dies. Priorities, deadlines and the queue are local to each worker. No
statement waits for a disk.

While the database is unreachable each worker limits itself to its share of the rate.
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
"""Time (s) within which turns are fetched in advance."""

STALE: Final = 0.5
"""Time (s) after which an unused turn expires: used later, it would exceed the rate."""

MOST: Final = 1_000
"""Turns fetched in one statement."""

AWAY: Final = 2.0
"""Timeout (s) after which the database counts as unreachable; also the pause before a retry."""

COUNTED: Final = 10.0
"""Time (s) between two counts of the workers."""

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
# A worker that listens to all changes (key '') waits for tasks, and therefore polls.
_COUNT: Final = f"""SELECT count(*),
    count(*) FILTER (WHERE owner IN (SELECT owner FROM a2e_watches WHERE key = ''))
    FROM a2e_owners WHERE until > {_NOW}"""  # noqa: S608


class Turns:
    """Turns fetched from the database, as a token bucket: the times at which each may be used."""

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
        """Add one turn."""
        self._due.append(due)

    def ready_at(self, now: float, cost: float = 1) -> float:
        """Return when ``cost`` turns may be used; infinity while there are not enough."""
        while self._due and self._due[0] < now - STALE:
            self._due.popleft()
        needed = max(1, math.ceil(cost))
        return max(now, self._due[needed - 1]) if len(self._due) >= needed else math.inf

    def take(self, now: float, cost: float = 1) -> None:
        """Use turns."""
        for _ in range(min(len(self._due), max(1, math.ceil(cost)))):
            self._due.popleft()

    def try_take(self, now: float, cost: float = 1) -> bool:
        """Use turns if they are due; return whether they were."""
        if self.ready_at(now, cost) > now:
            return False
        self.take(now, cost)
        return True

    def give_back(self, cost: float) -> None:
        """Return turns that were not used."""
        first = self._due[0] if self._due else None
        now = asyncio.get_running_loop().time()
        self._due.extendleft([now if first is None else min(now, first)] * max(1, math.ceil(cost)))

    def drain(self, now: float) -> None:
        """Do nothing: the burst is drained in the database's row."""


class PostgresLimiter(Pacer):
    """The `RateLimiter` of one client, whose rate is shared by all clients of ``account``.

    ``rate`` in requests per second, ``burst`` of them at once. It has its own connection, because
    turns must not wait for the journal's commits. ``emit`` is called when it must limit itself
    alone.
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
        """Return this client's fraction of the poll rate, the same for all polling workers."""
        return 1 / max(1, self._lookers)

    def pause_until(self, until: float) -> bool:
        """Hold all clients of the account until ``until`` (loop time); return True if it is new."""
        news = super().pause_until(until)
        if news:
            self._holds.append(until)
            self._called.set()
            self._fetch()
        return news

    def held_elsewhere(self, seconds: float) -> None:
        """Another worker was asked to pause for ``seconds``."""
        super().pause_until(self._now() + seconds)

    def close(self, error: BaseException) -> None:
        """Fail all queued and later requests with ``error``; disconnect."""
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
            # An empty context: the first caller's context variables must not leak into later work.
            self._fetching = loop.create_task(self._run(), context=Context())

    async def _run(self) -> None:
        while self._closed is None:
            now = self._now()
            wanted = math.ceil(sum(t.cost for _, _, t in self._queue if not t.future.done()))
            if not self._holds and wanted <= len(self._turns):
                return
            if not self._holds and self._turns.last > now + AHEAD / 2:
                # No need to wake early: requests queued meanwhile get turns after these.
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
            except Exception as error:  # whatever it is, the queue must not stop
                self._cut()
                self._retry = self._now() + AWAY
                self._go_alone(error)
            else:
                if self._alone is not None:
                    logger.info("the rate limit is shared again through %s", self._target)
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
        # Without a burst, and after the turns that were fetched: how much the others send now is
        # unknown.
        self._alone = Gcra(self._rate * share, 1)
        self._alone.take(max(self._now(), self._turns.last))
        logger.warning(
            "%s, which shares the rate limit, is unreachable (%s); this client limits itself to "
            "%.3g requests/s",
            self._target,
            type(error).__name__,
            self._rate * share,
        )
        self._emit(PaceAlone(rate=self._rate * share))

    async def _ask(self, wanted: int) -> None:
        connection = self._link or await self._connect()
        if self._now() - self._counted >= COUNTED:
            ((workers, lookers),) = await (await run(connection, _COUNT)).fetchall()
            self._workers, self._lookers = int(workers), int(lookers)
            self._counted = self._now()
        if self._alone is not None:
            # The row does not contain what was sent meanwhile: continue without a burst.
            await connection.execute(_HOLD.encode(), {**self._values, "seconds": 0})
        while self._holds:
            seconds = self._holds[0] - self._now()
            await connection.execute(_HOLD.encode(), {**self._values, "seconds": max(0.0, seconds)})
            notice = f"{seconds:.3f} {self.account}"
            await connection.execute("SELECT pg_notify('a2e_hold', %s)", (notice,))
            self._holds.pop(0)
        if wanted <= 0:
            return
        cursor = await connection.execute(_TAKE.encode(), {**self._values, "wanted": wanted})
        ((first, turns, held),) = await cursor.fetchall()
        # Relative to the arrival of the response, which is later than the database's clock reading:
        # never too early.
        now = self._now()
        if held > 0:
            super().pause_until(now + float(held))
        for n in range(int(turns)):
            self._turns.add(now + max(0.0, float(held), float(first) + n * self._turns.interval))

    async def _connect(self) -> Connection:
        connection = await self._target.connect()
        try:
            await prepare(connection, self._target)
            await connection.execute("SET synchronous_commit = off")
            await connection.execute(
                "INSERT INTO a2e_paces VALUES (%s, 0, 0) ON CONFLICT DO NOTHING", (self.account,)
            )
        except BaseException:
            connection.pgconn.finish()
            raise
        self._link = connection
        return connection

    def _cut(self) -> None:
        connection, self._link = self._link, None
        if connection is not None:
            connection.pgconn.finish()
