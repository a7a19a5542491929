"""The rate limit of a whole fleet: the generic cell rate algorithm, with its state in one row.

See `a2e_async._core.http.rate_limit` for the algorithm. A worker requests as many turns as its
queue needs: one statement advances the row and returns their times, relative to the database's
clock, so the workers' clocks do not matter. It returns at least one turn, however late, and all
that fall within `PREFETCH_SECONDS`. So a worker far back in the line asks once and does not poll,
and few turns are lost when a worker dies. Priorities, deadlines and the queue are local to each
worker. No statement waits for a disk.

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

from a2e_async._core.http.rate_limit import GcraBucket, RateLimiter
from a2e_async.contrib.postgres.connection import (
    Connection,
    DatabaseTarget,
    execute,
    prepare_connection,
)
from a2e_async.events import Event, RateLimitDegraded

logger: Final = logging.getLogger("a2e_async.http")

PREFETCH_SECONDS: Final = 0.25
"""Time (s) within which turns are fetched in advance."""

UNUSED_TURN_LIFETIME: Final = 0.5
"""Time (s) after which an unused turn expires: used later, it would exceed the rate."""

MAX_TURNS_PER_STATEMENT: Final = 1_000
"""Turns fetched in one statement."""

DATABASE_TIMEOUT: Final = 2.0
"""Timeout (s) after which the database counts as unreachable; also the pause before a retry."""

WORKER_COUNT_INTERVAL: Final = 10.0
"""Time (s) between two counts of the workers."""

_NOW: Final = "extract(epoch FROM clock_timestamp())::float8"
_TAKE_TURNS: Final = f"""WITH pace AS (
        SELECT account, held_until, {_NOW} AS now, greatest(arrives, {_NOW}) AS base
        FROM a2e_paces WHERE account = %(account)s FOR UPDATE
    ), taken AS (
        SELECT *, least(%(wanted)s, greatest(1,
            floor((now + %(ahead)s - base) / %(interval)s + %(burst)s))) AS turns FROM pace
    )
    UPDATE a2e_paces SET arrives = base + turns * %(interval)s FROM taken
    WHERE a2e_paces.account = taken.account
    RETURNING base - (%(burst)s - 1) * %(interval)s - now, turns, taken.held_until - now"""  # noqa: S608
_SET_HOLD: Final = f"""UPDATE a2e_paces SET held_until = greatest(held_until, {_NOW} + %(seconds)s),
    arrives = greatest(arrives, {_NOW} + %(seconds)s + (%(burst)s - 1) * %(interval)s)
    WHERE account = %(account)s"""  # noqa: S608
# A worker that listens to all changes (key '') waits for tasks, and therefore polls.
_COUNT_WORKERS: Final = f"""SELECT count(*),
    count(*) FILTER (WHERE owner IN (SELECT owner FROM a2e_watches WHERE key = ''))
    FROM a2e_owners WHERE until > {_NOW}"""  # noqa: S608


class FetchedTurns:
    """Turns fetched from the database, as a token bucket: the times at which each may be used.

    Owned by the `PostgresRateLimiter`, which is the only one to change it.
    """

    def __init__(self, interval: float, burst: float) -> None:
        self.interval = interval
        self.burst = burst
        self._due_times: deque[float] = deque()

    def __len__(self) -> int:
        return len(self._due_times)

    @property
    def last_due(self) -> float:
        """When the last of them may be used."""
        return self._due_times[-1] if self._due_times else -math.inf

    def add(self, due: float) -> None:
        """Add one turn."""
        self._due_times.append(due)

    def ready_at(self, now: float, cost: float = 1) -> float:
        """Return when ``cost`` turns may be used; infinity while there are not enough."""
        while self._due_times and self._due_times[0] < now - UNUSED_TURN_LIFETIME:
            self._due_times.popleft()
        needed = max(1, math.ceil(cost))
        return max(now, self._due_times[needed - 1]) if len(self._due_times) >= needed else math.inf

    def take(self, now: float, cost: float = 1) -> None:
        """Use turns."""
        for _ in range(min(len(self._due_times), max(1, math.ceil(cost)))):
            self._due_times.popleft()

    def try_take(self, now: float, cost: float = 1) -> bool:
        """Use turns if they are due; return whether they were."""
        if self.ready_at(now, cost) > now:
            return False
        self.take(now, cost)
        return True

    def refund(self, cost: float) -> None:
        """Return turns that were not used."""
        first = self._due_times[0] if self._due_times else None
        now = asyncio.get_running_loop().time()
        self._due_times.extendleft(
            [now if first is None else min(now, first)] * max(1, math.ceil(cost))
        )

    def drain_burst(self, now: float) -> None:
        """Do nothing: the burst is drained in the database's row."""


class PostgresRateLimiter(RateLimiter):
    """The `RateLimiter` of one client, whose rate is shared by all clients of ``account``.

    ``rate`` in requests per second, ``burst`` of them at once. It has its own connection, because
    turns must not wait for the journal's commits. ``emit`` is called when it must limit itself
    alone.
    """

    def __init__(
        self,
        target: DatabaseTarget,
        rate: float,
        burst: float,
        account: str,
        *,
        emit: Callable[[Event], None] = lambda _: None,
    ) -> None:
        super().__init__(rate, burst)
        self._target = target
        self._rate = rate
        self._turns = FetchedTurns(self._bucket.interval, burst)
        self._bucket = self._turns
        self._local_bucket: GcraBucket | None = None
        self._emit = emit
        self._parameters: dict[str, Any] = {
            "account": account,
            "interval": self._turns.interval,
            "burst": burst,
            "ahead": PREFETCH_SECONDS,
        }
        self.account = account
        self._worker_count = self._polling_worker_count = 1
        self._counted_at = -math.inf
        self._retry_at = -math.inf
        self._connection: Connection | None = None
        self._fetch_task: asyncio.Task[None] | None = None
        self._unsent_holds: list[float] = []
        self._turns_needed = asyncio.Event()

    def poll_share(self) -> float:
        """Return this client's fraction of the poll rate, the same for all polling workers."""
        return 1 / max(1, self._polling_worker_count)

    def hold_until(self, until: float) -> bool:
        """Hold all clients of the account until ``until`` (loop time); return True if it is new."""
        is_new = super().hold_until(until)
        if is_new:
            self._unsent_holds.append(until)
            self._turns_needed.set()
            self._start_fetching()
        return is_new

    def on_peer_hold(self, seconds: float) -> None:
        """Another worker was asked to pause for ``seconds``."""
        super().hold_until(self._now() + seconds)

    def close(self, error: BaseException) -> None:
        """Fail all queued and later requests with ``error``; disconnect."""
        super().close(error)
        if self._fetch_task is not None:
            self._fetch_task.cancel()
        self._disconnect()

    def _earliest_turn(self, now: float, cost: float) -> float:
        return now  # only the database knows

    def _grant_due_turns(self) -> None:
        super()._grant_due_turns()
        if len(self):
            self._start_fetching()

    def _start_fetching(self) -> None:
        if self._closed is None and (self._fetch_task is None or self._fetch_task.done()):
            loop = asyncio.get_running_loop()
            # An empty context: the first caller's context variables must not leak into later work.
            self._fetch_task = loop.create_task(self._run(), context=Context())

    async def _run(self) -> None:
        while self._closed is None:
            now = self._now()
            wanted = math.ceil(sum(t.cost for _, _, t in self._queue if not t.future.done()))
            if not self._unsent_holds and wanted <= len(self._turns):
                return
            if not self._unsent_holds and self._turns.last_due > now + PREFETCH_SECONDS / 2:
                # No need to wake early: requests queued meanwhile get turns after these.
                self._turns_needed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(self._turns.last_due - PREFETCH_SECONDS / 2):
                        await self._turns_needed.wait()
                continue
            await self._fetch_turns(min(wanted - len(self._turns), MAX_TURNS_PER_STATEMENT))
            super()._grant_due_turns()

    async def _fetch_turns(self, wanted: int) -> None:
        if self._now() >= self._retry_at:
            try:
                async with asyncio.timeout(DATABASE_TIMEOUT):
                    await self._query_turns(wanted)
            except Exception as error:  # whatever it is, the queue must not stop
                self._disconnect()
                self._retry_at = self._now() + DATABASE_TIMEOUT
                self._limit_locally(error)
            else:
                if self._local_bucket is not None:
                    logger.info("the rate limit is shared again through %s", self._target)
                    self._local_bucket = None
                return
        if self._local_bucket is None:
            return
        self._unsent_holds.clear()
        now = self._now()
        for _ in range(max(wanted, 0)):
            due = self._local_bucket.ready_at(now)
            self._local_bucket.take(due)
            self._turns.add(due)
            if due > now + PREFETCH_SECONDS:
                return

    def _limit_locally(self, error: BaseException) -> None:
        if self._local_bucket is not None:
            return
        share = 1 / max(1, self._worker_count)
        # Without a burst, and after the turns that were fetched: how much the others send now is
        # unknown.
        self._local_bucket = GcraBucket(self._rate * share, 1)
        self._local_bucket.take(max(self._now(), self._turns.last_due))
        logger.warning(
            "%s, which shares the rate limit, is unreachable (%s); this client limits itself to "
            "%.3g requests/s",
            self._target,
            type(error).__name__,
            self._rate * share,
        )
        self._emit(RateLimitDegraded(rate=self._rate * share))

    async def _query_turns(self, wanted: int) -> None:
        connection = self._connection or await self._connect()
        if self._now() - self._counted_at >= WORKER_COUNT_INTERVAL:
            ((workers, polling_workers),) = await (
                await execute(connection, _COUNT_WORKERS)
            ).fetchall()
            self._worker_count, self._polling_worker_count = int(workers), int(polling_workers)
            self._counted_at = self._now()
        if self._local_bucket is not None:
            # The row does not contain what was sent meanwhile: continue without a burst.
            await connection.execute(_SET_HOLD.encode(), {**self._parameters, "seconds": 0})
        while self._unsent_holds:
            seconds = self._unsent_holds[0] - self._now()
            await connection.execute(
                _SET_HOLD.encode(), {**self._parameters, "seconds": max(0.0, seconds)}
            )
            notice = f"{seconds:.3f} {self.account}"
            await connection.execute("SELECT pg_notify('a2e_hold', %s)", (notice,))
            self._unsent_holds.pop(0)
        if wanted <= 0:
            return
        cursor = await connection.execute(
            _TAKE_TURNS.encode(), {**self._parameters, "wanted": wanted}
        )
        ((first, turns, hold),) = await cursor.fetchall()
        # Relative to the arrival of the response, which is later than the database's clock reading:
        # never too early.
        now = self._now()
        if hold > 0:
            super().hold_until(now + float(hold))
        for n in range(int(turns)):
            self._turns.add(now + max(0.0, float(hold), float(first) + n * self._turns.interval))

    async def _connect(self) -> Connection:
        connection = await self._target.connect()
        try:
            await prepare_connection(connection, self._target)
            await connection.execute("SET synchronous_commit = off")
            await connection.execute(
                "INSERT INTO a2e_paces VALUES (%s, 0, 0) ON CONFLICT DO NOTHING", (self.account,)
            )
        except BaseException:
            connection.pgconn.finish()
            raise
        self._connection = connection
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.pgconn.finish()
