"""The journal in PostgreSQL fulfils the same contract as all journals."""

from collections.abc import AsyncIterator

import pytest

from a2e_async.contrib.postgres import PostgresJournal
from a2e_async.tasks.journal import Journal
from tests.journal.contract import Clients, JournalContract
from tests.journal.model import Time


class TestPostgres(JournalContract):
    @pytest.fixture
    async def clients(self, url: str) -> AsyncIterator[Clients]:
        made: list[Journal] = []

        def make(time: Time) -> Journal:
            made.append(PostgresJournal(url, clock=time.wall, host_clock=time.host))
            return made[-1]

        yield Clients(make)
        for journal in made:
            await journal.aclose()
