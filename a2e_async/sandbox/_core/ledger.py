"""The ledger of charges and refunds. Coins are whole numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs


class InsufficientCoins(Exception):
    """The balance does not cover the price; nothing was charged."""


@attrs.frozen(slots=True)
class Charge:
    """A paid request: a start of one or more tasks, or a call that starts none."""

    kind: str
    """The task kind; ``presign``, ``speech``, ``watermark`` or ``streaming_avatar`` for calls
    that start no task."""

    ids: tuple[str, ...]
    """The ids of the tasks it paid for; empty for a call that starts none."""

    coins: int
    at: float
    """Seconds since 1970."""

    path: str
    body: Mapping[str, Any]
    """The request body as received."""

    refunded: int = 0
    """Coins refunded so far."""


@attrs.frozen(slots=True)
class LedgerEntry:
    """A change of the balance: positive for income, negative for spending."""

    id: str
    amount: int
    at: float
    note: str
    balance: int
    task_ids: tuple[str, ...] = ()


@attrs.define(slots=True)
class Ledger:
    """The balance and its history. ``balance`` always equals the initial grant minus ``spent``.

    Owned by the `Service`; only starts, refunds and grants there change it.
    """

    balance: int
    spent: int = attrs.field(init=False, default=0)
    charges: list[Charge] = attrs.field(init=False, factory=list[Charge])
    transactions: list[LedgerEntry] = attrs.field(init=False, factory=list[LedgerEntry])
    _charge_by_task: dict[str, tuple[int, int]] = attrs.field(
        init=False, factory=dict[str, tuple[int, int]]
    )

    def grant_initial_balance(self, transaction_id: str, at: float) -> None:
        """Record the initial balance as the first transaction."""
        note = "Grant"
        self.transactions.append(LedgerEntry(transaction_id, self.balance, at, note, self.balance))

    def charge(self, charge: Charge, transaction_id: str) -> None:
        """Charge the coins and record the transaction.

        Raises:
            InsufficientCoins: the balance is too low; nothing is charged.
        """
        if charge.coins > self.balance:
            raise InsufficientCoins
        shares = _split_coins(charge.coins, len(charge.ids))
        for task_id, share in zip(charge.ids, shares, strict=True):
            self._charge_by_task[task_id] = (len(self.charges), share)
        self.charges.append(charge)
        self._record_transaction(
            -charge.coins, charge.at, f"Charge: {charge.kind}", charge.ids, transaction_id
        )

    def refund(self, task_id: str, at: float, transaction_id: str) -> int:
        """Refund the cost of a task, at most once; return the coins."""
        index, share = self._charge_by_task.pop(task_id, (-1, 0))
        self.refund_part(index, share, at, transaction_id, (task_id,))
        return share

    def refund_part(
        self, index: int, coins: int, at: float, transaction_id: str, ids: tuple[str, ...] = ()
    ) -> None:
        """Refund coins of the charge at this index; do nothing for 0 coins."""
        if not coins:
            return
        old = self.charges[index]
        self.charges[index] = attrs.evolve(old, refunded=old.refunded + coins)
        self._record_transaction(coins, at, f"Refund: {old.kind}", ids, transaction_id)

    def _record_transaction(
        self, amount: int, at: float, note: str, ids: tuple[str, ...], transaction_id: str
    ) -> None:
        self.balance += amount
        self.spent -= amount
        self.transactions.append(LedgerEntry(transaction_id, amount, at, note, self.balance, ids))


def _split_coins(coins: int, parts: int) -> list[int]:
    if not parts:
        return []
    share, rest = divmod(coins, parts)
    return [share + (index < rest) for index in range(parts)]
