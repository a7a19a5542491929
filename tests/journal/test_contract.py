"""Runs the contract for each journal, and for the model that they are compared with."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from a2e_async._core.journal.protocol import Journal
from a2e_async._core.journal.sqlite import SqliteJournal

from .contract import JournalClients, JournalContract
from .model import ClientClocks, ModelJournal, SharedJournalState


class TestModel(JournalContract):
    @pytest.fixture
    def clients(self) -> JournalClients:
        world = SharedJournalState()
        return JournalClients(lambda time: ModelJournal(world, uuid4().hex, time), world)


class TestSqlite(JournalContract):
    @pytest.fixture
    async def clients(self, tmp_path: Path) -> AsyncIterator[JournalClients]:
        made: list[Journal] = []

        def make(time: ClientClocks) -> Journal:
            path = tmp_path / "jobs.db"
            made.append(SqliteJournal(path, clock=time.wall, host_clock=time.host))
            return made[-1]

        yield JournalClients(make)
        for journal in made:
            await journal.aclose()
