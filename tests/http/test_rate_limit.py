"""The rate limiter, the rate-limit pause and the connection limiter."""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._core.http.rate_limit import (
    PRIORITY_DELAYS,
    AdmissionTimeout,
    ConnectionLimiter,
    GcraBucket,
    Priority,
    RateLimiter,
)
from a2e_async.errors import ClientClosed, InvalidInput

pytestmark = pytest.mark.anyio


class Steps(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer when it is idle."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now = max(self.now, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def in_steps(main: Callable[[], object]) -> None:
    with asyncio.Runner(loop_factory=Steps) as runner:
        runner.run(main())  # type: ignore[arg-type]


# -- Gcra ----------------------------------------------------------------------------------


@given(
    rate=st.floats(0.1, 1000),
    burst=st.integers(1, 50),
    seed=st.integers(0, 2**32),
    waits=st.booleans(),
)
def test_no_window_has_more_than_rate_and_burst(
    rate: float, burst: int, seed: int, waits: bool
) -> None:
    rng = random.Random(seed)
    gcra = GcraBucket(rate, burst)
    now = rng.uniform(-10, 1e5)
    taken: list[tuple[float, int]] = []
    for _ in range(120):
        cost = rng.randint(1, burst)
        ready = gcra.ready_at(now, cost)
        if waits:
            now = ready
        elif ready > now:
            now += rng.expovariate(rate)
            continue
        gcra.take(now, cost)
        taken.append((now, cost))
    for first in range(len(taken)):
        total = 0
        for at, cost in taken[first:]:
            total += cost
            assert total <= rate * (at - taken[first][0]) + burst + 1e-3


def test_a_cost_above_the_burst_waits_for_a_full_bucket() -> None:
    gcra = GcraBucket(10, 5)
    assert gcra.ready_at(0, 20) == 0
    gcra.take(0, 1)
    assert gcra.ready_at(0, 20) == pytest.approx(0.1)
    gcra.take(0.1, 20)
    assert gcra.ready_at(0.1, 1) == pytest.approx(0.1 + 2.0 - 0.4)


def test_a_turn_given_back_can_be_taken_again() -> None:
    gcra = GcraBucket(1, 1)
    assert gcra.try_take(5)
    assert not gcra.try_take(5)
    gcra.refund(1)
    assert gcra.try_take(5)


@pytest.mark.parametrize("rate", [None, math.inf])
def test_no_rate_is_no_limit(rate: float | None) -> None:
    gcra = GcraBucket(rate, 1)
    assert all(gcra.try_take(0.0, 1000) for _ in range(100))
    gcra.drain_burst(5)
    gcra.refund(1)
    assert gcra.ready_at(0.0, 5) == 0.0


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (math.nan, 1), (1, 0)])
def test_a_pace_that_cannot_be_is_refused(rate: float, burst: float) -> None:
    with pytest.raises(InvalidInput):
        GcraBucket(rate, burst)


# -- Pacer, in virtual time ----------------------------------------------------------------


def test_the_pace_is_kept_and_the_order_is_fifo_within_a_class() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        rate_limiter, start, order = RateLimiter(10, 5), loop.time(), list[int]()

        async def one(n: int) -> None:
            await rate_limiter.acquire()
            order.append(n)

        await asyncio.gather(*(one(n) for n in range(105)))
        assert order == list(range(105))
        assert loop.time() - start == pytest.approx(10.0)
        assert len(rate_limiter) == 0

    in_steps(main)


def test_a_start_precedes_polls_and_polls_precede_lists() -> None:
    async def main() -> None:
        rate_limiter, order = RateLimiter(10, 1), list[Priority]()
        assert rate_limiter.try_acquire()

        async def one(priority: Priority) -> None:
            await rate_limiter.acquire(priority=priority)
            order.append(priority)

        await asyncio.gather(*(one(p) for p in (*reversed(Priority), *reversed(Priority))))
        assert order == sorted(order)

    in_steps(main)


def test_a_flood_of_starts_delays_a_list_by_its_patience_and_no_more() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        rate_limiter, waited = RateLimiter(10, 1), list[float]()
        assert rate_limiter.try_acquire()

        async def listing() -> None:
            before = loop.time()
            await rate_limiter.acquire(priority=Priority.LIST)
            waited.append(loop.time() - before)

        async def starts() -> None:
            while not waited:
                await rate_limiter.acquire(priority=Priority.START)

        await asyncio.gather(listing(), *(starts() for _ in range(20)))
        assert waited[0] <= PRIORITY_DELAYS[Priority.LIST] + 20 / 10 + 0.2

    in_steps(main)


def test_polls_have_every_second_turn_behind_many_earlier_starts() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        rate_limiter, begun, order = RateLimiter(10, 1), loop.time(), list[tuple[Priority, float]]()
        assert rate_limiter.try_acquire()

        async def one(priority: Priority) -> None:
            await rate_limiter.acquire(priority=priority)
            order.append((priority, loop.time() - begun))

        await asyncio.gather(
            *(one(Priority.START) for _ in range(200)), *(one(Priority.POLL) for _ in range(20))
        )
        polls = [at for priority, at in order if priority is Priority.POLL]
        assert polls[0] <= PRIORITY_DELAYS[Priority.POLL] + 0.2
        assert polls[-1] <= PRIORITY_DELAYS[Priority.POLL] + 20 * 0.2 + 0.2
        first = next(n for n, (priority, _) in enumerate(order) if priority is Priority.POLL)
        turns = [priority for priority, _ in order[first : first + 40]]
        assert turns == [Priority.POLL, Priority.START] * 20
        assert not rate_limiter._queue
        assert len(order) == 220

    in_steps(main)


def test_cancelled_waiters_give_their_place_back() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        rate_limiter, start = RateLimiter(10, 1), loop.time()
        assert rate_limiter.try_acquire()
        tasks = [asyncio.create_task(rate_limiter.acquire()) for _ in range(100)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert loop.time() - start == pytest.approx(5.0)
        assert not rate_limiter._queue
        assert rate_limiter._timer is None

    in_steps(main)


def test_a_turn_granted_to_a_cancelled_waiter_goes_to_the_next() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        rate_limiter = RateLimiter(1, 1)
        assert rate_limiter.try_acquire()
        first = asyncio.create_task(rate_limiter.acquire())
        second = asyncio.create_task(rate_limiter.acquire())
        await asyncio.sleep(0)
        assert rate_limiter._timer is not None
        # Right after the timer that grants the turn, before the waiter runs.
        loop.call_at(rate_limiter._timer.when() + 1e-10, first.cancel)
        before = loop.time()
        await second
        assert first.cancelled()
        assert loop.time() - before == pytest.approx(1.0)

    in_steps(main)


def test_a_deadline_that_cannot_be_kept_fails_at_once_or_when_it_comes() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        rate_limiter, start = RateLimiter(1, 1), loop.time()
        assert rate_limiter.try_acquire()
        with pytest.raises(AdmissionTimeout) as caught:
            await rate_limiter.acquire(deadline=start + 0.5)
        assert not caught.value.rate_limited
        assert loop.time() == start
        first = asyncio.create_task(rate_limiter.acquire())
        await asyncio.sleep(0)
        late = asyncio.create_task(rate_limiter.acquire(deadline=start + 1.5))
        await first
        with pytest.raises(AdmissionTimeout):
            await late
        assert loop.time() == start + 1.5

    in_steps(main)


def test_a_hold_stops_all_and_fails_those_that_cannot_wait() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        rate_limiter, start = RateLimiter(10, 10), loop.time()
        for _ in range(10):
            assert rate_limiter.try_acquire()
        patient = asyncio.create_task(rate_limiter.acquire())
        hurried = asyncio.create_task(rate_limiter.acquire(deadline=start + 5))
        modest = asyncio.create_task(rate_limiter.acquire(max_hold=10))
        await asyncio.sleep(0)
        assert rate_limiter.hold_until(start + 20)
        assert not rate_limiter.hold_until(start + 20.5)
        assert not rate_limiter.hold_until(start + 3)
        assert rate_limiter.hold_until(start + 60)
        assert rate_limiter.remaining_hold(start) == 60
        for failed in (hurried, modest):
            with pytest.raises(AdmissionTimeout) as caught:
                await failed
            assert caught.value.rate_limited
        assert loop.time() == start
        with pytest.raises(AdmissionTimeout):
            await rate_limiter.acquire(max_hold=59)
        assert not rate_limiter.try_acquire()
        await patient
        assert loop.time() == start + 60
        assert rate_limiter.remaining_hold(loop.time()) == 0
        await rate_limiter.acquire()
        assert loop.time() == pytest.approx(start + 60.1), "no burst right after a hold"

    in_steps(main)


def test_waits_with_far_deadlines_are_not_kept() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        rate_limiter = RateLimiter(1000, 1)
        for _ in range(40):
            far = loop.time() + 1e6
            await asyncio.gather(*(rate_limiter.acquire(deadline=far) for _ in range(10)))
        assert len(rate_limiter._deadlines) <= 100

    in_steps(main)


def test_close_fails_waiting_and_later_requests() -> None:
    async def main() -> None:
        rate_limiter, connection_limiter = RateLimiter(1, 1), ConnectionLimiter(1)
        assert rate_limiter.try_acquire()
        assert connection_limiter.try_acquire()
        waiting = [asyncio.create_task(rate_limiter.acquire()) for _ in range(3)]
        waiting += [asyncio.create_task(connection_limiter.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        rate_limiter.close(ClientClosed("bye"))
        connection_limiter.close(ClientClosed("bye"))
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, ClientClosed) for result in results)
        assert len({id(result) for result in results}) == 6
        assert not rate_limiter.try_acquire()
        assert not connection_limiter.try_acquire()
        for late in (rate_limiter.acquire(), connection_limiter.acquire()):
            with pytest.raises(ClientClosed):
                await late
        assert rate_limiter._timer is None

    in_steps(main)


@pytest.mark.parametrize("seed", range(20))
def test_random_arrivals_cancellations_and_holds_lose_no_wake_up(seed: int) -> None:
    async def main() -> None:
        rng = random.Random(seed)
        loop = asyncio.get_running_loop()
        rate_limiter, granted = RateLimiter(20, 4), list[float]()

        async def one() -> None:
            await asyncio.sleep(rng.uniform(0, 5))
            deadline = loop.time() + rng.uniform(0, 20) if rng.random() < 0.3 else None
            try:
                await rate_limiter.acquire(rng.randint(1, 4), rng.choice(list(Priority)), deadline)
            except AdmissionTimeout:
                return
            granted.append(loop.time())

        tasks = [asyncio.create_task(one()) for _ in range(150)]

        async def disturb() -> None:
            for _ in range(60):
                await asyncio.sleep(rng.uniform(0, 0.3))
                rng.choice(tasks).cancel()
                if rng.random() < 0.1:
                    rate_limiter.hold_until(loop.time() + rng.uniform(0, 1))

        await asyncio.gather(disturb(), *tasks, return_exceptions=True)
        assert granted
        assert not rate_limiter._queue
        assert rate_limiter._timer is None

    in_steps(main)


# -- Gate ----------------------------------------------------------------------------------


async def test_starts_leave_a_quarter_of_the_slots_to_polls() -> None:
    connection_limiter = ConnectionLimiter(8)
    assert connection_limiter.start_limit == 6
    assert all(connection_limiter.try_acquire(True) for _ in range(6))
    assert not connection_limiter.try_acquire(True)
    waiting = asyncio.create_task(connection_limiter.acquire(True))
    await asyncio.sleep(0)
    assert connection_limiter.try_acquire(False), "a start that waits does not block polls"
    assert connection_limiter.try_acquire(False)
    poll = asyncio.create_task(connection_limiter.acquire(False))
    await asyncio.sleep(0)
    connection_limiter.release(False)
    await poll
    assert not waiting.done()
    connection_limiter.release(True)
    await waiting
    assert (connection_limiter.in_use, connection_limiter.starts_in_use) == (8, 6)
    assert ConnectionLimiter(1).start_limit == 1


async def test_first_come_first_served_between_starts_and_polls() -> None:
    connection_limiter, order = ConnectionLimiter(2), list[str]()
    assert connection_limiter.try_acquire()
    assert connection_limiter.try_acquire()

    async def one(name: str, is_start: bool) -> None:
        await connection_limiter.acquire(is_start)
        order.append(name)
        connection_limiter.release(is_start)

    tasks = [
        asyncio.create_task(one(f"{n}", is_start))
        for n, is_start in enumerate((True, False, False, True, True, False))
    ]
    await asyncio.sleep(0)
    connection_limiter.release()
    await asyncio.gather(*tasks)
    assert order == list("012345")
    connection_limiter.release()
    assert (connection_limiter.in_use, connection_limiter.starts_in_use) == (0, 0)


async def test_500_callers_share_64_places_evenly() -> None:
    connection_limiter, done = ConnectionLimiter(64), Counter[int]()
    total = 20_000

    async def one(n: int) -> None:
        while done.total() < total:
            if not connection_limiter.try_acquire():
                await connection_limiter.acquire()
            await asyncio.sleep(0)
            done[n] += 1
            connection_limiter.release()

    await asyncio.gather(*(one(n) for n in range(500)))
    assert max(done.values()) <= 1.3 * min(done.values())
    assert connection_limiter.in_use == 0


async def test_a_place_granted_to_a_cancelled_caller_is_passed_on() -> None:
    connection_limiter = ConnectionLimiter(1)
    assert connection_limiter.try_acquire()
    first = asyncio.create_task(connection_limiter.acquire())
    second = asyncio.create_task(connection_limiter.acquire())
    await asyncio.sleep(0)
    connection_limiter.release()
    first.cancel()
    await second
    assert first.cancelled() or first.cancelling()
    assert connection_limiter.in_use == 1
    connection_limiter.release()
    assert connection_limiter.in_use == 0


async def test_callers_cancelled_in_the_queue_hold_nothing() -> None:
    connection_limiter = ConnectionLimiter(1)
    assert connection_limiter.try_acquire()
    waiting = [asyncio.create_task(connection_limiter.acquire(n % 2 == 0)) for n in range(10)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    connection_limiter.release()
    assert (connection_limiter.in_use, connection_limiter.starts_in_use) == (0, 0)
    assert connection_limiter.try_acquire(True)


async def test_the_gate_keeps_a_deadline() -> None:
    connection_limiter = ConnectionLimiter(1)
    assert connection_limiter.try_acquire()
    with pytest.raises(AdmissionTimeout):
        await connection_limiter.acquire(deadline=asyncio.get_running_loop().time() - 1)
    connection_limiter.release()
    assert connection_limiter.in_use == 0
    with pytest.raises(InvalidInput):
        ConnectionLimiter(0)
