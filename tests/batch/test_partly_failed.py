"""A start makes several tasks and one fails: the good outputs are paid, and must be saved."""

from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from a2e_async import A2E, Budget, Job, Outcome
from a2e_async._core.journal.protocol import ClosedBy, Entry, State
from a2e_async._core.journal.sqlite import SqliteJournal
from a2e_async.errors import TaskFailed, TransferError
from a2e_async.sandbox import Sandbox

from .conftest import MakeClient

pytestmark = pytest.mark.anyio

MOVE = {
    "image_url": "https://media.example/a.png",
    "prompt": "smile",
    "negative_prompt": "blurry",
    "number_of_images": 2,
}


def fail(sandbox: Sandbox, times: int = 1) -> None:
    sandbox.faults.fail("image_to_video", "too blurry", times=times)


def move(a2e: A2E) -> list[Job[Any]]:
    return [a2e.image_to_video.job(**MOVE, key="k")]


async def run(a2e: A2E, **options: Any) -> Outcome[Any]:
    (outcome,) = [outcome async for outcome in a2e.batch(move(a2e), **options)]
    return outcome


async def entry_of(a2e: A2E, key: str = "k") -> Entry:
    assert a2e.journal is not None
    entry = await a2e.journal.get(key)
    assert entry is not None
    return entry


def facts(entry: Entry) -> tuple[bool, State, bool | None, str | None]:
    assert "too blurry" in (entry.failure or "")
    assert entry.failed
    return entry.open, entry.state, entry.succeeded, entry.closed_by


async def test_it_is_unfinished_until_its_good_outputs_are_saved(
    make_client: MakeClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The process ends after the wait and before the save; the next one saves what was paid."""
    fail(sandbox)
    first = make_client()
    with pytest.raises(TaskFailed):
        await first.image_to_video.run(**MOVE, key="k")
    assert facts(await entry_of(first)) == (True, State.FINISHED, None, None)
    await first.aclose()
    second = make_client()
    (task,) = [task async for task in second.unfinished()]
    with pytest.raises(TaskFailed, match=r"too blurry.* 1 of 1 good outputs saved in ") as caught:
        await task.download(tmp_path / "out")
    assert caught.value.task is task
    (path,) = (tmp_path / "out").iterdir()
    assert path.stat().st_size > 0
    entry = await entry_of(second)
    assert facts(entry) == (False, State.SAVED, False, ClosedBy.SAVED)
    assert list(entry.paths.values()) == [str(path)]
    assert [task async for task in second.unfinished()] == []
    assert len(sandbox.ledger.starts()) == 1


async def test_the_user_can_acknowledge_them(a2e: A2E, sandbox: Sandbox) -> None:
    fail(sandbox)
    task = await a2e.image_to_video.start(**MOVE, key="k")
    with pytest.raises(TaskFailed):
        await task
    await task.ack()
    assert facts(await entry_of(a2e)) == (False, State.SAVED, False, ClosedBy.ACKNOWLEDGED)
    assert [task async for task in a2e.unfinished()] == []


async def test_outputs_that_were_saved_before_its_end_leave_nothing_to_do(
    a2e: A2E, sandbox: Sandbox, tmp_path: Path
) -> None:
    fail(sandbox)
    task = await a2e.image_to_video.start(**MOVE, key="k")
    sandbox.advance(3600)
    for part in (
        await a2e.image_to_video.get(*task.ids[:1]),
        await a2e.image_to_video.get(*task.ids[1:]),
    ):
        for output in part.outputs:
            await output.save(f"{tmp_path}/out/")
    assert (await entry_of(a2e)).open
    with pytest.raises(TaskFailed):
        await task
    assert facts(await entry_of(a2e)) == (False, State.FINISHED, False, ClosedBy.FAILED)


async def test_none_good_is_closed_as_before(a2e: A2E, sandbox: Sandbox, tmp_path: Path) -> None:
    fail(sandbox, times=2)
    outcome = await run(a2e, download_to=tmp_path / "out")
    assert (type(outcome.error), outcome.paths) == (TaskFailed, ())
    assert "output" not in str(outcome.error)
    assert facts(await entry_of(a2e)) == (False, State.FINISHED, False, ClosedBy.FAILED)
    assert not (tmp_path / "out").exists()


async def test_a_batch_saves_them_and_reports_the_failure(
    make_client: MakeClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The next run has the same outcome, and downloads nothing again."""
    fail(sandbox)
    client = make_client()
    found = [await run(client, download_to=tmp_path / "out")]
    assert facts(await entry_of(client)) == (False, State.SAVED, False, ClosedBy.SAVED)
    (path,) = (tmp_path / "out").glob("image_to_video*")
    written = path.stat().st_mtime_ns
    await client.aclose()
    found.append(await run(make_client(), download_to=tmp_path / "out"))
    for outcome in found:
        assert isinstance(outcome.error, TaskFailed)
        assert "1 of 1 good outputs saved in " in str(outcome.error)
        assert outcome.paths == (path,)
    assert path.stat().st_mtime_ns == written
    path.unlink()
    assert (await run(make_client(), download_to=tmp_path / "out")).paths == (path,)
    assert path.exists()
    assert len(sandbox.ledger.starts()) == 1


async def test_a_batch_without_a_journal_saves_them(
    make_client: MakeClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    fail(sandbox)
    outcome = await run(make_client(journal=None), download_to=tmp_path / "out")
    assert isinstance(outcome.error, TaskFailed)
    assert list(outcome.paths) == list((tmp_path / "out").glob("image_to_video*")) != []


async def test_a_batch_without_files_leaves_them_open(a2e: A2E, sandbox: Sandbox) -> None:
    fail(sandbox)
    outcome = await run(a2e)
    assert "1 good outputs are in error.record" in str(outcome.error)
    assert outcome.paths == ()
    assert (await entry_of(a2e)).open
    assert outcome.task is not None
    await outcome.task.ack()
    assert "saved" not in str((await run(a2e, download_to="unused")).error)


async def test_what_cannot_be_saved_is_saved_by_a_later_run(
    a2e: A2E, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The failure is reported with the reason, and the next run saves them."""
    fail(sandbox)
    (name,) = [path.name for path in (await run(a2e, download_to=tmp_path / "first")).paths]
    obstacle = tmp_path / "out" / name / "a directory in the way"
    obstacle.mkdir(parents=True)
    outcome = await run(a2e, download_to=tmp_path / "out")
    assert isinstance(outcome.error, TaskFailed)
    assert "0 of 1 good outputs saved in " in str(outcome.error)
    assert isinstance(outcome.error.__cause__, TransferError)
    assert outcome.paths == ()
    assert outcome.task is not None
    with pytest.raises(TaskFailed, match="0 of 1 good outputs saved in ") as caught:
        await outcome.task.download(tmp_path / "out")
    assert isinstance(caught.value.__cause__, TransferError)
    obstacle.rmdir()
    obstacle.parent.rmdir()
    assert (await run(a2e, download_to=tmp_path / "out")).paths == (tmp_path / "out" / name,)


async def test_follow_all_saves_them_once(a2e: A2E, sandbox: Sandbox, tmp_path: Path) -> None:
    fail(sandbox)
    await a2e.image_to_video.start(**MOVE, key="k")
    await a2e.follow_all(download_to=tmp_path / "out").join()
    assert len(list((tmp_path / "out").iterdir())) == 1
    assert facts(await entry_of(a2e)) == (False, State.SAVED, False, ClosedBy.SAVED)


async def test_retries_lose_nothing_and_cost_as_before(
    make_client: MakeClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The good outputs of each failed task are on disk, and each start counts for the budget."""
    fail(sandbox)
    client = make_client()
    outcome = await run(client, download_to=tmp_path / "out", retry_failed=1)
    assert outcome.ok
    assert len(outcome.paths) == 2
    assert len(list((tmp_path / "out").glob("image_to_video*"))) == 3
    first, second = await entry_of(client), await entry_of(client, "k~1")
    assert facts(first) == (False, State.SAVED, False, ClosedBy.SAVED)
    assert (second.state, second.closed_by) == (State.SAVED, ClosedBy.SAVED)
    charges = [charge.coins for charge in sandbox.ledger.starts()]
    assert [first.cost, second.cost] == charges
    await client.aclose()
    client, budget = make_client(), Budget(sum(charges))
    outcome = await run(client, download_to=tmp_path / "out", retry_failed=1, budget=budget)
    assert outcome.ok
    assert budget.spent == sum(charges)
    assert len(list((tmp_path / "out").glob("image_to_video*"))) == 3
    assert [charge.coins for charge in sandbox.ledger.starts()] == charges


async def test_an_open_failure_counts_like_a_closed_one(
    make_client: MakeClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A batch with a budget counts all tries of a job, also behind one whose outputs wait."""
    fail(sandbox)
    client = make_client()
    assert (await run(client, retry_failed=1)).ok
    spent = sum(charge.coins for charge in sandbox.ledger.starts())
    assert (await entry_of(client)).open
    dry = [o async for o in client.batch(move(client), dry_run=True, retry_failed=1)]
    assert [o.plan and (o.plan.step, o.plan.paid) for o in dry] == [("done", spent)]
    dry = [o async for o in client.batch(move(client), dry_run=True)]
    assert [o.plan and (o.plan.step, o.plan.paid) for o in dry] == [("done", spent)]
    options: dict[str, Any] = {"dry_run": True, "download_to": tmp_path / "out"}
    dry = [o async for o in client.batch(move(client), **options)]
    assert [o.plan and o.plan.step for o in dry] == ["save"]
    await client.aclose()
    budget = Budget(spent)
    client = make_client()
    outcome = await run(client, retry_failed=1, budget=budget, download_to=tmp_path / "out")
    assert outcome.ok
    assert budget.spent == spent
    assert not (await entry_of(client)).open


@pytest.mark.parametrize("state", [State.FINISHED, State.SAVED])
async def test_an_entry_of_an_earlier_version_stays_closed(journal: Path, state: State) -> None:
    """Earlier versions closed it as failed at once; its outputs are not resumed after years."""
    earlier = SqliteJournal(journal)
    old = Entry(key="k", kind="image_to_video", digest="d", state=state, ids=("a" * 24,))
    old = evolve(old, succeeded=False, failure="blurry", outputs=1, closed_by=ClosedBy.FAILED)
    await earlier.begin(old)
    entry = await earlier.get("k")
    assert entry is not None
    assert (entry.open, entry.failed, entry.closed_by) == (False, True, ClosedBy.FAILED)
    assert await earlier.entries(open_only=True) == ([], 0)
    await earlier.aclose()
