"""A budget's state after each event, and which calls may reserve from it."""

import asyncio
import os
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from a2e_async import Budget
from a2e_async._core.journal.protocol import UPLOAD
from a2e_async._core.submission import budget as module
from a2e_async._core.submission.budget import (
    BudgetQueue,
    Reservation,
    as_budget,
    commit_on_exit,
    reservation_for,
)
from a2e_async._core.typeguards import MAX_PRICE
from a2e_async.errors import (
    A2EError,
    BudgetExceeded,
    ClientClosed,
    ConnectError,
    ConnectionLost,
    InvalidInput,
    InvalidRequest,
)

LONGEST = 10.0
"""The longest time that anything in these tests takes, in seconds."""


def figures(budget: Budget) -> tuple[int, int, int]:
    """Return the coins spent, reserved and left."""
    return budget.spent, budget.reserved, budget.left


def idle(budget: Budget) -> bool:
    """Return whether no call is in flight."""
    return budget._coins_in_flight == 0 and not budget._calls_in_flight


def filled(budget: Budget, kind: str, coins: int) -> Reservation:
    """Return what a call in flight holds."""
    held = Reservation((budget,))
    held.reserve((kind, coins))
    return held


# -- one budget ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [-1, 2**53 + 1, 1.0, True, "5"])
@pytest.mark.parametrize("name", ["coins", "unknown_cost", "upload_cost"])
def test_a_figure_that_cannot_be_is_refused(name: str, bad: Any) -> None:
    with pytest.raises(InvalidInput, match=rf"^Budget\({name}=…\) must be a whole") as caught:
        Budget(**{"coins": 5, name: bad})
    assert caught.value.field == name


def test_figures_from_nothing_to_the_highest() -> None:
    for figure in (0, 2**53):
        budget = Budget(figure, unknown_cost=figure, upload_cost=figure)
        assert figures(budget) == (0, 0, figure)
    assert Budget(5, unknown_cost=None).unknown_cost is None
    for name in ("coins", "upload_cost"):
        with pytest.raises(InvalidInput):
            Budget(**{"coins": 5, name: None})


def test_a_call_is_reserved_and_then_counted_at_its_price() -> None:
    budget = Budget(10)
    assert budget.reserve("a", 4) == 4
    assert figures(budget) == (0, 4, 6)
    assert budget.reserve("b", 6) == 6
    assert figures(budget) == (0, 10, 0)
    budget.commit("a", 4, 3)
    assert figures(budget) == (3, 6, 1)
    assert not idle(budget)
    budget.commit("b", 6, None)
    assert figures(budget) == (9, 0, 1)
    assert idle(budget)


def test_prices_above_the_quote_leave_less_than_nothing() -> None:
    budget = Budget(10)
    budget.commit("a", budget.reserve("a", 4), 13)
    assert figures(budget) == (13, 0, -3)
    assert budget.free == 0
    assert budget.summary() == "0 free, 0 reserved, 13 spent"
    assert Budget(7).summary() == "7 free, 0 reserved, 0 spent"


def test_a_refusal_says_what_there_is() -> None:
    budget = Budget(10)
    budget.reserve("a", 4)
    with pytest.raises(BudgetExceeded) as caught:
        budget.check_room([("b", 5), (UPLOAD, None), ("a", 1), (UPLOAD, None)])
    assert str(caught.value) == (
        "This paid call (a and b and upload) costs 8 coins, but only 6 of 10 are left in the "
        "budget: 6 free, 4 reserved, 0 spent. It was not sent."
    )
    assert budget.check_room([]) == []
    assert figures(budget) == (0, 4, 6)


def test_it_is_pending_only_while_calls_in_flight_may_make_room() -> None:
    budget = Budget(10)
    budget.commit("a", budget.reserve("a", 2), 2)
    budget.reserve("b", 3)
    for coins, pending in ((6, True), (8, True), (9, False)):
        with pytest.raises(BudgetExceeded) as caught:
            budget.reserve("c", coins)
        assert caught.value.pending is pending
    budget.retain(3, "key", "b")
    with pytest.raises(BudgetExceeded) as caught:
        budget.reserve("c", 6)
    assert caught.value.pending is False
    assert budget.reserve("c", 5) == 5


def test_the_price_of_a_kind_is_learnt() -> None:
    """The quote counts, else the last price, else the figure for unknown prices."""
    budget = Budget(100, unknown_cost=9, upload_cost=2)
    assert budget.check_room([("a", None)]) == [9]
    budget.commit("a", budget.reserve("a", None), 4)
    assert budget.check_room([("a", None), ("b", None), ("a", 7), (UPLOAD, 50)]) == [4, 9, 7, 2]
    budget.commit("a", budget.reserve("a", 6), None)
    assert budget.check_room([("a", None)]) == [6]
    budget.commit("b", budget.reserve("a", 6), 5, reserved_as="a")
    assert budget.check_room([("a", None), ("b", None)]) == [6, 5]
    assert idle(budget)
    budget.commit("free", budget.reserve("free", 0), 0)
    assert budget.check_room([("free", None)]) == [0]


def test_a_price_that_is_not_known_is_refused() -> None:
    """It is pending while a call of that kind is in flight, which will show the price."""
    budget = Budget(100)
    budget.reserve("other", 1)
    with pytest.raises(BudgetExceeded) as caught:
        budget.reserve("a", None)
    assert str(caught.value) == (
        "The price of this paid call (a) is unknown: the service quotes none, and this budget has "
        "not paid for one yet. Give Budget(unknown_cost=…). It was not sent."
    )
    assert caught.value.pending is False
    budget.reserve("a", 1)
    budget.reserve("a", 1)
    budget.release(1, "a")
    with pytest.raises(BudgetExceeded) as caught:
        budget.reserve("a", None)
    assert caught.value.pending is True
    budget.release(1, "a")
    with pytest.raises(BudgetExceeded) as caught:
        budget.reserve("a", None)
    assert caught.value.pending is False


@pytest.mark.parametrize("odd", [-5, MAX_PRICE + 1, True, float("nan"), "free", []])
def test_odd_prices_count_as_none(odd: Any) -> None:
    budget = Budget(100, unknown_cost=9)
    assert budget.reserve("a", odd) == 9
    budget.commit("a", 9, odd, "a:1")
    assert figures(budget) == (9, 0, 91)
    budget.raise_price(odd, "a:1")
    budget.count_task(odd, "a:2")
    budget.set_other_runs(odd, odd)
    assert budget.reserve_unknown(odd, "k") == 0
    assert figures(budget) == (9, 0, 91)


def test_what_was_not_accepted_is_given_back() -> None:
    budget = Budget(10)
    budget.release(budget.reserve("a", 4), "a")
    assert figures(budget) == (0, 0, 10)
    assert not budget._calls_in_flight
    assert budget._coins_in_flight == 0


def test_a_task_counts_once_and_at_its_highest_reported_price() -> None:
    budget = Budget(100)
    budget.commit("a", budget.reserve("a", 5), 5, "a:1")
    budget.count_task(7, "a:1")
    assert budget.spent == 5
    budget.raise_price(4, "a:1")
    assert budget.spent == 5
    budget.raise_price(8, "a:1")
    assert budget.spent == 8
    budget.raise_price(None, "a:1")
    budget.raise_price(9, "a:unknown")
    assert budget.spent == 8
    budget.count_task(2, "a:2")
    budget.count_task(3)
    budget.count_task(3)
    budget.count_task(None)
    assert budget.spent == 16
    budget.commit("a", budget.reserve("a", 5), 9, "a:1")
    assert figures(budget) == (17, 0, 83)
    budget.raise_price(9, "a:1")
    assert budget.spent == 17


def test_only_the_latest_tasks_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REMEMBERED_TASKS", 3)
    budget = Budget(100)
    for n in range(4):
        budget.count_task(1, f"a:{n}")
    budget.raise_price(5, "a:0")
    assert budget.spent == 4
    budget.raise_price(2, "a:1")  # counts as the latest now
    budget.count_task(1, "a:4")
    budget.raise_price(5, "a:2")
    assert budget.spent == 6
    budget.raise_price(3, "a:1")
    budget.raise_price(3, "a:3")
    assert budget.spent == 9


def test_an_unknown_outcome_stays_set_aside_under_its_key() -> None:
    budget = Budget(100)
    budget.retain(budget.reserve("a", 4), "k", "a")
    budget.retain(budget.reserve("a", 3), "k", "a")
    budget.retain(budget.reserve("a", 2), None, "a")
    assert figures(budget) == (0, 9, 91)
    assert budget.reserve_unknown(50, "k") == 7
    assert figures(budget) == (0, 9, 91)
    assert budget._coins_in_flight == 7
    budget.commit("a", 7, 5, "a:1", reserved_as="")
    assert figures(budget) == (5, 2, 93)
    assert budget.reserve_unknown(6, "k") == 6
    assert figures(budget) == (5, 8, 87)
    budget.retain(6, "k")
    assert idle(budget)
    budget.reserve_unknown(6, "k")
    budget.release(6)
    assert figures(budget) == (5, 2, 93)
    assert idle(budget)


def test_an_existing_start_of_a_key_counts_in_place_of_its_reservation() -> None:
    budget = Budget(100)
    budget.retain(budget.reserve("a", 4), "k", "a")
    budget.count_existing("k", 3, "a:1")
    budget.count_existing("k", 3, "a:1")
    budget.count_existing("other", 2, "a:2")
    budget.count_existing("unpriced", None, None)
    assert figures(budget) == (5, 0, 95)


def test_a_task_that_is_found_counts_where_something_is_set_aside() -> None:
    budget = Budget(100)
    budget.count_found("k", 3, "a:1")
    assert figures(budget) == (0, 0, 100)
    budget.retain(budget.reserve("a", 4), "k", "a")
    budget.count_found("k", None, "a:1")
    assert figures(budget) == (4, 0, 96)
    budget.retain(budget.reserve("a", 4), "l", "a")
    budget.count_found("l", 6, "a:2")
    budget.count_found("l", 6, "a:3")
    assert figures(budget) == (10, 0, 90)
    budget.raise_price(9, "a:2")
    assert budget.spent == 13


def test_what_keys_of_a_batch_stand_for_counts_before_their_turn() -> None:
    """Once, whatever is left; and no longer once their turn comes."""
    budget = Budget(10)
    held = Reservation((budget,))
    budget.count_task(1, "a:0")
    for _ in range(2):
        held.precount("k", 3, "a:1")
        held.precount("lost", 4, None)
        held.precount("counted", 5, "a:0")
        assert figures(budget) == (4, 4, 2)
    held.precount("much", 20, "a:2")
    assert figures(budget) == (24, 4, -18)
    budget.count_existing("k", 2, "a:1")
    budget.count_existing("much", 2, "a:2")
    assert figures(budget) == (5, 4, 1)
    budget.count_existing("k", 2, "a:1")
    assert budget.reserve_unknown(9, "lost") == 4
    assert figures(budget) == (5, 4, 1)
    odd: Any = -1
    budget.precount("odd", odd, "a:3")
    assert figures(budget) == (5, 4, 1)
    twin = budget.copy()
    twin.precount("new", 1, "a:4")
    budget.count_existing("new", 1, "a:4")
    assert (twin.spent, budget.spent) == (6, 6)
    twin.count_existing("new", 1, "a:4")
    assert twin.spent == 6


def test_other_runs_count_as_they_stand_now() -> None:
    budget = Budget(100)
    budget.set_other_runs(10, 5)
    assert figures(budget) == (10, 5, 85)
    budget.set_other_runs(12, 0)
    assert figures(budget) == (12, 0, 88)
    with pytest.raises(BudgetExceeded) as caught:
        budget.reserve("a", 89)
    assert caught.value.pending is False


def test_a_copy_goes_its_own_way() -> None:
    budget = Budget(100, unknown_cost=9, upload_cost=2)
    budget.commit("a", budget.reserve("a", 5), 5, "a:1")
    budget.retain(budget.reserve("b", 4), "k", "b")
    budget.set_other_runs(3, 1)
    twin = budget.copy()
    assert (twin.coins, twin.unknown_cost, twin.upload_cost) == (100, 9, 2)
    assert figures(twin) == figures(budget) == (8, 5, 87)
    assert twin.check_room([("a", None)]) == [5]
    twin.count_task(9, "a:1")
    twin.set_other_runs(0, 0)
    twin.count_existing("k", 1, "b:1")
    assert figures(twin) == (6, 0, 94)
    assert figures(budget) == (8, 5, 87)
    budget.raise_price(6, "a:1")
    assert budget.spent == 9
    assert twin.spent == 6


def test_calls_in_flight_stay_with_the_process_that_made_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    budget = Budget(10)
    budget.reserve("a", 8)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(BudgetExceeded) as caught:
        budget.reserve("a", 3)
    assert caught.value.pending is False
    with pytest.raises(BudgetExceeded) as caught:
        budget.reserve("a", None)
    assert caught.value.pending is False
    budget.reserve("a", 2)
    with pytest.raises(BudgetExceeded) as caught:
        budget.reserve("a", 2)
    assert caught.value.pending is True


# -- several at once -----------------------------------------------------------------------------


def test_all_budgets_hold_a_call_or_none() -> None:
    wide, narrow = Budget(100), Budget(10, upload_cost=3)
    held = reservation_for(wide, None, narrow, wide)
    assert held.budgets == (wide, narrow)
    assert not held
    assert held.price is None
    held.reserve(("a", 4), (UPLOAD, None))
    assert (wide.reserved, narrow.reserved) == (5, 7)
    assert held
    with pytest.raises(BudgetExceeded):
        held.reserve(("a", 9), (UPLOAD, None))
    assert not held
    assert (wide.reserved, narrow.reserved) == (0, 0)


def test_a_refusal_that_lasts_comes_before_one_that_may_pass() -> None:
    busy, spent = Budget(10), Budget(10)
    busy.reserve("a", 8)
    spent.count_task(8)
    for budgets in ((busy, spent), (spent, busy)):
        with pytest.raises(BudgetExceeded) as caught:
            Reservation(budgets).check_room([("a", 5)])
        assert caught.value.pending is False
    with pytest.raises(BudgetExceeded) as caught:
        Reservation((busy, Budget(10))).check_room([("a", 5)])
    assert caught.value.pending is True


def test_the_price_held_is_the_highest_of_the_call_itself() -> None:
    one, other = Budget(100, unknown_cost=3), Budget(100, unknown_cost=7, upload_cost=9)
    held = Reservation((one, other))
    held.reserve(("a", None), (UPLOAD, None))
    assert held.price == 7
    held.reserve((UPLOAD, None))
    assert held.price == 9


def test_an_upload_takes_what_was_set_aside_for_it() -> None:
    one, other = Budget(100), Budget(100, upload_cost=2)
    held = Reservation((one, other))
    held.reserve(("a", 5), (UPLOAD, None), (UPLOAD, None))
    part = held.split_upload()
    assert [(b is one, k, p) for b, k, p in part._parts] == [(True, UPLOAD, 1), (False, UPLOAD, 2)]
    assert (one.reserved, other.reserved) == (7, 9)
    part.commit(UPLOAD, None)
    assert (one.spent, one.reserved, other.spent, other.reserved) == (1, 6, 2, 7)
    held.commit("a", 4, "a:1")
    assert (one.spent, one.reserved, other.spent, other.reserved) == (5, 0, 6, 0)
    more = held.split_upload()
    assert (one.reserved, other.reserved) == (1, 2)
    more.release()
    assert (one.reserved, other.reserved) == (0, 0)
    assert idle(one)
    assert idle(other)


def test_no_upload_beyond_a_budget() -> None:
    with pytest.raises(BudgetExceeded):
        Reservation((Budget(0),)).split_upload()
    assert not Reservation(()).split_upload()


def test_the_upload_is_settled_apart_from_its_call() -> None:
    budget = Budget(100)
    held = filled(budget, "a", 5)
    upload = Reservation((budget,))
    upload.reserve((UPLOAD, None))
    upload.commit(UPLOAD, None)
    assert figures(budget) == (1, 5, 94)
    held.release("b")
    assert figures(budget) == (1, 5, 94)
    held.release("a")
    assert figures(budget) == (1, 0, 99)


def test_an_earlier_start_is_reserved_and_settled_under_its_key() -> None:
    budget = Budget(100)
    held = Reservation((budget,))
    held.reserve_unknown(6, "k")
    assert held.price == 6
    held.retain("k")
    assert (figures(budget), bool(held)) == ((0, 6, 94), False)
    held.reserve_unknown(50, "k")
    held.commit("a", None, "a:1")
    assert figures(budget) == (6, 0, 94)
    assert idle(budget)
    assert budget.check_room([("a", None)]) == [6]
    budget.raise_price(8, "a:1")
    assert budget.spent == 8
    held.reserve((UPLOAD, None))
    held.reserve_unknown(6, "l")
    assert budget.reserved == 7
    held.release()
    assert budget.reserved == 0
    assert idle(budget)


def test_what_is_kept_without_a_key_stays() -> None:
    budget = Budget(100)
    filled(budget, "a", 5).retain()
    assert figures(budget) == (0, 5, 95)
    Reservation((budget,)).count_found("", 3, "a:1")
    assert figures(budget) == (0, 5, 95)


def test_a_call_that_held_nothing_is_counted() -> None:
    budget = Budget(100)
    held = Reservation((budget,))
    held.commit("a", 4, "a:1")
    held.commit("a", 4, "a:1")
    assert budget.spent == 4
    held.raise_price(6, "a:1")
    assert figures(budget) == (6, 0, 94)
    filled(budget, "a", 5).retain("k")
    held.count_found("k", 3, "a:2")
    assert figures(budget) == (9, 0, 91)
    held.raise_price(4, "a:2")
    assert budget.spent == 10
    assert idle(budget)


def test_an_existing_start_of_a_key_needs_no_reservation() -> None:
    budget = Budget(100)
    filled(budget, "a", 5).retain("k")
    held = filled(budget, "a", 4)
    held.count_existing("k", 3, "a:1")
    assert figures(budget) == (3, 0, 97)
    held.raise_price(4, "a:1")
    assert budget.spent == 4
    assert idle(budget)


# -- who waits -----------------------------------------------------------------------------------


def needs(*prices: int) -> Any:
    """Return what a call needs, as it is asked for."""
    return lambda: [("a", price) for price in prices]


async def turns(count: int = 20) -> None:
    """Let all runnable tasks proceed."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_room_is_taken_at_once() -> None:
    budget, queue = Budget(10), BudgetQueue()
    held = Reservation((budget,))
    await queue.reserve(held, needs(4))
    await queue.reserve(held, needs(10))
    assert figures(budget) == (0, 10, 0)
    assert budget.first_waiter is None


async def test_a_call_waits_for_those_in_flight_in_its_turn() -> None:
    budget, queue = Budget(10), BudgetQueue()
    in_flight = filled(budget, "a", 8)
    order: list[str] = []

    async def call(name: str, price: int) -> Reservation:
        held = Reservation((budget,))
        await queue.reserve(held, needs(price), max_wait=LONGEST)
        order.append(name)
        return held

    calls = [asyncio.create_task(call(name, price)) for name, price in (("a", 6), ("b", 2))]
    await turns()
    assert order == []
    assert figures(budget) == (0, 8, 2)
    in_flight.commit("a", 2)
    first, second = await asyncio.gather(*calls)
    assert order == ["a", "b"]  # the second had room all the time
    assert figures(budget) == (2, 8, 0)
    first.release()
    second.release()


async def test_waiters_fail_when_nothing_can_make_room_any_more() -> None:
    budget, queue = Budget(10), BudgetQueue()
    in_flight = filled(budget, "a", 8)
    waiting = asyncio.create_task(queue.reserve(Reservation((budget,)), needs(5), max_wait=LONGEST))
    await turns()
    in_flight.retain("k")
    with pytest.raises(BudgetExceeded) as caught:
        await waiting
    assert caught.value.pending is False
    assert budget.first_waiter is None


@pytest.mark.parametrize("max_wait", [0, 0.01])
async def test_who_waits_too_long_is_refused(max_wait: float) -> None:
    budget, queue = Budget(10), BudgetQueue()
    in_flight = filled(budget, "a", 8)
    held = filled(budget, "a", 2)
    with pytest.raises(BudgetExceeded) as caught:
        await queue.reserve(held, needs(5), max_wait=max_wait)
    assert caught.value.pending is True
    assert caught.value.__cause__ is None
    assert not held
    assert budget.first_waiter is None
    in_flight.release()
    await queue.reserve(held, needs(5))


async def test_who_comes_later_does_not_pass() -> None:
    budget, queue = Budget(10), BudgetQueue()
    in_flight = filled(budget, "a", 8)
    waiting = asyncio.create_task(queue.reserve(Reservation((budget,)), needs(5), max_wait=LONGEST))
    await turns()
    with pytest.raises(BudgetExceeded) as caught:
        await queue.reserve(Reservation((budget,)), needs(1), max_wait=0)
    assert str(caught.value) == (
        "Other paid calls are waiting for room in the budget of 10 coins before this one: "
        "2 free, 8 reserved, 0 spent. It was not sent."
    )
    assert caught.value.pending is True
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await queue.reserve(Reservation((budget,)), needs(1), max_wait=0)
    in_flight.release()


async def test_who_found_no_room_keeps_its_turn() -> None:
    budget, queue = Budget(10), BudgetQueue()
    first, second = filled(budget, "a", 4), filled(budget, "a", 4)
    waiting = asyncio.create_task(queue.reserve(Reservation((budget,)), needs(9), max_wait=LONGEST))
    await turns()
    first.release()
    await turns()
    assert budget.first_waiter is not None
    with pytest.raises(BudgetExceeded, match=r"^Other paid calls are waiting"):
        await queue.reserve(Reservation((budget,)), needs(1), max_wait=0)
    second.release()
    await waiting
    assert budget.reserved == 9
    assert queue._waiters == set()


def test_who_is_in_no_queue_can_leave_it() -> None:
    waiter: Any = object()
    Budget(10).remove_waiter(waiter)


async def test_who_leaves_wakes_the_next() -> None:
    budget, queue = Budget(10), BudgetQueue()
    in_flight = filled(budget, "a", 8)
    first = asyncio.create_task(queue.reserve(Reservation((budget,)), needs(9), max_wait=LONGEST))
    await turns()
    second = asyncio.create_task(queue.reserve(Reservation((budget,)), needs(2), max_wait=LONGEST))
    await turns()
    assert not second.done()
    first.cancel()
    await asyncio.wait_for(second, LONGEST)
    assert figures(budget) == (0, 10, 0)
    in_flight.release()


async def test_a_client_that_closes_ends_its_waits() -> None:
    budget, queue = Budget(10), BudgetQueue()
    filled(budget, "a", 8)
    waiting = asyncio.create_task(queue.reserve(Reservation((budget,)), needs(5), max_wait=LONGEST))
    await turns()
    queue.close()
    with pytest.raises(ClientClosed, match=r"^The client was closed before the call was sent; no"):
        await waiting
    assert budget.first_waiter is None
    with pytest.raises(ClientClosed):
        await queue.reserve(Reservation((budget,)), needs(1))


async def test_room_made_by_another_thread_wakes_the_waiter() -> None:
    budget, queue = Budget(10), BudgetQueue()
    in_flight = filled(budget, "a", 8)
    held = Reservation((budget,))
    waiting = asyncio.create_task(queue.reserve(held, needs(5), max_wait=LONGEST))
    await turns()
    thread = threading.Thread(target=in_flight.release)
    thread.start()
    await asyncio.wait_for(waiting, LONGEST)
    thread.join()
    assert held.price == 5


async def test_who_waited_in_a_loop_that_is_gone_does_not_block() -> None:
    budget = Budget(10)
    in_flight = filled(budget, "a", 8)

    def other() -> None:
        loop = asyncio.new_event_loop()
        task = loop.create_task(BudgetQueue().reserve(Reservation((budget,)), needs(5)))
        loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        abandoned.append(task)

    abandoned: list[Any] = []
    await asyncio.to_thread(other)
    assert budget.first_waiter is not None
    in_flight.commit("a", 8)
    assert budget.first_waiter is None
    await BudgetQueue().reserve(Reservation((budget,)), needs(2), max_wait=0)
    abandoned[0]._log_destroy_pending = False


# -- what is given as a budget, and simple calls -----------------------------------------------


def test_what_stands_for_a_budget() -> None:
    budget = Budget(5)
    assert as_budget(budget) is budget
    assert as_budget(None) is None
    made = as_budget(7)
    assert made is not None
    assert made.coins == 7
    for bad in (True, "5", 5.0):
        with pytest.raises(InvalidInput, match=r"^budget must be a Budget or a num") as caught:
            as_budget(bad)
        assert caught.value.field == "budget"


API: dict[str, Any] = {"code": 4001, "message": "", "trace_id": None, "method": "P", "path": "/x"}
LINE: dict[str, Any] = {"method": "POST", "path": "/x", "sent": True}


def fail(held: Reservation, error: BaseException, *, sent: bool) -> None:
    """Make a call that ends with this error."""
    with commit_on_exit(held, "a", SimpleNamespace(sent=sent)):
        raise error


def test_a_call_that_ends_well_is_counted() -> None:
    budget = Budget(10)
    with commit_on_exit(filled(budget, "a", 4), "a", SimpleNamespace(sent=True)):
        pass
    assert figures(budget) == (4, 0, 6)
    assert budget.check_room([("a", None)]) == [4]


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (ConnectError("", **LINE), False),
        (InvalidRequest(http_status=400, from_api=True, **API), False),
        (InvalidRequest(http_status=400, **API), True),
        (ConnectionLost("", **LINE), True),
        (ValueError(), True),
        (KeyboardInterrupt(), True),
    ],
)
def test_what_may_have_been_accepted_stays_set_aside(error: BaseException, kept: bool) -> None:
    budget = Budget(10)
    with pytest.raises(type(error)):
        fail(filled(budget, "a", 4), error, sent=True)
    assert figures(budget) == (0, 4 * kept, 10 - 4 * kept)
    assert budget._coins_in_flight == 0


def test_what_did_not_leave_is_given_back() -> None:
    """Nor what the service has refused by a 429: then nothing counts as sent."""
    budget = Budget(10)
    with pytest.raises(A2EError):
        fail(filled(budget, "a", 4), ConnectionLost("", **LINE), sent=False)
    assert figures(budget) == (0, 0, 10)
