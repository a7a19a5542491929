"""Runs the contract for each journal, and for the model that they are compared with."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from a2e_async.tasks.journal import Journal
from a2e_async.tasks.journal_sqlite import SqliteJournal

from .contract import Clients, JournalContract
from .model import ModelJournal, Time, World


class TestModel(JournalContract):
    @pytest.fixture
    def clients(self) -> Clients:
        world = World()
        return Clients(lambda time: ModelJournal(world, uuid4().hex, time), world)


class TestSqlite(JournalContract):
    @pytest.fixture
    async def clients(self, tmp_path: Path) -> AsyncIterator[Clients]:
        made: list[Journal] = []

        def make(time: Time) -> Journal:
            path = tmp_path / "jobs.db"
            made.append(SqliteJournal(path, clock=time.wall, host_clock=time.host))
            return made[-1]

        yield Clients(make)
        for journal in made:
            await journal.aclose()
