"""A bound on what paid calls may cost, kept before each is sent.

What a `Budget` holds falls into three: coins that were spent, coins reserved for calls in flight,
and coins reserved for calls whose outcome is unknown. Only the second will change by itself. So a
call is refused when the other two leave no room for it, and waits (in `BudgetQueue`) while calls
in flight may still make room. Who waits holds nothing: no reservation in any budget, no slot, no
connection. Calls in flight never wait for a budget, and therefore always settle.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import Any, Final

from attrs import define, evolve, field

from a2e_async.errors import A2EError, BudgetExceeded, ClientClosed, InvalidInput
from a2e_async.narrow import price as as_price
from a2e_async.transport.retry import could_be_accepted

_MOST: Final = 2**53

UPLOAD: Final = "upload"
"""The kind under which uploads count."""

UPLOAD_COST: Final = 1
"""Coins that an upload counts for where no budget says otherwise."""

REMEMBERED: Final = 10_000
"""Tasks that a budget remembers to have counted."""

Need = tuple[str, int | None]
"""A paid call that is to be made: its kind, and its price as it was quoted."""

_lock: Final = RLock()
"""Held while a budget changes: blocking clients share budgets across threads."""


def _coins(budget: "Budget", attribute: Any, value: Any) -> None:
    name = attribute.name
    if value is None and name == "unknown_cost":
        return
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST:
        raise InvalidInput(f"Budget({name}=…) must be a whole number of coins.", field=name)


@define(eq=False)
class Budget:
    """At most ``coins`` for what a client or a batch pays, over its whole life.

    Before a paid call is sent its price is reserved: what the service quotes, else what this
    kind last cost, else ``unknown_cost``; without any of these it is refused. When the service
    has accepted it, the true price counts, where it is told. A call for which there is no room
    waits as long as calls in flight may make some. What has an unknown outcome stays reserved.
    What keys of a journal stand for already counts as it was paid.

    The service tells no price of an upload: each counts ``upload_cost`` coins. A batch's own
    budget counts its starts and their uploads, a client's all paid calls. Several clients may
    share one, also in several threads.
    """

    coins: int = field(validator=_coins)
    unknown_cost: int | None = field(default=None, validator=_coins)
    upload_cost: int = field(default=UPLOAD_COST, validator=_coins)
    _spent: int = field(default=0, init=False)
    _reserved: int = field(default=0, init=False)
    _in_flight: int = field(default=0, init=False, repr=False)
    """The part of what is reserved that settles by itself."""
    _calls: "Counter[str]" = field(factory=Counter[str], init=False, repr=False)
    """How many calls of a kind are in flight."""
    _last: dict[str, int] = field(factory=dict[str, int], init=False, repr=False)
    _counted: dict[str, int] = field(factory=dict[str, int], init=False, repr=False)
    """What was counted for a task, by its ref."""
    _owed: dict[str, int] = field(factory=dict[str, int], init=False, repr=False)
    """What is reserved for starts whose outcome is unknown, by their keys."""
    _ahead: dict[str, int] = field(factory=dict[str, int], init=False, repr=False)
    """What was counted for keys of a batch before their turn."""
    _elsewhere: tuple[int, int] = field(default=(0, 0), init=False, repr=False)
    """The parts of what is spent and of what is reserved that are those of other runs."""
    _waiters: "dict[_Waiter, None]" = field(
        factory=lambda: dict[_Waiter, None](), init=False, repr=False
    )
    _process: int = field(factory=os.getpid, init=False, repr=False)

    @property
    def spent(self) -> int:
        """Coins that accepted calls have cost."""
        return self._spent

    @property
    def reserved(self) -> int:
        """Coins set aside for calls in flight, and for those whose outcome is unknown."""
        return self._reserved

    @property
    def free(self) -> int:
        """Coins that are neither spent nor reserved."""
        return max(0, self.left)

    @property
    def left(self) -> int:
        """Coins that further calls may cost; below 0 when prices were higher than quoted."""
        return self.coins - self._spent - self._reserved

    def figures(self) -> str:
        """Return how it stands, in words."""
        return f"{self.free} free, {self._reserved} reserved, {self._spent} spent"

    def reserve(self, kind: str, quoted: int | None) -> int:
        """Set the price of a paid call aside and return it. Raises `BudgetExceeded`."""
        with _lock:
            (reserved,) = self.check([(kind, quoted)])
            self.add(kind, reserved)
        return reserved

    def check(self, needs: Sequence[Need]) -> list[int]:
        """Return the prices of calls for all of which there is room now.

        Raises `BudgetExceeded`, ``pending`` while calls in flight may make room.
        """
        self._leave_other_process()
        prices = [self._price(*need) for need in needs]
        total = sum(prices)
        if needs and total > self.left:
            settled = self._spent + self._reserved - self._in_flight
            what = " and ".join(sorted({kind for kind, _ in needs}))
            raise BudgetExceeded(
                f"This paid call ({what}) costs {total} coins, and {self.free} of {self.coins} "
                f"are left in the budget: {self.figures()}. It was not sent.",
                pending=settled + total <= self.coins,
            )
        return prices

    def add(self, kind: str, reserved: int) -> None:
        """Set the price of a call in flight aside, whatever is left."""
        with _lock:
            self._reserved += reserved
            self._begin(kind, reserved)

    def settle(
        self,
        kind: str,
        reserved: int,
        price: int | None,
        ref: str | None = None,
        *,
        reserved_as: str | None = None,
    ) -> None:
        """Count an accepted call at its price, or at what was reserved if that is not told."""
        told = as_price(price)
        paid = reserved if told is None else told
        with _lock:
            self._end(kind if reserved_as is None else reserved_as, reserved)
            self._reserved -= reserved
            self._count(paid, ref)
            self._last[kind] = paid
            self._notify()

    def release(self, reserved: int, kind: str = "") -> None:
        """Give back what was set aside for a call that was not accepted."""
        with _lock:
            self._end(kind, reserved)
            self._reserved -= reserved
            self._notify()

    def owe(self, coins: int, key: str) -> int:
        """Set aside, whatever is left, what an earlier start of a key may have paid; return it.

        What `keep` has kept for this key stands for it already.
        """
        with _lock:
            kept = self._owed.pop(key, None)
            if kept is None:
                kept = as_price(coins) or 0
                self._reserved += kept
            self._begin("", kept)
            return kept

    def keep(self, reserved: int, key: str | None, kind: str = "") -> None:
        """Leave set aside what may have been paid, until more is known of this key."""
        with _lock:
            self._end(kind, reserved)
            if key is not None:
                self._owed[key] = self._owed.get(key, 0) + reserved
            self._notify()

    def known(self, key: str, coins: int, ref: str | None) -> None:
        """Count what a key of a batch stands for before its turn, whatever is left.

        Without a ``ref`` its outcome is unknown, and it is reserved.
        """
        told = as_price(coins) or 0
        with _lock:
            if key in self._owed or key in self._ahead or ref in self._counted:
                return
            if ref is None:
                self._owed[key] = told
                self._reserved += told
            else:
                self._ahead[key] = told
                self._spent += told

    def stands(self, key: str, coins: int | None, ref: str | None) -> None:
        """Count what a key stands for; nothing is set aside for it any more."""
        with _lock:
            self._reserved -= self._owed.pop(key, 0)
            self._spent -= self._ahead.pop(key, 0)
            self.count(coins, ref)

    def found(self, key: str, coins: int | None, ref: str) -> None:
        """Count a task that was found, if something is set aside for its key."""
        told = as_price(coins)
        with _lock:
            if key in self._owed:
                kept = self._owed.pop(key)
                self._reserved -= kept
                self.count(kept if told is None else told, ref)

    def count(self, coins: int | None, ref: str | None = None) -> None:
        """Count a task that was paid before; one of this ``ref`` that is counted is left out."""
        with _lock:
            if ref not in self._counted:
                self._count(as_price(coins) or 0, ref)
            self._notify()

    def correct(self, coins: int | None, ref: str) -> None:
        """Count a task at its price where more is known of it now; it never falls."""
        told = as_price(coins)
        with _lock:
            if told is not None and ref in self._counted:
                self._count(told, ref)
                self._notify()

    def count_elsewhere(self, spent: int, reserved: int) -> None:
        """Count what other runs have spent and reserved, in the place of what they had."""
        now = (as_price(spent) or 0, as_price(reserved) or 0)
        with _lock:
            self._spent += now[0] - self._elsewhere[0]
            self._reserved += now[1] - self._elsewhere[1]
            self._elsewhere = now
            self._notify()

    def copy(self) -> "Budget":
        """Return a budget that stands as this one does, and goes its own way."""
        twin = evolve(self)
        with _lock:
            twin._spent, twin._reserved = self._spent, self._reserved
            twin._last, twin._counted = dict(self._last), dict(self._counted)
            twin._owed, twin._ahead = dict(self._owed), dict(self._ahead)
            twin._elsewhere = self._elsewhere
        return twin

    # -- who waits for room ------------------------------------------------------------------

    @property
    def first(self) -> "_Waiter | None":
        """Who waits the longest."""
        self._leave_other_process()
        return next(iter(self._waiters), None)

    def enter(self, waiter: "_Waiter") -> None:
        """Queue up."""
        self._waiters[waiter] = None

    def leave(self, waiter: "_Waiter") -> None:
        """Leave the queue: the next one may find room."""
        if self._waiters.pop(waiter, waiter) is None:
            self._notify()

    def contended(self) -> BudgetExceeded:
        """Return the refusal of a call before which others wait."""
        return BudgetExceeded(
            f"Other paid calls wait for room in the budget of {self.coins} before this one: "
            f"{self.figures()}. It was not sent.",
            pending=True,
        )

    # -- inside --------------------------------------------------------------------------------

    def _price(self, kind: str, quoted: int | None) -> int:
        price = self.upload_cost if kind == UPLOAD else as_price(quoted)
        if price is None:
            price = self._last.get(kind, self.unknown_cost)
        if price is None:
            raise BudgetExceeded(
                f"The price of this paid call ({kind}) is not known: the service quotes none, and "
                "none was made under this budget yet. Give Budget(unknown_cost=…). It was not "
                "sent.",
                pending=self._calls[kind] > 0,  # which will tell
            )
        return price

    def _begin(self, kind: str, reserved: int) -> None:
        self._in_flight += reserved
        self._calls[kind] += 1

    def _end(self, kind: str, reserved: int) -> None:
        self._in_flight -= reserved
        self._calls[kind] -= 1
        if self._calls[kind] <= 0:
            del self._calls[kind]

    def _count(self, coins: int, ref: str | None) -> None:
        """Count a task at its price; one that is counted already only for what is more."""
        before = 0 if ref is None else self._counted.pop(ref, 0)
        more = max(0, coins - before)
        self._spent += more
        if ref is None:
            return
        self._counted[ref] = before + more
        while len(self._counted) > REMEMBERED:
            del self._counted[next(iter(self._counted))]

    def _notify(self) -> None:
        """Let the first of those who wait look again; each that leaves wakes the next."""
        while (first := self.first) is not None and not first.wake():
            del self._waiters[first]

    def _leave_other_process(self) -> None:
        """After a fork: the calls in flight are the parent's, and never settle here."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._in_flight = 0
            self._calls.clear()
            self._waiters.clear()


@define(eq=False)
class Held:
    """What some budgets have set aside for one paid call and its uploads: all of them, or none.

    Made for one call and changed by whoever makes it.
    """

    budgets: tuple[Budget, ...] = ()
    _set: "list[tuple[Budget, str, int]]" = field(
        factory=list["tuple[Budget, str, int]"], init=False
    )

    def __bool__(self) -> bool:
        """Whether something is set aside."""
        return bool(self._set)

    @property
    def price(self) -> int | None:
        """Coins that are set aside for the call itself (or its uploads alone), None for nothing."""
        own = [price for _, kind, price in self._set if kind != UPLOAD]
        return max(own or [price for _, _, price in self._set], default=None)

    def reserve(self, *needs: Need) -> None:
        """Set these prices aside in each budget, in the place of what was.

        Raises `BudgetExceeded`, ``pending`` only where all budgets may have room in the end.
        """
        with _lock:
            self.release()
            self.take(self.check(needs))

    def check(self, needs: Sequence[Need]) -> "list[tuple[Budget, str, int]]":
        """Return what would be set aside in each budget; raises as `reserve`."""
        refusals: list[BudgetExceeded] = []
        found: list[tuple[Budget, str, int]] = []
        for budget in self.budgets:
            try:
                prices = budget.check(needs)
            except BudgetExceeded as error:
                refusals.append(error)
            else:
                kinds = (kind for kind, _ in needs)
                found += [(budget, kind, price) for kind, price in zip(kinds, prices, strict=True)]
        if refusals:
            raise min(refusals, key=lambda error: error.pending)
        return found

    def take(self, found: "list[tuple[Budget, str, int]]") -> None:
        """Set aside what `check` has found room for."""
        for budget, kind, price in found:
            budget.add(kind, price)
        self._set = found

    def upload(self) -> "Held":
        """Return what is set aside for one upload, else set it aside now.

        Raises `BudgetExceeded`.
        """
        part = Held(self.budgets)
        with _lock:
            for budget in self.budgets:
                mine = next((s for s in self._set if s[0] is budget and s[1] == UPLOAD), None)
                if mine is not None:
                    self._set.remove(mine)
                    part._set.append(mine)
            if not part:
                part.reserve((UPLOAD, None))
        return part

    def owe(self, coins: int, key: str) -> None:
        """Set aside what an earlier start of this key may have paid, whatever is left."""
        self._set += [(budget, "", budget.owe(coins, key)) for budget in self.budgets]

    def keep(self, key: str | None = None) -> None:
        """Leave what is set aside: it may have been paid. ``key`` is that of its next start."""
        kept, self._set = self._set, []
        for budget, kind, price in kept:
            budget.keep(price, key, kind)

    def settle(self, kind: str, coins: int | None, ref: str | None = None) -> None:
        """Count the call as accepted at this price; ``ref`` of the task it made, if it did."""
        if kind != UPLOAD:
            self.release(UPLOAD)  # it turned out to need none
        kept, self._set = self._set, []
        for budget, reserved_as, price in kept:
            budget.settle(kind, price, coins, ref, reserved_as=reserved_as)
        if not kept:  # found again, and nothing was known of its price
            for budget in self.budgets:
                budget.count(coins, ref)

    def known(self, key: str, coins: int, ref: str | None) -> None:
        """Count what a key of a batch stands for before its turn."""
        for budget in self.budgets:
            budget.known(key, coins, ref)

    def stands(self, key: str, coins: int | None, ref: str | None) -> None:
        """Count, once, the task that a key stands for; nothing is set aside."""
        self.release()
        for budget in self.budgets:
            budget.stands(key, coins, ref)

    def found(self, key: str, coins: int | None, ref: str) -> None:
        """Count, once, a task that was found, where something is set aside for its key."""
        for budget in self.budgets:
            budget.found(key, coins, ref)

    def correct(self, coins: int | None, ref: str) -> None:
        """Count a task at its price where more is known of it now."""
        for budget in self.budgets:
            budget.correct(coins, ref)

    def release(self, kind: str | None = None) -> None:
        """Give back what was set aside, or that of one kind: it was not accepted."""
        gone = [one for one in self._set if kind in (None, one[1])]
        self._set = [one for one in self._set if one not in gone]
        for budget, reserved_as, price in gone:
            budget.release(price, reserved_as)


def held_by(*budgets: Budget | None) -> Held:
    """Return what these budgets will hold, each once; None is no budget."""
    return Held(tuple(dict.fromkeys(budget for budget in budgets if budget is not None)))


@define(eq=False)
class _Waiter:
    """One call that waits for room. It belongs to its event loop."""

    _loop: asyncio.AbstractEventLoop
    turn: "asyncio.Future[None]" = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.rest()

    def rest(self) -> None:
        """Wait for the next change."""
        self.turn = self._loop.create_future()

    def wake(self) -> bool:
        """Let it look again, from whatever thread; return whether its loop still lives."""
        if self._loop.is_closed():
            return False
        if _running_loop() is self._loop:
            self._go()
        else:
            try:
                self._loop.call_soon_threadsafe(self._go)
            except RuntimeError:  # closed in this moment
                return False
        return True

    def _go(self) -> None:
        if not self.turn.done():
            self.turn.set_result(None)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class BudgetQueue:
    """The calls of one client that wait for room in budgets; first come, first served.

    Made with the client and closed by it.
    """

    def __init__(self) -> None:
        self._waiting: set[_Waiter] = set()
        self._closed = False

    async def reserve(
        self,
        held: Held,
        needs: Callable[[], Sequence[Need]],
        *,
        max_wait: float | None = None,
    ) -> None:
        """Set prices aside, in the place of what was, as soon as there is room in all budgets.

        ``needs`` are asked for again after each wait. ``max_wait`` in seconds. Raises
        `BudgetExceeded` when nothing in flight can make room (or not within ``max_wait``: then it
        is ``pending``), `ClientClosed`.
        """
        held.release()
        refused = self._try(held, needs, None)
        if refused is None:
            return
        if max_wait == 0:
            raise refused
        try:
            async with asyncio.timeout(max_wait):
                await self._wait(held, needs)
        except TimeoutError:  # nothing within raises one
            raise refused from None

    def close(self) -> None:
        """End every wait with `ClientClosed`; nothing of these calls was sent."""
        self._closed = True
        for waiter in self._waiting:
            waiter.wake()

    async def _wait(self, held: Held, needs: Callable[[], Sequence[Need]]) -> None:
        waiter = _Waiter(asyncio.get_running_loop())
        with _lock:
            for budget in held.budgets:
                budget.enter(waiter)
        self._waiting.add(waiter)
        try:
            # Room may have been made between the first try and this.
            while self._try(held, needs, waiter) is not None:
                await waiter.turn
                waiter.rest()
        finally:
            self._waiting.discard(waiter)
            with _lock:
                for budget in held.budgets:
                    budget.leave(waiter)

    def _try(
        self, held: Held, needs: Callable[[], Sequence[Need]], waiter: _Waiter | None
    ) -> BudgetExceeded | None:
        """Reserve if there is room and no earlier waiter; return why not, raise if never."""
        if self._closed:
            raise _closed()
        with _lock:
            try:
                found = held.check(needs())
            except BudgetExceeded as error:
                if not error.pending:
                    raise
                return error
            for budget in held.budgets:
                if budget.first not in (None, waiter):
                    return budget.contended()
            held.take(found)
        return None


def _closed() -> ClientClosed:
    return ClientClosed("The client was closed before the call was sent; nothing was spent.")


def as_budget(value: Any) -> Budget | None:
    """Return a budget that was given as one or as coins. Raises `InvalidInput`."""
    if value is None or isinstance(value, Budget):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Budget(value)
    raise InvalidInput("budget must be a Budget or a number of coins.", field="budget")


@contextmanager
def spending(held: Held, kind: str) -> Generator[tuple[Callable[[], None], Callable[[], None]]]:
    """Settle what is set aside when the block ends, or give it back if nothing can be paid.

    It yields ``on_sent`` and ``on_refused`` of the block's request. What may have been accepted
    stays set aside.
    """
    sent = False

    def on_sent() -> None:
        nonlocal sent
        sent = True

    def on_refused() -> None:
        nonlocal sent
        sent = False

    try:
        yield on_sent, on_refused
    except BaseException as error:
        if not sent or (isinstance(error, A2EError) and not could_be_accepted(error)):
            held.release()
        else:
            held.keep()
        raise
    held.settle(kind, None)
