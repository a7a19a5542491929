"""`A2E.follow_all`: every task is finished, saved and handed over, whatever fails on the way."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E, Status, Task
from a2e_async.errors import ConfigurationError, InvalidInput
from a2e_async.journal import ClosedBy
from a2e_async.sandbox import Sandbox

from .conftest import DUB, LONG, MakeClient, paid, until

MODULE = "a2e_async._core.submission.follower"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat what failed after a moment."""
    monkeypatch.setattr(f"{MODULE}.FIRST_RETRY_DELAY", 0.01)
    monkeypatch.setattr(f"{MODULE}.MAX_RETRY_DELAY", 0.02)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


class Seen:
    """Notes the tasks that were handed over."""

    def __init__(self) -> None:
        self.keys: list[str | None] = []
        self.statuses: dict[str | None, Status | None] = {}

    async def __call__(self, task: Task[Any]) -> None:
        self.keys.append(task.key)
        self.statuses[task.key] = task.status


async def closed_by(a2e: A2E, key: str) -> str | None:
    assert a2e.journal is not None
    entry = await a2e.journal.get(key)
    assert entry is not None
    return entry.closed_by


async def test_tasks_of_earlier_runs_and_new_ones(
    make_client: MakeClient, journal: Path, media: Path, sandbox: Sandbox
) -> None:
    first = make_client(journal=journal)
    await first.dubbing.start(**DUB, key="earlier")
    await first.aclose()
    a2e, seen = make_client(journal=journal), Seen()
    follower = a2e.follow_all(download_to=media, on_end=seen)
    await a2e.dubbing.start(**DUB, key="new")
    await follower.join()
    assert sorted(map(str, seen.keys)) == ["earlier", "new"]
    assert set(seen.statuses.values()) == {Status.SUCCEEDED}
    assert len(list(media.iterdir())) == 2
    for key in ("earlier", "new"):
        assert await closed_by(a2e, key) == ClosedBy.SAVED
    assert follower.in_progress == 0
    assert len(paid(sandbox)) == 2


async def test_without_a_directory_a_task_is_acknowledged_once_it_is_handed_over(
    make_client: MakeClient, journal: Path
) -> None:
    a2e, states = make_client(journal=journal), list[str | None]()

    async def fail_twice(_: Task[Any]) -> None:
        states.append(await closed_by(a2e, "k"))
        if len(states) <= 2:
            raise RuntimeError("the chat is away")

    follower = a2e.follow_all(on_end=fail_twice)
    await a2e.dubbing.start(**DUB, key="k")
    await follower.join()
    assert states == [None] * 3
    assert await closed_by(a2e, "k") == ClosedBy.ACKNOWLEDGED


async def test_what_can_never_be_delivered_is_logged_once_and_acknowledged(
    make_client: MakeClient, journal: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls = 0

    async def refuse(_: Task[Any]) -> None:
        nonlocal calls
        calls += 1
        raise LookupError("no such chat: https://chat.example/x?token=abcdefgh12345678")

    a2e = make_client(journal=journal)
    follower = a2e.follow_all(on_end=refuse, on_update=refuse, undeliverable=LookupError)
    await a2e.dubbing.start(**DUB, key="k")
    await follower.join()
    assert await closed_by(a2e, "k") == ClosedBy.ACKNOWLEDGED
    (line,) = [text for text in caplog.messages if "no such chat" in text]
    assert "cannot be delivered and is acknowledged" in line
    assert "abcdefgh" not in line
    assert calls >= 1


async def test_what_failed_is_repeated_and_not_what_was_done(
    make_client: MakeClient, journal: Path, media: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A failing hand-over does not save the files again."""
    saved_at: list[int] = []

    async def fail_twice(_: Task[Any]) -> None:
        (file,) = media.iterdir()
        saved_at.append(file.stat().st_mtime_ns)
        if len(saved_at) <= 2:
            raise RuntimeError("the chat is away")

    a2e = make_client(journal=journal)
    follower = a2e.follow_all(download_to=media, on_end=fail_twice)
    with caplog.at_level(logging.WARNING):
        await a2e.dubbing.start(**DUB, key="k")
        await follower.join()
    assert saved_at == [saved_at[0]] * 3
    assert caplog.text.count("the chat is away") == 2


async def test_a_directory_that_cannot_be_written_is_tried_again(
    make_client: MakeClient, journal: Path, media: Path
) -> None:
    media.write_text("a file is in the way")
    a2e, seen = make_client(journal=journal), Seen()
    follower = a2e.follow_all(download_to=media, on_end=seen)
    await a2e.dubbing.start(**DUB, key="k")
    await until(lambda: follower.in_progress)
    await asyncio.sleep(0.1)
    assert not seen.keys
    media.unlink()
    await follower.join()
    assert seen.keys == ["k"]
    assert len(list(media.iterdir())) == 1


async def test_failed_tasks_are_handed_over(
    make_client: MakeClient, journal: Path, media: Path, sandbox: Sandbox
) -> None:
    sandbox.faults.fail("dubbing")
    a2e, seen = make_client(journal=journal), Seen()
    follower = a2e.follow_all(download_to=media, on_end=seen)
    await a2e.dubbing.start(**DUB, key="k")
    await follower.join()
    assert seen.statuses == {"k": Status.FAILED}
    assert await closed_by(a2e, "k") == ClosedBy.FAILED


@LONG
async def test_updates(
    make_client: MakeClient, journal: Path, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Each change is shown; an exception of the callback changes nothing."""
    shown: list[Status | None] = []

    async def show(task: Task[Any]) -> None:
        shown.append(task.status)
        raise RuntimeError("the page was closed")

    a2e, seen = make_client(journal=journal), Seen()
    follower = a2e.follow_all(on_end=seen, on_update=show)
    await a2e.dubbing.start(**DUB, key="k")
    await until(lambda: shown)
    sandbox.advance(3600)
    await follower.join()
    assert Status.SUCCEEDED not in shown
    assert seen.statuses == {"k": Status.SUCCEEDED}
    assert "the page was closed" in caplog.text


@LONG
async def test_what_the_program_saves_itself_is_not_handed_over(
    make_client: MakeClient, journal: Path, media: Path, sandbox: Sandbox
) -> None:
    gate = asyncio.Event()

    async def wait_for_gate(_: Task[Any]) -> None:
        await gate.wait()

    a2e, seen = make_client(journal=journal), Seen()
    follower = a2e.follow_all(on_end=seen, on_update=wait_for_gate)
    task = await a2e.dubbing.start(**DUB, key="k")
    sandbox.advance(3600)
    await task.download(media)
    gate.set()
    await follower.join()
    assert not seen.keys


@LONG
async def test_closing_leaves_running_tasks_to_the_next_process(
    make_client: MakeClient, journal: Path, sandbox: Sandbox
) -> None:
    a2e, seen = make_client(journal=journal), Seen()
    follower = a2e.follow_all(on_end=seen)
    await a2e.dubbing.start(**DUB, key="k")
    await until(lambda: follower.in_progress)
    await a2e.aclose()
    assert (follower.in_progress, follower.closed, seen.keys) == (0, True, [])
    await follower.join()  # returns: nothing is followed any more
    second = make_client(journal=journal)
    sandbox.advance(3600)
    await second.follow_all(on_end=seen).join()
    assert seen.keys == ["k"]


async def test_closing_waits_for_what_is_being_handed_over(
    make_client: MakeClient, journal: Path
) -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    async def slow(_: Task[Any]) -> None:
        begun.set()
        await gate.wait()

    a2e = make_client(journal=journal)
    a2e.follow_all(on_end=slow)
    await a2e.dubbing.start(**DUB, key="k")
    await begun.wait()
    closing = asyncio.create_task(a2e.aclose())
    await asyncio.sleep(0.02)
    assert not closing.done()
    gate.set()
    await closing
    second = make_client(journal=journal)
    assert await closed_by(second, "k") == ClosedBy.ACKNOWLEDGED


async def test_closing_does_not_wait_for_ever(
    make_client: MakeClient, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{MODULE}.CLOSE_TIMEOUT", 0.05)
    begun = asyncio.Event()

    async def endless(_: Task[Any]) -> None:
        begun.set()
        await asyncio.sleep(3600)

    a2e = make_client(journal=journal)
    a2e.follow_all(on_end=endless)
    await a2e.dubbing.start(**DUB, key="k")
    await begun.wait()
    await a2e.aclose()
    assert await closed_by(make_client(journal=journal), "k") is None


async def test_tasks_that_another_process_left_are_found_later(
    make_client: MakeClient, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{MODULE}.RESCAN_INTERVAL", 0.05)
    other = make_client(journal=journal)
    a2e, seen = make_client(journal=journal), Seen()
    a2e.follow_all(on_end=seen)
    await other.dubbing.start(**DUB, key="left")
    await other.aclose()
    await until(lambda: seen.keys)
    assert seen.keys == ["left"]


async def test_a_lost_start_is_searched_for_again(
    make_client: MakeClient, journal: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start of an earlier run that the list showed too late is found by a later search."""
    monkeypatch.setattr(f"{MODULE}.RESCAN_INTERVAL", 0.05)
    sandbox.faults.drop_after_accept("dubbing")
    sandbox.faults.list_lag(3600)
    first = make_client(journal=journal)
    start = asyncio.create_task(first.dubbing.start(**DUB, key="lost"))
    await until(lambda: paid(sandbox))
    start.cancel()
    await asyncio.gather(start, return_exceptions=True)
    await first.aclose()
    a2e, seen = make_client(journal=journal), Seen()
    a2e.follow_all(on_end=seen)
    await until(a2e.unknown)
    sandbox.advance(3600)
    await until(lambda: seen.keys)
    assert seen.keys == ["lost"]
    assert len(paid(sandbox)) == 1


async def cancelled_work(_: Task[Any]) -> None:
    """Await something that another part of the program cancels."""
    work = asyncio.ensure_future(asyncio.sleep(3600))
    work.cancel()
    await work


async def test_a_callback_whose_work_was_cancelled_is_called_again(
    make_client: MakeClient, journal: Path, media: Path
) -> None:
    """The files are saved by then, so that no later run would call it."""
    calls: list[str | None] = []

    async def on_end(task: Task[Any]) -> None:
        calls.append(task.key)
        if len(calls) == 1:
            await cancelled_work(task)

    a2e = make_client(journal=journal)
    follower = a2e.follow_all(download_to=media, on_end=on_end)
    await a2e.dubbing.start(**DUB, key="k")
    await follower.join()
    assert calls == ["k"] * 2


@LONG
async def test_an_update_whose_work_was_cancelled_changes_nothing(
    make_client: MakeClient, journal: Path, sandbox: Sandbox
) -> None:
    updates: list[Task[Any]] = []

    async def on_update(task: Task[Any]) -> None:
        updates.append(task)
        await cancelled_work(task)

    a2e, seen = make_client(journal=journal), Seen()
    follower = a2e.follow_all(on_end=seen, on_update=on_update)
    await a2e.dubbing.start(**DUB, key="k")
    await until(lambda: updates)
    sandbox.advance(3600)
    await follower.join()
    assert seen.keys == ["k"]


@pytest.mark.parametrize("what", ["client", "follower"])
async def test_a_callback_may_close(make_client: MakeClient, journal: Path, what: str) -> None:
    """It does not wait for itself; what it does not finish is handed over by the next run."""
    a2e, seen = make_client(journal=journal), Seen()
    closed = asyncio.Event()

    async def on_end(_: Task[Any]) -> None:
        await (a2e if what == "client" else follower).aclose()
        closed.set()

    follower = a2e.follow_all(on_end=on_end)
    await a2e.dubbing.start(**DUB, key="k")
    await closed.wait()
    await until(lambda: not follower.in_progress)
    await a2e.aclose()
    await make_client(journal=journal).follow_all(on_end=seen).join()
    assert seen.keys == (["k"] if what == "client" else [])


async def test_a_journal_that_cannot_be_read_does_not_block_join(
    make_client: MakeClient, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> AsyncGenerator[Task[Any]]:
        for task in ():
            yield task
        raise OSError("the disk is away")

    monkeypatch.setattr("a2e_async._core.submission.resume.iter_unfinished", fail)
    await make_client(journal=journal).follow_all(on_end=Seen()).join()


async def test_wrong_calls(make_client: MakeClient, journal: Path) -> None:
    with pytest.raises(ConfigurationError, match="needs a journal"):
        make_client().follow_all(on_end=Seen())
    a2e = make_client(journal=journal)
    with pytest.raises(InvalidInput, match="download_to, on_end, or both"):
        a2e.follow_all()
    follower = a2e.follow_all(on_end=Seen())
    with pytest.raises(ConfigurationError, match="already"):
        a2e.follow_all(on_end=Seen())
    await follower.aclose()
    await a2e.follow_all(on_end=Seen()).join()
