"""A dry run reports what a run would do and cost, and charges, sends and writes nothing."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E, Budget, Job, Outcome, Plan, RetryPolicy
from a2e_async.errors import (
    AuthenticationError,
    BudgetExceeded,
    ConnectError,
    InvalidInput,
    InvalidRequest,
    KeyConflict,
    StartOutcomeUnknown,
)
from a2e_async.sandbox import Sandbox, media

from .conftest import DUB, TALK, MakeClient

pytestmark = pytest.mark.anyio

PICTURE = "https://media.example/{}.mp4"


def talking_video_jobs(a2e: A2E, count: int, **more: Any) -> Iterator[Job[Any]]:
    for n in range(count):
        yield a2e.talking_video.job(**{**TALK, **more}, key=f"k{n}")


async def dry_run_outcomes(a2e: A2E, jobs: Any, **options: Any) -> dict[str | None, Outcome[Any]]:
    """Return the outcomes of a dry run by key; check that it leaves no trace at the service."""
    outcomes = a2e.batch(jobs, dry_run=True, **options)
    return {outcome.job.key: outcome async for outcome in outcomes}


def steps(found: dict[str | None, Outcome[Any]]) -> dict[str | None, str]:
    return {key: o.plan.step if o.plan else "?" for key, o in found.items()}


async def test_prices_and_nothing_spent(
    a2e: A2E, sandbox: Sandbox, journal: Path, tmp_path: Path
) -> None:
    """Each job has its price; jobs with equal request bodies are quoted once."""
    found = await dry_run_outcomes(
        a2e, talking_video_jobs(a2e, 5), download_to=tmp_path / "out", limit=1
    )
    cost = await a2e.talking_video.quote(**TALK)
    assert [o.plan for o in found.values()] == [Plan(step="start", coins=cost)] * 5
    assert all(o.ok and o.task is None and not o.earlier for o in found.values())
    assert sandbox.calls_total == sandbox.calls["quote", ""] == 2  # includes the quote above
    assert not (tmp_path / "out").exists()
    assert a2e.journal is not None
    assert await a2e.journal.entries() == ([], 0)
    with pytest.raises(InvalidInput, match="dry run"):
        found["k0"].unwrap()


async def test_similar_jobs_share_the_price_that_twenty_of_them_have(
    a2e: A2E, sandbox: Sandbox
) -> None:
    """Thousands of prompts are priced in seconds; other settings are quoted for themselves."""
    jobs = [a2e.talking_video.job(**{**TALK, "prompt": f"p{n}"}, key=f"k{n}") for n in range(100)]
    jobs += [a2e.talking_video.job(**TALK, duration=9, key="long")]
    found = await dry_run_outcomes(a2e, jobs)
    cost = await a2e.talking_video.quote(**TALK)
    plans = {key: o.plan for key, o in found.items() if o.plan is not None}
    longer = plans.pop("long")
    assert not longer.assumed
    assert (longer.coins or 0) > cost
    assert {plan.coins for plan in plans.values()} == {cost}
    assert sum(plan.assumed for plan in plans.values()) == 80
    assert all(plan.about == plan.assumed for plan in plans.values())
    assert sandbox.calls["quote", ""] == 20 + 1 + 1  # includes the quote above
    assert sandbox.ledger.charges == ()


async def test_no_price_is_assumed_where_one_of_the_twenty_differs_or_fails(
    a2e: A2E, sandbox: Sandbox
) -> None:
    own = await a2e.files.upload(media.speech())  # the sandbox knows its length
    jobs = [a2e.dubbing.job(**{**DUB, "source_url": own}, key="own")]
    for n in range(60):
        source = f"https://media.example/{n}.wav"
        jobs.append(a2e.dubbing.job(**{**DUB, "source_url": source}, key=f"k{n}"))
    found = await dry_run_outcomes(a2e, jobs, limit=1)
    coins = [o.plan.coins for o in found.values() if o.plan is not None]
    assert len(set(coins)) == 2
    assert not any(o.plan.assumed for o in found.values() if o.plan is not None)
    assert sandbox.calls["quote", ""] == 61
    sandbox.faults.http_error(400, role="quote")
    found = await dry_run_outcomes(a2e, jobs[1:], limit=1)
    assert sum(isinstance(o.error, InvalidRequest) for o in found.values()) == 1
    assert not any(o.plan.assumed for o in found.values() if o.plan is not None)
    assert sandbox.calls["quote", ""] == 61 + 60


async def test_uploads_are_counted_not_made(a2e: A2E, sandbox: Sandbox) -> None:
    """Local files are checked; each content counts as one upload; durations may change prices."""
    sound = str(media.speech())
    jobs = [a2e.dubbing.job(**{**DUB, "source_url": sound}, key=f"k{n}") for n in range(3)]
    jobs += [a2e.dubbing.job(**DUB, key="url")]
    jobs += [a2e.dubbing.job(**{**DUB, "source_url": "gone.wav"}, key="gone")]
    found = await dry_run_outcomes(a2e, jobs)
    plans = {key: o.plan for key, o in found.items() if o.plan is not None}
    assert sum(plan.uploads for plan in plans.values()) == 1
    assert {key: plan.about for key, plan in plans.items()} == {
        "k0": True, "k1": True, "k2": True, "url": False
    }  # fmt: skip
    assert isinstance(found["gone"].error, InvalidInput)
    assert sandbox.ledger.charges == ()


async def test_invalid_jobs_get_an_error(a2e: A2E, sandbox: Sandbox) -> None:
    """Jobs that would be refused get an error; the others are planned."""
    jobs = [
        a2e.talking_video.job(**TALK, key="a"),
        a2e.talking_video.job(**{**TALK, "prompt": "other"}, key="a"),
        a2e.talking_video.job(**TALK, key="a"),
        a2e.wan30.job(model="wan3.0-video", prompt="a lake", key="never told of"),
        a2e.dubbing.job(**DUB, key="refused"),
    ]
    sandbox.faults.http_error(400, role="quote", times=1)
    done = [o async for o in a2e.batch(reversed(jobs), dry_run=True, limit=1)]
    errors = [type(o.error) for o in done]
    assert errors == [InvalidRequest, InvalidInput, type(None), KeyConflict, type(None)]
    assert [o.plan and o.plan.coins for o in (done[2], done[4])][
        1
    ] == 0  # the task of the first job
    assert sandbox.ledger.charges == ()


async def test_jobs_of_earlier_runs(
    make_client: MakeClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Done, to save, to wait for, to find, failed: none of them would be charged again."""
    first = make_client()
    out = tmp_path / "out"
    jobs = list(talking_video_jobs(first, 6))
    assert [o.ok async for o in first.batch(jobs[:1], download_to=out)] == [True]
    await first.talking_video.run(**TALK, key="k1")
    sandbox.faults.stuck("talking_video")
    await first.talking_video.start(**TALK, key="k2")
    sandbox.faults.list_lag(1e9)
    sandbox.faults.drop_after_accept()
    with pytest.raises(StartOutcomeUnknown):
        await first.talking_video.start(**TALK, key="k3")
    sandbox.faults.fail("talking_video")
    assert [o.ok async for o in first.batch(jobs[4:5])] == [False]
    await first.aclose()
    charges = sandbox.ledger.charges
    client = make_client()
    cost = charges[0].coins
    found = await dry_run_outcomes(client, jobs, download_to=out)
    assert steps(found) == {
        "k0": "done", "k1": "save", "k2": "wait", "k3": "find", "k4": "failed", "k5": "start"
    }  # fmt: skip
    assert {key: o.plan.coins for key, o in found.items() if o.plan} == {
        **dict.fromkeys(("k0", "k1", "k2", "k3", "k4"), 0), "k5": cost
    }  # fmt: skip
    assert [o.plan.paid for o in found.values() if o.plan and o.job.key == "k0"] == [cost]
    assert found["k0"].earlier
    assert found["k0"].paths
    assert found["k2"].task is not None
    assert steps(await dry_run_outcomes(client, jobs[4:5], retry_failed=1)) == {"k4": "start"}
    assert steps(await dry_run_outcomes(client, jobs[:1])) == {"k0": "done"}
    next(iter(out.iterdir())).unlink()
    assert steps(await dry_run_outcomes(client, jobs[:1], download_to=out)) == {"k0": "save"}
    assert sandbox.ledger.charges == charges


async def test_jobs_beyond_the_budget(make_client: MakeClient, sandbox: Sandbox) -> None:
    """Jobs beyond the budget get an error; the budgets themselves do not change."""
    cost = await make_client().talking_video.quote(**TALK)
    assert cost
    own, mine = Budget(3 * cost), Budget(2 * cost)
    client = make_client(budget=mine)
    for budget in (own, None):
        found = await dry_run_outcomes(client, talking_video_jobs(client, 5), budget=budget)
        assert sum(o.ok for o in found.values()) == 2
        wrong = [o for o in found.values() if not o.ok]
        assert all(isinstance(o.error, BudgetExceeded) for o in wrong)
        assert all(o.plan is not None and o.plan.coins == cost for o in wrong)
    assert (own.left, mine.left) == (3 * cost, 2 * cost)
    voice = [client.voice_clone.job(voice_urls=["https://m.example/a.wav"], key="v")]
    (found_voice,) = (await dry_run_outcomes(client, voice)).values()
    assert isinstance(found_voice.error, BudgetExceeded)
    assert "unknown_cost" in str(found_voice.error)
    (free,) = (await dry_run_outcomes(make_client(), voice)).values()
    assert free.ok
    assert free.plan == Plan(step="start", coins=None)


async def test_without_a_journal(make_client: MakeClient) -> None:
    """Earlier runs are unknown; equal jobs without a key are separate starts."""
    client = make_client(journal=None)
    jobs = [client.talking_video.job(**TALK) for _ in range(3)]
    planned = [o.plan async for o in client.batch(jobs, dry_run=True)]
    assert [plan.step for plan in planned if plan] == ["start"] * 3


async def test_fatal_errors_end_it(make_client: MakeClient, sandbox: Sandbox) -> None:
    """An invalid API key or a missing network ends the dry run at the first job."""
    bad = A2E("wrong-key-0123456789", base_url=sandbox.base_url, rate=None)
    with pytest.raises(AuthenticationError):
        await dry_run_outcomes(bad, talking_video_jobs(bad, 50), limit=1)
    await bad.aclose()
    assert sandbox.calls_total < 5
    off = make_client(base_url="http://127.0.0.1:9", retry=RetryPolicy(max_attempts=1))
    with pytest.raises(ConnectError):
        await dry_run_outcomes(off, talking_video_jobs(off, 2), limit=1)


async def test_it_can_be_left(a2e: A2E, sandbox: Sandbox) -> None:
    """Interrupted at any await: nothing is left running, nothing is charged."""
    for count in range(0, 60, 3):
        outcomes = a2e.batch(talking_video_jobs(a2e, 5), dry_run=True, limit=3)

        async def some(outcomes: Any = outcomes) -> None:
            async with aclosing(outcomes):
                async for _ in outcomes:
                    pass

        work = asyncio.create_task(some())
        for _ in range(count):
            await asyncio.sleep(0)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    assert sandbox.ledger.charges == ()


@pytest.mark.parametrize("bad", ["yes", 1, None])
def test_dry_run_must_be_a_bool(a2e: A2E, bad: Any) -> None:
    with pytest.raises(InvalidInput, match="dry_run"):
        a2e.batch([], dry_run=bad)
