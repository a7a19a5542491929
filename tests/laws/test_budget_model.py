"""Model test: arbitrary sequences of reservation events with arbitrary prices."""

import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from a2e_async import Budget
from a2e_async._core.journal.protocol import UPLOAD
from a2e_async._core.submission.budget import PricedCall, Reservation
from a2e_async._core.typeguards import MAX_PRICE, parse_price
from a2e_async.errors import BudgetExceeded

KINDS = ("dubbing", "veo")
REFS = [f"dubbing:{n:024x}" for n in range(6)]
KEYS = ("a", "b")
PRICES: st.SearchStrategy[Any] = st.one_of(
    st.integers(0, 12),
    st.integers(-(2**80), -1),
    st.integers(MAX_PRICE + 1, 2**200),
    st.sampled_from(
        [None, True, False, math.nan, math.inf, -math.inf, 2.5, -0.0, "7", "x", [], {}]
    ),
)


class Budgets(RuleBasedStateMachine):
    """Two budgets of one client, with the expected reservations and charges of each."""

    def __init__(self) -> None:
        super().__init__()
        self.budgets = (Budget(40, unknown_cost=3), Budget(25, unknown_cost=5, upload_cost=2))
        self.in_flight: list[Reservation] = []
        self.kept: dict[str, int] = {}
        self.before = [0, 0]
        self.paid: dict[str, int] = {}

    def pick(self, index: int) -> Reservation:
        return self.in_flight.pop(index % len(self.in_flight))

    @rule(kind=st.sampled_from(KINDS), quoted=PRICES, uploads=st.integers(0, 2))
    def reserve(self, kind: str, quoted: Any, uploads: int) -> None:
        held = Reservation(self.budgets)
        needs: list[PricedCall] = [(kind, quoted), *[(UPLOAD, None)] * uploads]
        rooms = [budget.left for budget in self.budgets]
        try:
            held.reserve(*needs)
        except BudgetExceeded as error:
            assert not held
            assert [budget.left for budget in self.budgets] == rooms
            if error.pending:  # only where something in flight may make room
                assert self.in_flight
            return
        self.in_flight.append(held)
        assert all(budget.left >= 0 for budget in self.budgets)

    @precondition(lambda self: self.in_flight)
    @rule(
        index=st.integers(0, 99),
        kind=st.sampled_from(KINDS),
        price=PRICES,
        ref=st.sampled_from(REFS),
    )
    def settle(self, index: int, kind: str, price: Any, ref: str) -> None:
        held = self.pick(index)
        held.commit(kind, price, ref)
        if (known := parse_price(price)) is not None:
            self.paid[ref] = max(known, self.paid.get(ref, 0))

    @precondition(lambda self: self.in_flight)
    @rule(index=st.integers(0, 99))
    def release(self, index: int) -> None:
        self.pick(index).release()

    @precondition(lambda self: self.in_flight)
    @rule(index=st.integers(0, 99), key=st.sampled_from([None, *KEYS]))
    def lose(self, index: int, key: str | None) -> None:
        self.pick(index).retain(key)

    @rule(coins=PRICES, key=st.sampled_from(KEYS))
    def reserve_unknown(self, coins: Any, key: str) -> None:
        held = Reservation(self.budgets)
        held.reserve_unknown(coins, key)
        self.in_flight.append(held)

    @precondition(lambda self: self.in_flight)
    @rule(index=st.integers(0, 99))
    def upload(self, index: int) -> None:
        held = self.in_flight[index % len(self.in_flight)]
        with suppress(BudgetExceeded):
            held.split_upload().commit(UPLOAD, None)

    @rule(key=st.sampled_from(KEYS), price=PRICES, ref=st.sampled_from(REFS), how=st.integers(0, 2))
    def find(self, key: str, price: Any, ref: str, how: int) -> None:
        held = Reservation(self.budgets)
        if how == 0:
            held.count_existing(key, price, ref)
        elif how == 1:
            held.count_found(key, price, ref)
        else:
            held.raise_price(price, ref)

    @invariant()
    def nothing_grows(self) -> None:
        for place, budget in enumerate(self.budgets):
            assert budget.spent >= self.before[place]
            self.before[place] = budget.spent
            assert budget.reserved >= 0
            assert budget.left <= budget.coins
            assert budget.free == max(0, budget.left)
            assert budget.spent >= sum(self.paid.values())

    @invariant()
    def what_is_in_flight_is_reserved(self) -> None:
        for budget in self.budgets:
            in_flight = sum(
                coins for held in self.in_flight for mine, _, coins in held._parts if mine is budget
            )
            assert in_flight == budget._coins_in_flight <= budget.reserved

    def teardown(self) -> None:
        for held in self.in_flight:
            held.release()
        for budget in self.budgets:
            assert budget._coins_in_flight == 0
            assert not budget._calls_in_flight
            assert budget.reserved >= sum(budget._unknown_by_key.values())


Budgets.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestBudgets = Budgets.TestCase


@given(PRICES)
def test_a_price_is_one_or_none(price: Any) -> None:
    """Any value is either an integer from 0 to the maximum, or not a price."""
    found = parse_price(price)
    assert found is None or (type(found) is int and 0 <= found <= MAX_PRICE)


@pytest.mark.parametrize(
    ("price", "found"),
    [
        *[(0, 0), (7, 7), (7.0, 7), (2.1, 3), ("7", 7), (-0.0, 0), (MAX_PRICE, MAX_PRICE)],
        *[(bad, None) for bad in (-1, 2**63, 2**70, MAX_PRICE + 1, True, math.nan, math.inf)],
        *[(bad, None) for bad in (None, "", "x", "-5", "nan", "1e999", "9" * 5000, [], {}, b"7")],
    ],
)
def test_prices(price: Any, found: int | None) -> None:
    assert parse_price(price) == found
