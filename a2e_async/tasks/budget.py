"""A bound on what paid calls may cost, kept before each is sent (pure)."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

from attrs import define, evolve, field

from a2e_async.errors import A2EError, BudgetExceeded, InvalidInput
from a2e_async.transport.retry import could_be_accepted

_MOST: Final = 2**53

UPLOAD: Final = "upload"
"""The kind under which uploads count."""

UPLOAD_COST: Final = 1
"""Coins that an upload counts for where no budget says otherwise."""

REMEMBERED: Final = 10_000
"""Tasks that a budget remembers to have counted."""


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
    has accepted it, the true price counts, where it is told. What has an unknown outcome stays
    reserved. What keys of a journal stand for already counts as it was paid.

    The service tells no price of an upload: each counts ``upload_cost`` coins. A batch's own
    budget counts its starts and their uploads, a client's all paid calls.
    """

    coins: int = field(validator=_coins)
    unknown_cost: int | None = field(default=None, validator=_coins)
    upload_cost: int = field(default=UPLOAD_COST, validator=_coins)
    _spent: int = field(default=0, init=False)
    _reserved: int = field(default=0, init=False)
    _last: dict[str, int] = field(factory=dict[str, int], init=False, repr=False)
    _counted: dict[str, None] = field(factory=dict[str, None], init=False, repr=False)
    _owed: dict[str, int] = field(factory=dict[str, int], init=False, repr=False)
    """What is reserved for starts whose outcome is unknown, by their keys."""

    @property
    def spent(self) -> int:
        """Coins that accepted calls have cost."""
        return self._spent

    @property
    def reserved(self) -> int:
        """Coins set aside for calls under way, and for those whose outcome is unknown."""
        return self._reserved

    @property
    def left(self) -> int:
        """Coins that further calls may cost; below 0 when prices were higher than quoted."""
        return self.coins - self._spent - self._reserved

    def reserve(self, kind: str, quoted: int | None) -> int:
        """Set the price of a paid call aside and return it. Raises `BudgetExceeded`."""
        price = quoted
        if price is None:
            price = self._last.get(kind, self.unknown_cost)
        if price is None:
            raise BudgetExceeded(
                f"The price of this paid call ({kind}) is not known: the service quotes none, and "
                "none was made under this budget yet. Give Budget(unknown_cost=…). It was not sent."
            )
        if price > self.left:
            raise BudgetExceeded(
                f"This paid call ({kind}) costs {price} coins, and {max(0, self.left)} of "
                f"{self.coins} are left in the budget. It was not sent."
            )
        self._reserved += price
        return price

    def settle(self, kind: str, reserved: int, price: int | None, ref: str | None = None) -> None:
        """Count an accepted call at its price, or at what was reserved if that is not told."""
        paid = reserved if price is None else price
        self._is_new(ref)
        self._reserved -= reserved
        self._spent += paid
        self._last[kind] = paid

    def release(self, reserved: int) -> None:
        """Give back what was set aside for a call that was not accepted."""
        self._reserved -= reserved

    def owe(self, coins: int, key: str) -> int:
        """Set aside, whatever is left, what an earlier start of a key may have paid; return it.

        What `keep` has kept for this key stands for it already.
        """
        kept = self._owed.pop(key, None)
        if kept is not None:
            return kept
        self._reserved += coins
        return coins

    def keep(self, reserved: int, key: str) -> None:
        """Leave set aside what a start of this key may have paid, until more is known of it."""
        self._owed[key] = reserved

    def stands(self, key: str, coins: int | None, ref: str | None) -> None:
        """Count what a key stands for; nothing is set aside for it any more."""
        self._reserved -= self._owed.pop(key, 0)
        self.count(coins, ref)

    def count(self, coins: int | None, ref: str | None = None) -> None:
        """Count a task that was paid before; one of this ``ref`` that is counted is left out."""
        if self._is_new(ref):
            self._spent += coins or 0

    def _is_new(self, ref: str | None) -> bool:
        if ref is None:
            return True
        new = ref not in self._counted
        self._counted[ref] = None
        while len(self._counted) > REMEMBERED:
            del self._counted[next(iter(self._counted))]
        return new

    def copy(self) -> "Budget":
        """Return a budget that stands as this one does, and goes its own way."""
        twin = evolve(self)
        twin._spent, twin._reserved = self._spent, self._reserved
        twin._last, twin._counted = dict(self._last), dict(self._counted)
        twin._owed = dict(self._owed)
        return twin


@define(eq=False)
class Held:
    """What some budgets have set aside for one paid call: all of them, or none."""

    budgets: tuple[Budget, ...] = ()
    _set: list[tuple[Budget, int]] = field(factory=list["tuple[Budget, int]"], init=False)

    def __bool__(self) -> bool:
        """Whether something is set aside."""
        return bool(self._set)

    @property
    def price(self) -> int | None:
        """Coins that are set aside, None for nothing."""
        return max((price for _, price in self._set), default=None)

    def reserve(self, kind: str, quoted: int | None) -> None:
        """Set the price aside in each budget, in the place of what was. Raises `BudgetExceeded`."""
        self.release()
        try:
            for budget in self.budgets:
                told = budget.upload_cost if kind == UPLOAD else quoted
                self._set.append((budget, budget.reserve(kind, told)))
        except BudgetExceeded:
            self.release()
            raise

    def owe(self, coins: int, key: str) -> None:
        """Set aside what an earlier start of this key may have paid, whatever is left."""
        self._set += [(budget, budget.owe(coins, key)) for budget in self.budgets]

    def keep(self, key: str) -> None:
        """Leave what is set aside to the next start of this key."""
        kept, self._set = self._set, []
        for budget, price in kept:
            budget.keep(price, key)

    def settle(self, kind: str, coins: int | None, ref: str | None = None) -> None:
        """Count the call as accepted at this price; ``ref`` of the task it made, if it did."""
        kept, self._set = self._set, []
        for budget, price in kept:
            budget.settle(kind, price, coins, ref)
        if not kept:  # found again, and nothing was known of its price
            for budget in self.budgets:
                budget.count(coins, ref)

    def stands(self, key: str, coins: int | None, ref: str | None) -> None:
        """Count, once, the task that a key stands for; nothing is set aside."""
        self.release()
        for budget in self.budgets:
            budget.stands(key, coins, ref)

    def release(self) -> None:
        """Give all of it back: nothing was accepted."""
        kept, self._set = self._set, []
        for budget, price in kept:
            budget.release(price)


def held_by(*budgets: Budget | None) -> Held:
    """Return what these budgets will hold, each once; None is no budget."""
    return Held(tuple(dict.fromkeys(budget for budget in budgets if budget is not None)))


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
        raise
    held.settle(kind, None)
