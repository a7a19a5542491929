"""A bound on what starts may cost, kept before each is sent (pure)."""

from typing import Any, Final

from attrs import define, field

from a2e_async.errors import BudgetExceeded, InvalidInput

_MOST: Final = 2**53


def _coins(budget: "Budget", attribute: Any, value: Any) -> None:
    name = attribute.name
    if value is None and name == "unknown_cost":
        return
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST:
        raise InvalidInput(f"Budget({name}=…) must be a whole number of coins.", field=name)


@define(eq=False)
class Budget:
    """At most ``coins`` for the starts of a client or a batch, over its whole life.

    Before a start is sent its price is reserved: what the service quotes, else what this kind
    last cost, else ``unknown_cost``; without any of these the start is refused. When the
    service has accepted it, the true price counts. A start whose outcome is unknown stays
    reserved. What keys of a journal stand for already counts as it was paid.
    """

    coins: int = field(validator=_coins)
    unknown_cost: int | None = field(default=None, validator=_coins)
    _spent: int = field(default=0, init=False)
    _reserved: int = field(default=0, init=False)
    _last: dict[str, int] = field(factory=dict[str, int], init=False, repr=False)

    @property
    def spent(self) -> int:
        """Coins that accepted starts have cost."""
        return self._spent

    @property
    def reserved(self) -> int:
        """Coins set aside for starts under way, and for those whose outcome is unknown."""
        return self._reserved

    @property
    def left(self) -> int:
        """Coins that further starts may cost; below 0 when prices were higher than quoted."""
        return self.coins - self._spent - self._reserved

    def reserve(self, kind: str, quoted: int | None) -> int:
        """Set a start's price aside and return it. Raises `BudgetExceeded`."""
        price = quoted
        if price is None:
            price = self._last.get(kind, self.unknown_cost)
        if price is None:
            raise BudgetExceeded(
                f"The price of a {kind} start is not known: the service quotes none, and none was "
                "made under this budget yet. Give Budget(unknown_cost=…). Nothing was sent."
            )
        if price > self.left:
            raise BudgetExceeded(
                f"A {kind} start costs {price} coins, and {max(0, self.left)} of {self.coins} are "
                "left in the budget. Nothing was sent."
            )
        self._reserved += price
        return price

    def settle(self, kind: str, reserved: int, price: int | None) -> None:
        """Count an accepted start at its price, or at what was reserved if that is not told."""
        paid = reserved if price is None else price
        self._reserved -= reserved
        self._spent += paid
        self._last[kind] = paid

    def release(self, reserved: int) -> None:
        """Give back what was set aside for a start that was not accepted."""
        self._reserved -= reserved

    def count(self, coins: int | None) -> None:
        """Count a task that was paid before."""
        self._spent += coins or 0


def as_budget(value: Any) -> Budget | None:
    """Return a budget that was given as one or as coins. Raises `InvalidInput`."""
    if value is None or isinstance(value, Budget):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Budget(value)
    raise InvalidInput("budget must be a Budget or a number of coins.", field="budget")
