"""A journal on a simulated disk meets the journal contract; power cuts lose no commit."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from a2e_async._core.journal.protocol import Entry, Journal, State
from a2e_async._core.journal.sqlite import SqliteJournal
from tests.journal.contract import JournalClients, JournalContract
from tests.journal.model import ClientClocks

from .disk import Disk, SimulatedExecutor, SimulatedWriter, simulated_disks


class TestSimulated(JournalContract):
    @pytest.fixture
    async def clients(self, tmp_path: Path) -> AsyncIterator[JournalClients]:
        made: list[Journal] = []

        def make(time: ClientClocks) -> Journal:
            path = tmp_path / "jobs.db"
            made.append(SqliteJournal(path, clock=time.wall, host_clock=time.host))
            return made[-1]

        with simulated_disks({}):
            yield JournalClients(make)
            for journal in made:
                await journal.aclose()


async def test_what_was_committed_is_there_after_a_power_cut(tmp_path: Path) -> None:
    with simulated_disks({}):
        first = SqliteJournal(tmp_path / "jobs.db")
        await first.begin(Entry(key="k", kind="dubbing", digest="d", state=State.INTENT))
        assert isinstance(first._writer_thread, SimulatedWriter)
        first._writer_thread.serving.cancel()  # power cut: none of its code runs any more
        second = SqliteJournal(tmp_path / "jobs.db")
        assert await second.get("k") is not None
        await second.aclose()


async def test_file_work_is_done_later_and_without_threads() -> None:
    done: list[int] = []
    future = SimulatedExecutor(Disk(Path())).submit(done.append, 1)
    assert not done
    await asyncio.wrap_future(future)
    assert done == [1]
