"""What a step does to an entry, whatever stores it."""

from typing import Any

import pytest
from attrs import evolve

from a2e_async._core.journal.protocol import Entry, LeaseLost, State
from a2e_async._core.journal.rules import (
    apply_step,
    check_account_binding,
    has_same_inputs,
    new_ids,
    with_valid_prices,
    without_ids,
)
from a2e_async._core.typeguards import MAX_PRICE
from a2e_async.errors import ConfigurationError

ENTRY = Entry(key="k", kind="dubbing", digest="d", owner="me")
A, B, C = "a" * 24, "b" * 24, "c" * 24


def step(
    entry: Entry | None, state: State, *, owner: str = "me", options: Any = None, **values: Any
) -> tuple[Entry, tuple[str, ...]]:
    """Return the entry after a step, which must find one."""
    made = apply_step(entry, owner, state, values, 7.0, **(options or {}))
    assert made is not None
    return made


def at(state: State, *ids: str, **values: Any) -> Entry:
    return evolve(ENTRY, state=state, ids=ids, **values)


def test_one_start_has_one_kind_and_one_digest() -> None:
    assert has_same_inputs(ENTRY, evolve(ENTRY, key="other", owner="other"))
    assert not has_same_inputs(ENTRY, evolve(ENTRY, kind="veo"))
    assert not has_same_inputs(ENTRY, evolve(ENTRY, digest="e"))


def test_a_journal_serves_one_account() -> None:
    assert check_account_binding(None, "x") == check_account_binding("x", "x") == "x"
    with pytest.raises(ConfigurationError, match=r"^A journal object serves one account\. Create "):
        check_account_binding("x", "y")
    with pytest.raises(ConfigurationError):
        check_account_binding("", "y")


def test_prices_that_cannot_be_kept_are_left_out() -> None:
    good = evolve(ENTRY, coins=5, reserved=7)
    assert with_valid_prices(good) is good
    assert with_valid_prices(ENTRY) is ENTRY
    odd = evolve(ENTRY, coins=MAX_PRICE + 1, reserved=7)
    assert with_valid_prices(odd) == evolve(odd, coins=None)
    odd = evolve(ENTRY, coins=5, reserved=-7)
    assert with_valid_prices(odd) == evolve(odd, reserved=None)


def test_a_new_entry_has_no_ids_of_others() -> None:
    accepted = at(State.ACCEPTED, A, B)
    assert without_ids(accepted, ()) == accepted
    assert without_ids(accepted, {A}) == evolve(accepted, ids=(B,))
    assert without_ids(accepted, [B, A]) == at(State.INTENT)
    assert without_ids(at(State.RESERVED), {A}) == at(State.RESERVED)
    assert without_ids(at(State.INTENT), ()) == at(State.INTENT)


def test_new_ids_are_taken_once_in_their_order() -> None:
    assert new_ids(ENTRY, {}) == ()
    assert new_ids(at(State.ACCEPTED, B), {"ids": (C, A, B, C)}) == (C, A)


@pytest.mark.parametrize("state", [State.RESERVED, State.INTENT])
def test_nothing_is_sent_for_what_belongs_to_another(state: State) -> None:
    """A step before sending is the owner's, and only while nothing was accepted."""
    for entry in (None, evolve(ENTRY, owner="other"), at(State.ACCEPTED, A), at(State.SAVED)):
        with pytest.raises(LeaseLost, match=r"^Another client has taken over this start; nothing "):
            apply_step(entry, "me", state, {}, 7.0)
    for before in (State.RESERVED, State.INTENT):
        assert step(at(before), state)[0].state == max(before, state)


@pytest.mark.parametrize("state", [State.ACCEPTED, State.FINISHED, State.SAVED])
def test_facts_are_never_refused(state: State) -> None:
    assert apply_step(None, "me", state, {}, 7.0) is None
    for before in State:
        entry, new = step(at(before, A), state, owner="other")
        assert (entry.state, entry.ids, new) == (max(before, state), (A,), ())
        assert entry.owner == "me"


def test_a_step_writes_what_it_is_given_and_when() -> None:
    entry, _ = step(at(State.ACCEPTED, A), State.FINISHED, failure="no", succeeded=False)
    assert entry == at(State.FINISHED, A, failure="no", succeeded=False, updated_at=7.0)


def test_ids_are_only_added() -> None:
    entry, new = step(at(State.ACCEPTED, A), State.ACCEPTED, ids=(B, A, B))
    assert (entry.ids, new) == ((A, B), (B,))
    assert step(entry, State.ACCEPTED, ids=())[0].ids == (A, B)


def test_an_id_accepts_its_entry() -> None:
    """Whatever step brought it; one that has come further stays there."""
    assert step(ENTRY, State.INTENT, ids=(A,))[0].state is State.ACCEPTED
    assert step(ENTRY, State.SAVED, ids=(A,))[0].state is State.SAVED
    assert step(at(State.FINISHED, A), State.ACCEPTED, ids=(B,))[0].state is State.FINISHED


def test_ids_of_other_entries_are_left_out() -> None:
    entry, new = step(ENTRY, State.ACCEPTED, ids=(A, B), coins=5, options={"held_ids": {A}})
    assert (entry.ids, entry.state, entry.coins, new) == ((B,), State.ACCEPTED, 5, (B,))


@pytest.mark.parametrize("state", [State.RESERVED, State.INTENT])
def test_a_step_whose_ids_are_all_of_others_accepts_nothing(state: State) -> None:
    """Its own task is still to be found, and its price is not that of another."""
    entry, new = step(at(state), State.ACCEPTED, ids=(A,), coins=5, options={"held_ids": [A]})
    assert (entry.ids, entry.state, entry.coins, new) == ((), State.INTENT, None, ())
    entry, _ = step(at(state), state, ids=(A,), options={"held_ids": [A]})
    assert entry.state is state
    entry, new = step(
        at(State.ACCEPTED, B), State.FINISHED, ids=(A,), coins=5, options={"held_ids": A}
    )
    assert (entry.ids, entry.state, entry.coins, new) == ((B,), State.FINISHED, 5, ())


def test_the_coins_of_further_tasks_are_added() -> None:
    one, _ = step(ENTRY, State.ACCEPTED, ids=(A,), coins=5)
    assert one.coins == 5
    assert step(one, State.ACCEPTED, ids=(B,), coins=4)[0].coins == 9
    assert step(one, State.ACCEPTED, ids=(A,), coins=4)[0].coins == 4
    unknown = at(State.ACCEPTED, A)
    assert step(unknown, State.ACCEPTED, ids=(B,), coins=4)[0].coins == 4
    known = at(State.INTENT, coins=5)
    assert step(known, State.ACCEPTED, ids=(A,), coins=4)[0].coins == 4


@pytest.mark.parametrize("odd", [None, -1, MAX_PRICE + 1, True, "x"])
def test_what_is_known_to_be_paid_stays_known(odd: Any) -> None:
    """A step without a price, as of a task that was found later, does not erase it."""
    known = at(State.ACCEPTED, A, coins=5)
    assert step(known, State.ACCEPTED, ids=(B,), coins=odd)[0].coins == 5
    assert step(known, State.FINISHED, coins=odd)[0].coins == 5


def test_no_sum_is_higher_than_a_price_can_be() -> None:
    most = at(State.ACCEPTED, A, coins=MAX_PRICE)
    assert step(most, State.ACCEPTED, ids=(B,), coins=1)[0].coins == MAX_PRICE


def test_odd_prices_of_a_step_are_left_out() -> None:
    entry, _ = step(ENTRY, State.INTENT, coins=-1, reserved=MAX_PRICE + 1)
    assert (entry.coins, entry.reserved) == (None, None)
    entry, _ = step(ENTRY, State.INTENT, coins=2.5, reserved="7")
    assert (entry.coins, entry.reserved) == (3, 7)


def test_an_entry_without_account_belongs_to_the_account_that_advances_it() -> None:
    mine = {"account": "mine"}
    assert step(ENTRY, State.INTENT, options=mine)[0].account == "mine"
    assert step(ENTRY, State.RESERVED, options=mine)[0].account == ENTRY.account == ""
    assert step(at(State.SAVED), State.FINISHED, options=mine)[0].account == ""
    assert step(evolve(ENTRY, account="its"), State.INTENT, options=mine)[0].account == "its"
    assert step(ENTRY, State.INTENT)[0].account == ""
    assert step(ENTRY, State.INTENT, options={"account": ""})[0].account == ""
