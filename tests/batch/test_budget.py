"""Budgets: reserved before a start, committed at its price, never exceeded by a quote."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async import A2E, Budget
from a2e_async.errors import BudgetExceeded, InvalidInput, InvalidRequest, StartOutcomeUnknown
from a2e_async.sandbox import Sandbox

from .conftest import DUB, TALK, MakeClient

pytestmark = pytest.mark.anyio


async def price(a2e: A2E) -> int:
    """Return the price of one talking video (coins)."""
    quoted = await a2e.talking_video.quote(**TALK)
    assert quoted
    return quoted


async def test_a_start_beyond_it_is_not_sent(make_client: MakeClient, sandbox: Sandbox) -> None:
    """The budget admits exactly as many starts as it can pay for, also concurrent ones."""
    cost = await price(make_client())
    budget = Budget(cost * 3 + cost - 1)
    client = make_client(budget=budget)
    starts = (client.talking_video.start(**TALK) for _ in range(10))
    ended = await asyncio.gather(*starts, return_exceptions=True)
    refused = [e for e in ended if isinstance(e, BudgetExceeded)]
    assert len(refused) == 7
    assert len(sandbox.ledger.starts()) == 3
    assert (budget.spent, budget.reserved, budget.left) == (3 * cost, 0, cost - 1)


async def test_refused_starts_release_their_reservation(
    make_client: MakeClient, sandbox: Sandbox
) -> None:
    """Refused starts release their reservation."""
    budget = Budget(1000)
    client = make_client(budget=budget)
    sandbox.faults.http_error(400, role="start")
    with pytest.raises(InvalidRequest):
        await client.talking_video.start(**TALK)
    assert (budget.spent, budget.reserved) == (0, 0)


async def test_an_unknown_start_stays_reserved(make_client: MakeClient, sandbox: Sandbox) -> None:
    """A start with an unknown outcome may have been charged and stays reserved."""
    budget = Budget(1000)
    client = make_client(budget=budget)
    sandbox.faults.list_lag(1e9)
    sandbox.faults.drop_after_accept()
    with pytest.raises(StartOutcomeUnknown):
        await client.talking_video.start(**TALK)
    assert budget.reserved == await price(client)
    assert budget.spent == 0


async def test_kinds_without_a_quote(make_client: MakeClient, sandbox: Sandbox) -> None:
    """A kind without a quote needs `unknown_cost`, or an earlier start of the kind."""
    voice = {"voice_urls": ["https://m.example/a.wav"]}
    with pytest.raises(BudgetExceeded, match="unknown_cost"):
        await make_client(budget=1000).voice_clone.start(**voice)
    assert sandbox.ledger.starts() == ()
    budget = Budget(1000, unknown_cost=300)
    client = make_client(budget=budget)
    await client.voice_clone.run(**voice)
    assert budget.reserved == 0
    assert 0 < budget.spent <= 1000


async def test_a_batch_counts_over_all_its_runs(make_client: MakeClient, sandbox: Sandbox) -> None:
    """A budget that three jobs use up has no room in the next run either."""
    first = make_client()
    cost = await price(first)

    async def run(client: A2E) -> tuple[list[Any], Exception | None]:
        done: list[Any] = []
        jobs = [client.talking_video.job(**TALK, key=f"k{n}") for n in range(6)]
        try:
            async for outcome in client.batch(jobs, limit=1, budget=3 * cost):
                done.append(outcome)  # noqa: PERF401  # kept although the loop raises
        except BudgetExceeded as error:
            return done, error
        return done, None

    done, error = await run(first)
    assert error is not None
    assert sum(o.ok for o in done) == 3
    await first.aclose()
    done, error = await run(make_client())
    assert error is not None
    assert len(sandbox.ledger.starts()) == 3


async def test_both_budgets_count(make_client: MakeClient, sandbox: Sandbox) -> None:
    """The budget of the client and that of the batch."""
    mine = Budget(10_000)
    client = make_client(budget=mine)
    jobs = [client.talking_video.job(**TALK, key=f"k{n}") for n in range(3)]
    assert all([o.ok async for o in client.batch(jobs, budget=10_000)])
    assert mine.spent == sandbox.ledger.spent


@pytest.mark.parametrize("bad", [-1, 1.5, True, "5", None])
def test_invalid_budgets(bad: Any) -> None:
    """Coins must be a whole number of at least 0."""
    with pytest.raises(InvalidInput):
        Budget(bad)


@pytest.mark.parametrize("bad", [1.5, True, "5", [5]])
def test_invalid_budget_options(make_client: MakeClient, bad: Any) -> None:
    """`budget` must be a `Budget` or a number of coins."""
    with pytest.raises(InvalidInput):
        make_client(budget=bad)


@given(
    coins=st.integers(0, 100),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["settle", "release", "keep"]),
            st.one_of(st.none(), st.integers(0, 60)),
            st.one_of(st.none(), st.integers(0, 60)),
        ),
        max_size=20,
    ),
)
def test_quoted_prices_never_exceed_the_budget(coins: int, steps: list[Any]) -> None:
    """Coins spent and reserved at quoted prices never exceed the budget."""
    budget = Budget(coins, unknown_cost=7)
    quoted_only = 0
    for what, quoted, paid in steps:
        try:
            reserved = budget.reserve("any", quoted)
        except BudgetExceeded:
            continue
        assert budget.left >= 0
        if what == "settle":
            budget.commit("any", reserved, min(paid, reserved) if paid is not None else None)
        elif what == "release":
            budget.release(reserved)
        else:
            quoted_only += reserved
        assert budget.spent + budget.reserved <= coins
        assert budget.reserved == quoted_only


async def test_a_key_with_a_task_costs_nothing_more(
    make_client: MakeClient, sandbox: Sandbox
) -> None:
    """A key that has a task counts with its price and needs no room in the budget."""
    await make_client().dubbing.start(**DUB, key="k")
    budget = Budget(0)
    task = await make_client(budget=budget).dubbing.start(**DUB, key="k")
    assert task.ids == sandbox.ledger.starts()[0].ids
    assert len(sandbox.ledger.starts()) == 1


async def test_one_budget_for_both_counts_once(make_client: MakeClient, sandbox: Sandbox) -> None:
    """One budget for the client and the batch counts each start once, also in the next run."""
    budget = Budget(1000)
    client = make_client(budget=budget)
    jobs = [client.talking_video.job(**TALK, key=f"k{n}") for n in range(3)]
    assert all([o.ok async for o in client.batch(jobs, budget=budget)])
    assert budget.spent == sandbox.ledger.spent
    await client.aclose()
    budget, mine = Budget(1000), Budget(1000)
    for options in ({"budget": budget}, {}):
        client = make_client(budget=budget if options else mine)
        assert all([o.earlier async for o in client.batch(jobs, **options)])
        await client.aclose()
    assert budget.spent == mine.spent == sandbox.ledger.spent


async def test_a_key_that_is_used_again_is_counted_once(
    make_client: MakeClient, sandbox: Sandbox
) -> None:
    """Repeated starts with one key are paid and counted once, also in the next process."""
    budget = Budget(1000)
    client = make_client(budget=budget)
    cost = await price(client)
    for _ in range(3):
        await client.talking_video.start(**TALK, key="k")
    assert (budget.spent, budget.reserved) == (cost, 0)
    await client.aclose()
    later = Budget(1000)
    after = make_client(budget=later)
    for _ in range(3):
        await after.talking_video.start(**TALK, key="k")
    assert (later.spent, later.reserved) == (cost, 0)
    assert len(sandbox.ledger.starts()) == 1


async def test_a_repeated_lost_start_is_reserved_once(
    make_client: MakeClient, sandbox: Sandbox
) -> None:
    """A lost start stays reserved until a start or a search finds it; then it counts as spent."""
    budget = Budget(1000)
    client = make_client(budget=budget)
    cost = await price(client)
    sandbox.faults.list_lag(3600, times=None)
    for key in ("found", "searched"):
        sandbox.faults.drop_after_accept()
        for _ in range(3):
            with pytest.raises(StartOutcomeUnknown):
                await client.talking_video.start(**TALK, key=key)
    assert (budget.spent, budget.reserved) == (0, 2 * cost)
    sandbox.faults.clear()
    sandbox.advance(3600)
    await client.talking_video.start(**TALK, key="found")
    assert (budget.spent, budget.reserved) == (cost, cost)
    assert len([task async for task in client.unfinished()]) == 2
    await client.talking_video.start(**TALK, key="searched")
    assert (budget.spent, budget.reserved) == (2 * cost, 0)
    assert len(sandbox.ledger.starts()) == 2


async def test_what_was_reserved_counts_in_later_runs(
    make_client: MakeClient, sandbox: Sandbox
) -> None:
    """A start without a quoted price stays reserved after a restart."""
    for _ in range(2):
        budget = Budget(1000, unknown_cost=300)
        client = make_client(budget=budget)
        jobs = [client.voice_clone.job(voice_urls=["https://m.example/a.wav"], key="v")]
        assert all([o.ok async for o in client.batch(jobs)])
        spent = budget.spent
        await client.voice_clone.start(voice_urls=["https://m.example/a.wav"], key="v")
        assert (budget.spent, budget.reserved) == (spent, 0)
        assert spent in (300, sandbox.ledger.spent)
        await client.aclose()
