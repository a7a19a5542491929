"""A limit on the cost of paid calls, enforced before each call is sent.

A `Budget` counts three amounts: coins spent, coins reserved for calls in flight, and coins
reserved for calls whose outcome is unknown. Only the second changes without a new call. So a call
is refused if the other two leave no room for it, and waits (in `BudgetQueue`) while calls in
flight may still make room. A waiting call holds nothing: no reservation in any budget, no slot
and no connection. Calls in flight never wait for a budget, so they always complete.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import Any, Final, Protocol

from attrs import define, evolve, field

from a2e_async._core.http.loop_affinity import closed_before_sent_error
from a2e_async._core.http.retry import may_have_been_accepted
from a2e_async._core.journal.protocol import UPLOAD
from a2e_async._core.typeguards import parse_price as as_price
from a2e_async.errors import A2EError, BudgetExceeded, InvalidInput

_MAX_COINS: Final = 2**53


UPLOAD_COST: Final = 1
"""Default number of coins that an upload counts for."""

MAX_REMEMBERED_TASKS: Final = 10_000
"""How many counted tasks a budget remembers."""

PricedCall = tuple[str, int | None]
"""A paid call that needs a reservation: its kind, and its quoted price in coins or None."""

_lock: Final = RLock()
"""Held while a budget changes: blocking clients may share budgets across threads."""


def _validate_coins(budget: "Budget", attribute: Any, value: Any) -> None:
    name = attribute.name
    if value is None and name == "unknown_cost":
        return
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_COINS:
        raise InvalidInput(
            f"Budget({name}=…) must be a whole number of coins, 0 or more.", field=name
        )


@define(eq=False)
class Budget:
    """A limit of ``coins`` on everything that a client or a batch pays.

    Before a paid call is sent, its price is reserved: the service's quote, else the last price
    of this kind, else ``unknown_cost``. Without any of these the call is refused. Once the
    service has accepted it, the actual price is counted, if the service reports one. A call
    waits for room while calls in flight may make some. Calls with an unknown outcome stay
    reserved. A journal key that already has a task counts with the price of that task.

    The service reports no price for uploads, so each counts ``upload_cost`` coins. The budget of
    a batch counts its starts and their uploads, that of a client all paid calls. Clients may
    share a budget, also across threads.

    With ``whole_journal`` it limits all that is in the client's journal, also what other processes
    start at the same moment.

    Created by its user and kept by the clients and batches that it is given to. Their calls change
    it, under one lock.
    """

    coins: int = field(validator=_validate_coins)
    unknown_cost: int | None = field(default=None, validator=_validate_coins)
    upload_cost: int = field(default=UPLOAD_COST, validator=_validate_coins)
    whole_journal: bool = field(default=False, kw_only=True)
    _spent: int = field(default=0, init=False)
    _reserved: int = field(default=0, init=False)
    _coins_in_flight: int = field(default=0, init=False, repr=False)
    """The part of the reserved coins that belongs to calls in flight."""
    _calls_in_flight: "Counter[str]" = field(factory=Counter[str], init=False, repr=False)
    """How many calls of each kind are in flight."""
    _last_prices: dict[str, int] = field(factory=dict[str, int], init=False, repr=False)
    _counted_tasks: dict[str, int] = field(factory=dict[str, int], init=False, repr=False)
    """Coins counted for each task, by its ref."""
    _unknown_by_key: dict[str, int] = field(factory=dict[str, int], init=False, repr=False)
    """Coins reserved for starts with an unknown outcome, by key."""
    _precounted: dict[str, int] = field(factory=dict[str, int], init=False, repr=False)
    """Coins counted for keys of a batch before these jobs run."""
    _other_runs: tuple[int, int] = field(default=(0, 0), init=False, repr=False)
    """Coins spent and reserved by other runs; included in the totals."""
    _waiters: "dict[_BudgetWaiter, None]" = field(
        factory=lambda: dict[_BudgetWaiter, None](), init=False, repr=False
    )
    _process_id: int = field(factory=os.getpid, init=False, repr=False)

    @property
    def spent(self) -> int:
        """Coins spent on accepted calls."""
        return self._spent

    @property
    def reserved(self) -> int:
        """Coins reserved for calls in flight and for calls with an unknown outcome."""
        return self._reserved

    @property
    def free(self) -> int:
        """Coins neither spent nor reserved; never below 0."""
        return max(0, self.left)

    @property
    def left(self) -> int:
        """Coins left for further calls; below 0 if prices were higher than quoted."""
        return self.coins - self._spent - self._reserved

    def summary(self) -> str:
        """Return the free, reserved and spent coins as a text for errors."""
        return f"{self.free} free, {self._reserved} reserved, {self._spent} spent"

    def reserve(self, kind: str, quoted: int | None) -> int:
        """Reserve the price of a paid call and return it (coins). Raises `BudgetExceeded`."""
        with _lock:
            (reserved,) = self.check_room([(kind, quoted)])
            self.add_reservation(kind, reserved)
        return reserved

    def check_room(self, priced_calls: Sequence[PricedCall]) -> list[int]:
        """Return the prices to reserve for these calls, if there is room for all of them.

        Otherwise raises `BudgetExceeded`, with ``pending`` while calls in flight may make room.
        """
        self._reset_after_fork()
        prices = [self._estimate(*need) for need in priced_calls]
        total = sum(prices)
        if priced_calls and total > self.left:
            # Coins in flight may be released, all others not. So the call is only pending if it
            # fits beside those others.
            settled = self._spent + self._reserved - self._coins_in_flight
            what = " and ".join(sorted({kind for kind, _ in priced_calls}))
            raise BudgetExceeded(
                f"This paid call ({what}) costs {total} coins, but only {self.free} of "
                f"{self.coins} are left in the budget: {self.summary()}. It was not sent.",
                pending=settled + total <= self.coins,
            )
        return prices

    def check_whole_journal(self, kind: str, price: int, spent: int, reserved: int) -> None:
        """Raise `BudgetExceeded` if the journal, with a call of this price in it, exceeds it.

        ``spent`` and ``reserved`` are the journal's totals (coins). It is ``pending`` if the call
        fits beside what is spent: other calls may not be sent, or cost less than reserved.
        """
        if spent + reserved > self.coins:
            others = max(0, reserved - price)
            raise BudgetExceeded(
                f"This paid call ({kind}) costs {price} coins, but all runs that share the journal "
                f"have spent {spent} and reserved {others} of {self.coins} coins. It was not sent.",
                pending=spent + price <= self.coins,
            )

    def add_reservation(self, kind: str, reserved: int) -> None:
        """Reserve the price of a call in flight, even if there is no room."""
        with _lock:
            self._reserved += reserved
            self._begin_call(kind, reserved)

    def commit(
        self,
        kind: str,
        reserved: int,
        price: int | None,
        ref: str | None = None,
        *,
        reserved_as: str | None = None,
    ) -> None:
        """Count an accepted call at its price, or at the reserved one if none is reported."""
        reported = as_price(price)
        paid = reserved if reported is None else reported
        with _lock:
            self._end_call(kind if reserved_as is None else reserved_as, reserved)
            self._reserved -= reserved
            self._add_spent(paid, ref)
            self._last_prices[kind] = paid
            self._wake_waiters()

    def release(self, reserved: int, kind: str = "") -> None:
        """Release the reservation of a call that was not accepted."""
        with _lock:
            self._end_call(kind, reserved)
            self._reserved -= reserved
            self._wake_waiters()

    def reserve_unknown(self, coins: int, key: str) -> int:
        """Reserve what an earlier start of a key may have paid; return it (coins).

        Reserves even if there is no room. What `retain` keeps for this key is not added again.
        """
        with _lock:
            kept = self._unknown_by_key.pop(key, None)
            if kept is None:
                kept = as_price(coins) or 0
                self._reserved += kept
            self._begin_call("", kept)
            return kept

    def retain(self, reserved: int, key: str | None, kind: str = "") -> None:
        """Keep a reservation that may have been paid, until the key's outcome is known."""
        with _lock:
            self._end_call(kind, reserved)
            if key is not None:
                self._unknown_by_key[key] = self._unknown_by_key.get(key, 0) + reserved
            self._wake_waiters()

    def precount(self, key: str, coins: int, ref: str | None) -> None:
        """Count what an earlier run paid for a key of a batch, even if there is no room.

        Without a ``ref`` the outcome is unknown and the coins are reserved.
        """
        reported = as_price(coins) or 0
        with _lock:
            if key in self._unknown_by_key or key in self._precounted or ref in self._counted_tasks:
                return  # counted already: the same budget may serve several runs
            if ref is None:
                self._unknown_by_key[key] = reported
                self._reserved += reported
            else:
                self._precounted[key] = reported
                self._spent += reported

    def count_existing(self, key: str, coins: int | None, ref: str | None) -> None:
        """Count the task that a key already has, instead of anything reserved for the key."""
        with _lock:
            self._reserved -= self._unknown_by_key.pop(key, 0)
            self._spent -= self._precounted.pop(key, 0)
            self.count_task(coins, ref)

    def count_found(self, key: str, coins: int | None, ref: str) -> None:
        """Count a found task, if coins are reserved for its key."""
        reported = as_price(coins)
        with _lock:
            if key in self._unknown_by_key:
                kept = self._unknown_by_key.pop(key)
                self._reserved -= kept
                self.count_task(kept if reported is None else reported, ref)

    def count_task(self, coins: int | None, ref: str | None = None) -> None:
        """Count a task that was paid earlier, unless this ``ref`` has been counted."""
        with _lock:
            if ref not in self._counted_tasks:
                self._add_spent(as_price(coins) or 0, ref)
            self._wake_waiters()

    def raise_price(self, coins: int | None, ref: str) -> None:
        """Raise the counted price of a task once a higher one is known; never lower it."""
        reported = as_price(coins)
        with _lock:
            if reported is not None and ref in self._counted_tasks:
                self._add_spent(reported, ref)
                self._wake_waiters()

    def set_other_runs(self, spent: int, reserved: int) -> None:
        """Set what other runs have spent and reserved; replaces the values set before."""
        new = (as_price(spent) or 0, as_price(reserved) or 0)
        with _lock:
            self._spent += new[0] - self._other_runs[0]
            self._reserved += new[1] - self._other_runs[1]
            self._other_runs = new
            self._wake_waiters()

    def copy(self) -> "Budget":
        """Return an independent budget with the same amounts."""
        clone = evolve(self)
        with _lock:
            clone._spent, clone._reserved = self._spent, self._reserved
            clone._last_prices, clone._counted_tasks = (
                dict(self._last_prices),
                dict(self._counted_tasks),
            )
            clone._unknown_by_key, clone._precounted = (
                dict(self._unknown_by_key),
                dict(self._precounted),
            )
            clone._other_runs = self._other_runs
        return clone

    # -- waiters -----------------------------------------------------------------------------

    @property
    def first_waiter(self) -> "_BudgetWaiter | None":
        """The waiter that has waited longest."""
        self._reset_after_fork()
        return next(iter(self._waiters), None)

    def add_waiter(self, waiter: "_BudgetWaiter") -> None:
        """Add a waiter at the end of the queue."""
        self._waiters[waiter] = None

    def remove_waiter(self, waiter: "_BudgetWaiter") -> None:
        """Remove a waiter and wake the next one, which may find room."""
        if self._waiters.pop(waiter, waiter) is None:
            self._wake_waiters()

    def contended_error(self) -> BudgetExceeded:
        """Return the error for a call behind other waiting calls."""
        return BudgetExceeded(
            f"Other paid calls are waiting for room in the budget of {self.coins} coins before "
            f"this one: {self.summary()}. It was not sent.",
            pending=True,
        )

    # -- inside --------------------------------------------------------------------------------

    def _estimate(self, kind: str, quoted: int | None) -> int:
        price = self.upload_cost if kind == UPLOAD else as_price(quoted)
        if price is None:
            price = self._last_prices.get(kind, self.unknown_cost)
        if price is None:
            raise BudgetExceeded(
                f"The price of this paid call ({kind}) is unknown: the service quotes none, and "
                "this budget has not paid for one yet. Give Budget(unknown_cost=…). It was not "
                "sent.",
                pending=self._calls_in_flight[kind] > 0,  # a call in flight will show the price
            )
        return price

    def _begin_call(self, kind: str, reserved: int) -> None:
        self._coins_in_flight += reserved
        self._calls_in_flight[kind] += 1

    def _end_call(self, kind: str, reserved: int) -> None:
        self._coins_in_flight -= reserved
        self._calls_in_flight[kind] -= 1
        if self._calls_in_flight[kind] <= 0:
            del self._calls_in_flight[kind]

    def _add_spent(self, coins: int, ref: str | None) -> None:
        """Add a task's price; for a task counted before only the difference, if positive."""
        before = 0 if ref is None else self._counted_tasks.pop(ref, 0)
        more = max(0, coins - before)
        self._spent += more
        if ref is None:
            return
        self._counted_tasks[ref] = before + more
        # Limits the memory. A forgotten task would be counted again if its key were used again.
        while len(self._counted_tasks) > MAX_REMEMBERED_TASKS:
            del self._counted_tasks[next(iter(self._counted_tasks))]

    def _wake_waiters(self) -> None:
        """Wake the first waiter with a running event loop; a waiter that leaves wakes the next.

        Waking only the first keeps the order: a later one could take the room otherwise.
        """
        while (first := self.first_waiter) is not None and not first.wake():
            del self._waiters[first]

    def _reset_after_fork(self) -> None:
        """Reset calls in flight after a fork: they are the parent's and never complete here."""
        if self._process_id != os.getpid():
            self._process_id = os.getpid()
            self._coins_in_flight = 0
            self._calls_in_flight.clear()
            self._waiters.clear()


@define(eq=False)
class Reservation:
    """What several budgets have reserved for one paid call and its uploads: all of them or none.

    It belongs to a single call and is not shared between calls.
    """

    budgets: tuple[Budget, ...] = ()
    _parts: "list[tuple[Budget, str, int]]" = field(
        factory=list["tuple[Budget, str, int]"], init=False
    )

    def __bool__(self) -> bool:
        """Whether anything is reserved."""
        return bool(self._parts)

    @property
    def price(self) -> int | None:
        """Coins reserved for the call, or for its uploads if only those; None for nothing."""
        own = [price for _, kind, price in self._parts if kind != UPLOAD]
        return max(own or [price for _, _, price in self._parts], default=None)

    def reserve(self, *priced_calls: PricedCall) -> None:
        """Reserve these prices in each budget, instead of what was reserved.

        Raises `BudgetExceeded`, with ``pending`` only if all budgets may get room.
        """
        # One lock for both steps: another thread could take the room between them.
        with _lock:
            self.release()
            self.apply(self.check_room(priced_calls))

    def check_room(self, priced_calls: Sequence[PricedCall]) -> "list[tuple[Budget, str, int]]":
        """Return what would be reserved in each budget; raises as `reserve` does."""
        refusals: list[BudgetExceeded] = []
        parts: list[tuple[Budget, str, int]] = []
        for budget in self.budgets:
            try:
                prices = budget.check_room(priced_calls)
            except BudgetExceeded as error:
                refusals.append(error)
            else:
                kinds = (kind for kind, _ in priced_calls)
                parts += [(budget, kind, price) for kind, price in zip(kinds, prices, strict=True)]
        if refusals:
            # An error that is not pending wins: waiting for the other budgets would be in vain.
            raise min(refusals, key=lambda error: error.pending)
        return parts

    def apply(self, parts: "list[tuple[Budget, str, int]]") -> None:
        """Reserve what `check_room` has returned."""
        for budget, kind, price in parts:
            budget.add_reservation(kind, price)
        self._parts = parts

    def split_upload(self) -> "Reservation":
        """Split off the reservation of one upload, or reserve one now.

        Raises `BudgetExceeded`.
        """
        part = Reservation(self.budgets)
        with _lock:
            for budget in self.budgets:
                own = next((s for s in self._parts if s[0] is budget and s[1] == UPLOAD), None)
                if own is not None:
                    self._parts.remove(own)
                    part._parts.append(own)
            if not part:
                part.reserve((UPLOAD, None))
        return part

    def reserve_unknown(self, coins: int, key: str) -> None:
        """Reserve what an earlier start of this key may have paid, even if there is no room."""
        self._parts += [(budget, "", budget.reserve_unknown(coins, key)) for budget in self.budgets]

    def retain(self, key: str | None = None) -> None:
        """Keep the reservation, which may have been paid, for the next start with this key."""
        parts, self._parts = self._parts, []
        for budget, kind, price in parts:
            budget.retain(price, key, kind)

    def commit(self, kind: str, coins: int | None, ref: str | None = None) -> None:
        """Count the call as accepted at this price (coins); ``ref`` is that of its task."""
        if kind != UPLOAD:
            self.release(UPLOAD)  # uploads that turned out not to be needed
        parts, self._parts = self._parts, []
        for budget, reserved_as, price in parts:
            budget.commit(kind, price, coins, ref, reserved_as=reserved_as)
        if not parts:  # a found start without a reservation: its price was unknown
            for budget in self.budgets:
                budget.count_task(coins, ref)

    def precount(self, key: str, coins: int, ref: str | None) -> None:
        """Count what an earlier run paid for a key of a batch, before its job runs."""
        for budget in self.budgets:
            budget.precount(key, coins, ref)

    def count_existing(self, key: str, coins: int | None, ref: str | None) -> None:
        """Count, once, the task that a key already has; release the reservation."""
        self.release()
        for budget in self.budgets:
            budget.count_existing(key, coins, ref)

    def count_found(self, key: str, coins: int | None, ref: str) -> None:
        """Count, once, a found task, if coins are reserved for its key."""
        for budget in self.budgets:
            budget.count_found(key, coins, ref)

    def raise_price(self, coins: int | None, ref: str) -> None:
        """Raise the counted price of a task once a higher one is known."""
        for budget in self.budgets:
            budget.raise_price(coins, ref)

    def release(self, kind: str | None = None) -> None:
        """Release the reservation, or the part of one kind: the call was not accepted."""
        released = [one for one in self._parts if kind in (None, one[1])]
        self._parts = [one for one in self._parts if one not in released]
        for budget, reserved_as, price in released:
            budget.release(price, reserved_as)


def reservation_for(*budgets: Budget | None) -> Reservation:
    """Return an empty reservation in these budgets; None and duplicates are left out."""
    return Reservation(tuple(dict.fromkeys(budget for budget in budgets if budget is not None)))


@define(eq=False)
class _BudgetWaiter:
    """One call that waits for room. It belongs to one event loop."""

    _loop: asyncio.AbstractEventLoop
    turn: "asyncio.Future[None]" = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Prepare to wait for the next change."""
        self.turn = self._loop.create_future()

    def wake(self) -> bool:
        """Wake the waiter, from any thread; return False if its event loop is closed."""
        if self._loop.is_closed():
            return False
        if _running_loop() is self._loop:
            self._set_turn()
        else:
            try:
                self._loop.call_soon_threadsafe(self._set_turn)
            except RuntimeError:  # the loop was closed just now
                return False
        return True

    def _set_turn(self) -> None:
        if not self.turn.done():
            self.turn.set_result(None)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class BudgetQueue:
    """The calls of one client that wait for room in budgets: first come, first served.

    Created once per client and closed with it; changed by its paid calls, on the client's event
    loop only.
    """

    def __init__(self) -> None:
        self._waiters: set[_BudgetWaiter] = set()
        self._closed = False

    async def reserve(
        self,
        reservation: Reservation,
        get_priced_calls: Callable[[], Sequence[PricedCall]],
        *,
        max_wait: float | None = None,
    ) -> None:
        """Reserve prices, instead of what was reserved, once all budgets have room.

        ``get_priced_calls`` is called again after each wait. ``max_wait`` in seconds. Raises
        `BudgetExceeded` when no call in flight can make room, or (then ``pending``) after
        ``max_wait``; `ClientClosed` when the client is closed.
        """
        reservation.release()
        refused = self._try_reserve(reservation, get_priced_calls, None)
        if refused is None:
            return
        if max_wait == 0:
            raise refused
        try:
            async with asyncio.timeout(max_wait):
                await self._wait(reservation, get_priced_calls)
        except TimeoutError:  # only this timeout: nothing inside raises one
            raise refused from None

    def close(self) -> None:
        """Fail every waiting call with `ClientClosed`; none of them was sent."""
        self._closed = True
        for waiter in self._waiters:
            waiter.wake()

    async def _wait(
        self, reservation: Reservation, get_priced_calls: Callable[[], Sequence[PricedCall]]
    ) -> None:
        waiter = _BudgetWaiter(asyncio.get_running_loop())
        with _lock:
            for budget in reservation.budgets:
                budget.add_waiter(waiter)
        self._waiters.add(waiter)
        try:
            # Try before waiting: room may have been made since the first try.
            while self._try_reserve(reservation, get_priced_calls, waiter) is not None:
                await waiter.turn
                waiter.reset()
        finally:
            self._waiters.discard(waiter)
            with _lock:
                for budget in reservation.budgets:
                    budget.remove_waiter(waiter)

    def _try_reserve(
        self,
        reservation: Reservation,
        get_priced_calls: Callable[[], Sequence[PricedCall]],
        waiter: _BudgetWaiter | None,
    ) -> BudgetExceeded | None:
        """Reserve if there is room and no earlier waiter.

        Return the error if there is no room yet; raise it if there can be none.
        """
        if self._closed:
            raise closed_before_sent_error("call")
        with _lock:
            try:
                parts = reservation.check_room(get_priced_calls())
            except BudgetExceeded as error:
                if not error.pending:
                    raise
                return error
            for budget in reservation.budgets:
                if budget.first_waiter not in (None, waiter):
                    return budget.contended_error()
            reservation.apply(parts)
        return None


def as_budget(value: Any) -> Budget | None:
    """Return a `Budget` for a `Budget` or a number of coins. Raises `InvalidInput`."""
    if value is None or isinstance(value, Budget):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Budget(value)
    raise InvalidInput("budget must be a Budget or a number of coins.", field="budget")


class SentCall(Protocol):
    """A call that knows whether it may have reached the service; `ApiCall` is one."""

    @property
    def sent(self) -> bool: ...


@contextmanager
def commit_on_exit(reservation: Reservation, kind: str, call: SentCall) -> Generator[None]:
    """Commit the reservation of a call when the block ends, or release it if it was not accepted.

    If the call may have been accepted, the reservation is kept.
    """
    try:
        yield
    except BaseException as error:
        if was_accepted(call, error):
            reservation.retain()
        else:
            reservation.release()
        raise
    reservation.commit(kind, None)


def was_accepted(call: SentCall, error: BaseException) -> bool:
    """Return whether a paid call that ended with an error may have been accepted."""
    return call.sent and not (isinstance(error, A2EError) and not may_have_been_accepted(error))
