"""The journal in PostgreSQL fulfils the same contract as all journals."""

from collections.abc import AsyncIterator

import pytest

from a2e_async._core.journal.protocol import Journal
from a2e_async.contrib.postgres.journal import PostgresJournal
from tests.journal.contract import JournalClients, JournalContract
from tests.journal.model import ClientClocks


class TestPostgres(JournalContract):
    @pytest.fixture
    async def clients(self, url: str) -> AsyncIterator[JournalClients]:
        made: list[Journal] = []

        def make(time: ClientClocks) -> Journal:
            made.append(PostgresJournal(url, clock=time.wall, host_clock=time.host))
            return made[-1]

        yield JournalClients(make)
        for journal in made:
            await journal.aclose()
