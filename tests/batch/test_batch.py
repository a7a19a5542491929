"""Batches: limited concurrency, outcomes as completed, isolated failures, resuming, leaving."""

import asyncio
import gc
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E, Job, Outcome
from a2e_async._core.batch.duplicates import DuplicateStore
from a2e_async.errors import (
    InsufficientCredits,
    InvalidInput,
    JournalError,
    KeyConflict,
    StartOutcomeUnknown,
    TaskFailed,
    TransferError,
)
from a2e_async.sandbox import Sandbox

from .conftest import DUB, TALK, MakeClient

pytestmark = pytest.mark.anyio


def jobs(a2e: A2E, count: int, **more: Any) -> Iterator[Job[Any]]:
    """Return this many dubbing jobs with keys."""
    for n in range(count):
        yield a2e.dubbing.job(**{**DUB, **more}, key=f"job-{n}")


async def run(a2e: A2E, made: Any, **options: Any) -> list[Outcome[Any]]:
    """Run a batch to its end and return the outcomes."""
    return [outcome async for outcome in a2e.batch(made, **options)]


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def test_all_are_done_and_saved(a2e: A2E, sandbox: Sandbox, tmp_path: Path) -> None:
    """Jobs of several kinds, with one file each."""
    made = [*jobs(a2e, 5), *(a2e.talking_video.job(**TALK, key=f"t-{n}") for n in range(5))]
    outcomes = await run(a2e, made, limit=4, download_to=tmp_path / "out")
    assert {o.job.key for o in outcomes} == {job.key for job in made}
    assert all(o.ok and o.unwrap().output and len(o.paths) == 1 for o in outcomes)
    assert len(files(tmp_path / "out")) == 10
    assert len(sandbox.ledger.starts()) == 10


async def test_running_it_again_spends_nothing(
    make_client: MakeClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Completed jobs are skipped without a request; a deleted file is downloaded again."""
    out = tmp_path / "out"
    first = make_client()
    before = await run(first, jobs(first, 6), download_to=out)
    await first.aclose()
    calls = sandbox.calls_total
    second = make_client()
    again = await run(second, jobs(second, 6), download_to=out)
    assert all(o.ok and o.earlier for o in again)
    assert {o.paths for o in again} == {o.paths for o in before}
    assert sandbox.calls_total == calls
    before[0].paths[0].unlink()
    third = await run(second, jobs(second, 6), download_to=out)
    assert sorted(o.earlier for o in third) == [False] + [True] * 5
    assert len(files(out)) == 6
    assert len(sandbox.ledger.starts()) == 6


async def test_other_inputs_under_a_key(
    make_client: MakeClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A job with changed inputs is not mistaken for the completed one."""
    client = make_client()
    await run(client, jobs(client, 1), download_to=tmp_path / "out")
    (outcome,) = await run(client, jobs(client, 1, target_lang="fr"), download_to=tmp_path / "out")
    assert isinstance(outcome.error, KeyConflict)
    assert len(sandbox.ledger.starts()) == 1


async def test_jobs_without_keys(make_client: MakeClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """Jobs are identified by their inputs; equal jobs are counted."""

    def made(a2e: A2E) -> list[Job[Any]]:
        return [a2e.dubbing.job(**DUB) for _ in range(3)] + [a2e.talking_video.job(**TALK)]

    first = make_client()
    await run(first, made(first), download_to=tmp_path)
    second = make_client()
    assert all(o.earlier for o in await run(second, made(second), download_to=tmp_path))
    assert len(sandbox.ledger.starts()) == 4


async def test_at_most_limit_are_unfinished(a2e: A2E, sandbox: Sandbox) -> None:
    """The source is read one job at a time, and only when a job can be started."""
    taken = done = 0
    most = 0

    async def source() -> AsyncIterator[Job[Any]]:
        nonlocal taken, most
        for job in jobs(a2e, 30):
            taken += 1
            most = max(most, taken - done)
            yield job

    async for _ in a2e.batch(source(), limit=3):
        done += 1
    assert done == 30
    assert most <= 4


async def test_one_failure_leaves_the_others_alone(
    a2e: A2E, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Failed, refused, lost, or with an invalid file: each job has its own outcome."""
    sandbox.faults.fail("dubbing")
    sandbox.faults.http_error(400, role="start", kind="talking_video")
    sandbox.faults.drop_before_accept("image_to_video")
    made = [
        *jobs(a2e, 3),
        a2e.talking_video.job(**TALK, key="refused"),
        a2e.image_to_video.job(
            image_url="https://m.example/a.png", prompt="p", negative_prompt="n", key="lost"
        ),
        a2e.dubbing.job(source_url=tmp_path / "none.wav", target_lang="es", key="no file"),
    ]
    outcomes = {o.job.key: o for o in await run(a2e, made, limit=2)}
    assert len(outcomes) == 6
    assert isinstance(outcomes["lost"].error, StartOutcomeUnknown)
    assert isinstance(outcomes["no file"].error, InvalidInput)
    assert type(outcomes["refused"].error).__name__ == "InvalidRequest"
    assert sum(isinstance(outcomes[f"job-{n}"].error, TaskFailed) for n in range(3)) == 1
    with pytest.raises(InvalidInput):
        outcomes["no file"].unwrap()


async def test_retry_failed_starts_failed_tasks_again(
    make_client: MakeClient, sandbox: Sandbox
) -> None:
    """Failed tasks are started (and charged) again up to the limit; the next run remembers it."""
    sandbox.faults.fail("dubbing", times=2)
    client = make_client()
    (outcome,) = await run(client, jobs(client, 1), retry_failed=1)
    assert isinstance(outcome.error, TaskFailed)
    assert len(sandbox.ledger.starts()) == 2
    (outcome,) = await run(client, jobs(client, 1), retry_failed=2)
    assert outcome.ok
    assert len(sandbox.ledger.starts()) == 3
    (outcome,) = await run(client, jobs(client, 1), retry_failed=2)
    assert len(sandbox.ledger.starts()) == 3


async def test_a_successful_retry_counts_in_runs_without_retries(
    make_client: MakeClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """What an earlier run has started again and saved is that job's result, whoever asks."""
    sandbox.faults.fail("dubbing")
    client = make_client(journal=tmp_path / "jobs.db")
    (first,) = await run(client, jobs(client, 1), download_to=tmp_path, retry_failed=1)
    assert first.ok
    again = make_client(journal=tmp_path / "jobs.db")
    (planned,) = await run(again, jobs(again, 1), download_to=tmp_path, dry_run=True)
    assert planned.plan is not None
    assert planned.plan.step == "done"
    (outcome,) = await run(again, jobs(again, 1), download_to=tmp_path)
    assert outcome.ok
    assert outcome.earlier
    assert outcome.paths == first.paths
    assert len(sandbox.ledger.starts()) == 2


async def test_no_coins_ends_the_batch(
    make_client: MakeClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """After an error that would hit every job, no further job is started."""
    sandbox.faults.http_error(402, role="start", times=None)
    client = make_client()
    outcomes: list[Outcome[Any]] = []

    async def all_of_them() -> None:
        async for outcome in client.batch(jobs(client, 1000), limit=3):
            outcomes.append(outcome)  # noqa: PERF401  # kept although the loop raises

    with pytest.raises(InsufficientCredits):
        await all_of_them()
    assert 1 <= len(outcomes) <= 3
    assert sandbox.calls["start", "dubbing"] <= 3


async def test_no_coins_ends_a_batch_with_a_blocked_source(a2e: A2E, sandbox: Sandbox) -> None:
    """A batch also ends if its source blocks forever."""
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[Job[Any]]:
        try:
            for job in jobs(a2e, 1):
                yield job
            await asyncio.Event().wait()
        finally:
            closed.set()

    sandbox.faults.http_error(402, role="start", times=None)
    with pytest.raises(InsufficientCredits):
        await asyncio.wait_for(run(a2e, endless()), 30)
    assert closed.is_set()


@pytest.mark.parametrize("how", ["break", "aclose", "drop", "cancel"])
async def test_leaving_stops_spending(a2e: A2E, sandbox: Sandbox, how: str) -> None:
    """However the loop is left, no further job is started; running the batch again continues it."""

    async def first_two() -> None:
        seen = 0
        async for _ in a2e.batch(jobs(a2e, 50), limit=2):
            seen += 1
            if seen == 2 and how != "cancel":
                return

    if how == "aclose":
        async with aclosing(a2e.batch(jobs(a2e, 50), limit=2)) as outcomes:
            await anext(outcomes)
    elif how == "cancel":
        running = asyncio.create_task(first_two())
        while len(sandbox.ledger.starts()) < 3:
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait([running])
    else:
        await first_two()
    gc.collect()
    await asyncio.sleep(0.05)
    paid = len(sandbox.ledger.starts())
    assert paid <= 8
    await asyncio.sleep(0.3)
    assert len(sandbox.ledger.starts()) == paid
    outcomes_ = await run(a2e, jobs(a2e, 50), limit=20)
    assert all(o.ok for o in outcomes_)
    assert len(sandbox.ledger.starts()) == 50


async def test_nothing_happens_before_it_is_iterated(a2e: A2E, sandbox: Sandbox) -> None:
    """Creating a batch does not read the source."""

    was_read = False

    def jobs() -> Iterator[Job[Any]]:
        nonlocal was_read
        was_read = True
        yield from ()

    await a2e.batch(jobs()).aclose()
    assert not was_read
    assert sandbox.calls_total == 0


async def test_a_source_that_raises(a2e: A2E, sandbox: Sandbox) -> None:
    """The error of the source is raised by the loop; started tasks are not lost."""

    def broken() -> Iterator[Job[Any]]:
        yield from jobs(a2e, 2)
        raise ZeroDivisionError("in the user's generator")

    with pytest.raises(ZeroDivisionError):
        await run(a2e, broken(), limit=5)
    assert len([task async for task in a2e.unfinished()]) == len(sandbox.ledger.starts())


async def test_a_disk_that_fails(a2e: A2E, sandbox: Sandbox, tmp_path: Path) -> None:
    """The outcome has the record and the error, and the next run saves the file."""
    blocked = tmp_path / "out"
    blocked.write_text("a file where the directory should be")
    (outcome,) = await run(a2e, jobs(a2e, 1), download_to=blocked)
    assert isinstance(outcome.error, TransferError)
    assert outcome.record is not None
    blocked.unlink()
    (outcome,) = await run(a2e, jobs(a2e, 1), download_to=blocked)
    assert outcome.ok
    assert len(outcome.paths) == 1
    assert len(sandbox.ledger.starts()) == 1


@pytest.mark.parametrize(
    ("made", "options"),
    [
        (5, {}),
        ([5], {}),
        (["dubbing"], {}),
        ([], {"limit": 0}),
        ([], {"limit": True}),
        ([], {"limit": 10**6}),
        ([], {"retry_failed": -1}),
        ([], {"retry_failed": 1.5}),
    ],
)
async def test_what_is_refused(
    a2e: A2E, sandbox: Sandbox, made: Any, options: dict[str, Any]
) -> None:
    """Invalid options are refused before anything is charged."""
    with pytest.raises(InvalidInput):
        await run(a2e, made, **options)
    assert sandbox.calls_total == 0


async def test_without_a_journal(make_client: MakeClient, sandbox: Sandbox) -> None:
    """A batch also works without a journal; then it is not resumable."""
    client = make_client(journal=None)
    assert all(o.ok for o in await run(client, jobs(client, 4)))
    assert len(sandbox.ledger.starts()) == 4


async def test_two_clients_share_one_batch(
    make_client: MakeClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """No job is started twice, and both clients get all outcomes."""
    first, second = make_client(), make_client()
    both = await asyncio.gather(
        *(run(c, jobs(c, 20), limit=5, download_to=tmp_path) for c in (first, second))
    )
    assert [len(outcomes) for outcomes in both] == [20, 20]
    assert all(o.ok for outcomes in both for o in outcomes)
    assert len(sandbox.ledger.starts()) == 20
    assert len([name for name in files(tmp_path) if not name.startswith("jobs.db")]) == 20


async def test_a_limit_of_one_with_unknown_starts_still_ends(a2e: A2E, sandbox: Sandbox) -> None:
    """An unknown start occupies its slot only during the search."""
    sandbox.faults.list_lag(1e9, times=None)
    sandbox.faults.drop_after_accept(times=None)
    outcomes = [o async for o in a2e.batch(jobs(a2e, 5), limit=1)]
    assert [type(o.error) for o in outcomes] == [StartOutcomeUnknown] * 5
    assert len(sandbox.ledger.starts()) == 5


async def test_cancelled_at_any_await_and_run_again(
    make_client: MakeClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """However often it is interrupted, in the end every job is paid and saved exactly once."""
    for turns in (*range(1, 120, 7), *range(120, 1500, 230)):
        client = make_client()
        batch = client.batch(jobs(client, 4), limit=2, download_to=tmp_path / "out")

        async def run(batch: Any = batch) -> None:
            async with aclosing(batch):
                async for _ in batch:
                    pass

        work = asyncio.create_task(run())
        for _ in range(turns):
            await asyncio.sleep(0)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await client.aclose()
    last = make_client()
    done = [o async for o in last.batch(jobs(last, 4), download_to=tmp_path / "out")]
    assert [o.error for o in done] == [None] * 4
    assert len(sandbox.ledger.starts()) == 4
    assert len([path for path in (tmp_path / "out").iterdir() if path.name[0] != "."]) == 4


async def test_a_full_temporary_disk_ends_the_batch(
    a2e: A2E, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the temporary database of job counts cannot be written, no further job is started."""

    def full(self: DuplicateStore, *words: str) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(DuplicateStore, "_read_value", full)
    with pytest.raises(JournalError, match="temporary files is full"):
        [o async for o in a2e.batch([a2e.dubbing.job(**DUB)])]
    assert sandbox.ledger.starts() == ()
