"""Law 3: every charged id is journaled, whatever its price and whenever the journal fails."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E
from a2e_async._core.journal.protocol import State
from a2e_async._core.journal.sqlite import SqliteJournal
from a2e_async.errors import JournalError

from .journal_server import AccountServer

KEY = "sk_one_0123456789abcdef"
DUB = {"source_url": "https://media.example/talk.wav", "target_lang": "es"}


@pytest.fixture
async def server(anyio_backend: str) -> AsyncIterator[AccountServer]:
    async with AccountServer() as running:
        yield running


def client(server: AccountServer, journal: Any, **options: Any) -> A2E:
    settings = {"base_url": server.url, "rate": None, "poll_interval": 0.02, **options}
    return A2E(KEY, journal=journal, **settings)


async def entries(path: Path) -> dict[str, tuple[str, ...]]:
    journal = SqliteJournal(path)
    found, _ = await journal.entries()
    await journal.aclose()
    return {entry.key: entry.ids for entry in found}


class Failing(SqliteJournal):
    """A journal that fails to write ids, while ``broken`` or for the keys in ``refuses``."""

    broken = False
    refuses: frozenset[str] = frozenset()
    tries = 0

    async def advance(self, key: str, state: State, **values: Any) -> Any:
        if state >= State.ACCEPTED and (self.broken or key in self.refuses):
            self.tries += 1
            await asyncio.sleep(0.01)
            raise JournalError("The disk is full.")
        return await super().advance(key, state, **values)


@pytest.mark.parametrize(
    "coins",
    [
        *("9223372036854775808", "1180591620717411303424", "1e400", "-5", "-9223372036854775809"),
        *("true", "7.5", "NaN", "Infinity", '"7"', '"9e99"', "[7]", '{"a": 1}', "null", "0"),
    ],
)
async def test_no_price_blocks_the_journal(
    server: AccountServer, tmp_path: Path, coins: str
) -> None:
    """The id of the start is written, and later starts and processes continue."""
    server.coins = coins
    refs = dict[str, set[str]]()
    for _ in range(2):
        async with client(server, tmp_path / "jobs.db") as a2e:
            for key in ("a", "b"):
                refs.setdefault(key, set()).add((await a2e.dubbing.start(**DUB, key=key)).ref)
            assert a2e.journal is not None
            assert all(0 <= day.coins < 2**53 for day in await a2e.journal.spent())
    assert all(len(found) == 1 for found in refs.values())
    assert {id for ids in (await entries(tmp_path / "jobs.db")).values() for id in ids} == set(
        server.tasks
    )


async def test_starts_at_once_write_every_unwritten_id(
    server: AccountServer, tmp_path: Path
) -> None:
    journal = Failing(tmp_path / "jobs.db")
    async with client(server, journal) as a2e:
        journal.broken = True
        await asyncio.gather(*(a2e.dubbing.start(**DUB, key=key) for key in "abc"))
        journal.broken, journal.refuses = False, frozenset("b")
        more = [a2e.dubbing.start(**DUB, key=key) for key in "def"]
        answers = await asyncio.gather(*more, return_exceptions=True)
        # An id that still cannot be written blocks further starts, but does not keep other ids
        # from being written.
        assert [type(answer) for answer in answers] == [JournalError] * 3
        assert len(server.tasks) == 3
        written = await entries(tmp_path / "jobs.db")
        assert [bool(written[key]) for key in "abc"] == [True, False, True]
        journal.refuses = frozenset()
        more = [a2e.dubbing.start(**DUB, key=key) for key in "def"]
        assert len({task.ref for task in await asyncio.gather(*more)}) == 3
    written = await entries(tmp_path / "jobs.db")
    assert sorted(written) == list("abcdef")
    assert {id for ids in written.values() for id in ids} == set(server.tasks)


async def test_a_start_cancelled_while_ids_are_written_loses_none(
    server: AccountServer, tmp_path: Path
) -> None:
    journal = Failing(tmp_path / "jobs.db")
    async with client(server, journal) as a2e:
        journal.broken = True
        await asyncio.gather(*(a2e.dubbing.start(**DUB, key=key) for key in "ab"))
        journal.tries = 0
        start = asyncio.ensure_future(a2e.dubbing.start(**DUB, key="c"))
        while not journal.tries:
            await asyncio.sleep(0)
        start.cancel()  # while it writes the pending ids
        with pytest.raises(asyncio.CancelledError):
            await start
        journal.broken = False
    assert len(server.tasks) == 2
    written = await entries(tmp_path / "jobs.db")
    assert {id for ids in written.values() for id in ids} == set(server.tasks)


async def test_unwritten_entries_are_written_when_the_client_closes(
    server: AccountServer, tmp_path: Path
) -> None:
    journal = Failing(tmp_path / "jobs.db")
    async with client(server, journal) as a2e:
        journal.broken = True
        task = await a2e.dubbing.start(**DUB, key="a")
        journal.broken = False
    assert await entries(tmp_path / "jobs.db") == {"a": task.ids}


async def test_closing_a_client_that_did_nothing_makes_no_journal(
    server: AccountServer, tmp_path: Path
) -> None:
    for account in (None, "acme"):
        async with client(server, tmp_path / "jobs.db", account=account):
            pass
    assert list(tmp_path.iterdir()) == []


async def test_closing_says_which_paid_tasks_could_not_be_written(
    server: AccountServer, tmp_path: Path
) -> None:
    journal = Failing(tmp_path / "jobs.db")
    a2e = client(server, journal)
    journal.broken = True
    task = await a2e.dubbing.start(**DUB, key="a")
    with pytest.raises(JournalError, match=f"paid and not in the journal: {task.ref}"):
        await a2e.aclose()
    assert a2e.closed
    await a2e.aclose()  # logged once
