"""The thread of a SQLite journal: its start and end, and the results of its callers."""

import asyncio
import gc
import threading
from pathlib import Path
from typing import Any

import pytest

from a2e_async._core.journal.protocol import Entry, State
from a2e_async._core.journal.sqlite import SqliteJournal
from a2e_async.errors import JournalError

from .conftest import plain
from .contract import entry, wait_until


def threads() -> int:
    return sum(thread.name == "a2e-journal" for thread in threading.enumerate())


async def test_nothing_happens_before_the_first_use(path: Path) -> None:
    before = threads()
    journal = SqliteJournal(path)
    assert journal.owner
    assert (threads(), path.exists()) == (before, False)
    await journal.aclose()
    assert not path.exists()
    with pytest.raises(JournalError, match="it is closed"):
        await journal.begin(entry())


async def test_closing_completes_submitted_operations(path: Path) -> None:
    before = threads()
    journal = SqliteJournal(path)
    pending = [asyncio.ensure_future(journal.begin(entry(str(n)))) for n in range(3_000)]
    await asyncio.sleep(0)
    await asyncio.gather(*(journal.aclose() for _ in range(3)))
    await journal.aclose()
    assert all(one.created for one in await asyncio.gather(*pending))
    assert threads() == before
    assert [one.name for one in path.parent.iterdir()] == ["jobs.db"]
    for call in (journal.begin(entry()), journal.open(), journal.get("1")):
        with pytest.raises(JournalError, match=r"it is closed\. Create a new client\."):
            await call
    with pytest.raises(JournalError, match="it is closed"):
        journal.watch("1", print)


async def test_cancelling_a_caller_does_not_undo_its_operation(journal: SqliteJournal) -> None:
    pending = asyncio.ensure_future(journal.begin(entry()))
    await asyncio.sleep(0)
    pending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pending
    assert await journal.get("talk-17") is not None


async def test_a_cancelled_closing_closes(path: Path) -> None:
    before = threads()
    journal = SqliteJournal(path)
    await journal.begin(entry())
    closing = asyncio.ensure_future(journal.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await journal.aclose()
    assert threads() == before


async def test_adding_a_listener_wakes_the_thread(
    path: Path, journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without a listener the thread sleeps until its next heartbeat.
    monkeypatch.setattr("a2e_async._core.journal.sqlite_writer.HEARTBEAT_INTERVAL", 3600.0)
    other = SqliteJournal(path)
    await asyncio.gather(journal.open(), other.open())
    changes: list[Entry | None] = []
    journal.watch("talk-17", changes.append)
    async with asyncio.timeout(60):
        n = 0
        while not changes:
            await other.begin(entry()) if not n else await other.advance("talk-17", State.INTENT)
            n += 1
            await asyncio.sleep(0.05)
    await other.aclose()


async def test_a_dropped_journal_ends(path: Path) -> None:
    before = threads()
    journal = SqliteJournal(path)
    await journal.begin(entry())
    del journal
    gc.collect()
    await wait_until(lambda: threads() == before)
    assert [one.name for one in path.parent.iterdir()] == ["jobs.db"]


def test_each_loop_has_a_journal(path: Path) -> None:
    """Several event loops in threads of one process, each with its own journal object, one file."""
    new: list[bool] = []

    async def begin_all() -> None:
        journal = SqliteJournal(path)
        await journal.open()
        together.wait()
        begun = await asyncio.gather(*(journal.begin(entry(str(n))) for n in range(100)))
        new.extend(one.created for one in begun)
        await journal.aclose()

    together = threading.Barrier(4)
    workers = [threading.Thread(target=lambda: asyncio.run(begin_all())) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (len(new), sum(new)) == (400, 100)


def test_a_closed_loop_does_not_stop_it(path: Path) -> None:
    journal = SqliteJournal(path)

    async def ask_and_go() -> None:
        pending.append(asyncio.ensure_future(journal.begin(entry())))
        await asyncio.sleep(0)

    pending: list[Any] = []
    asyncio.run(ask_and_go())

    async def read() -> Entry | None:
        found = await journal.get("talk-17")
        await journal.aclose()
        return found

    assert asyncio.run(read()) is not None


async def test_each_caller_gets_its_own_exception(path: Path, journal: SqliteJournal) -> None:
    with plain(path) as db:
        db.execute("CREATE TABLE something (x)")
    errors = await asyncio.gather(*(journal.get(str(n)) for n in range(3)), return_exceptions=True)
    assert len({id(error) for error in errors}) == 3
    assert all(isinstance(error, JournalError) for error in errors)
