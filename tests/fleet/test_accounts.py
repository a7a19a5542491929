"""The laws for accounts, uploads and damaged entries, with a journal in PostgreSQL."""

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from a2e_async import A2E
from a2e_async.errors import A2EError
from tests.laws.journal_server import AccountServer
from tests.laws.test_journal_uploads import sound
from tests.samples import LEAST

ONE, TWO = "sk_one_0123456789abcdef", "sk_two_0123456789abcdef"
DUB = LEAST["dubbing"]


@pytest.fixture
async def server(anyio_backend: str) -> AsyncIterator[AccountServer]:
    async with AccountServer() as running:
        yield running


def client(server: AccountServer, url: str, key: str = ONE, **options: Any) -> A2E:
    return A2E(key, base_url=server.url, journal=url, **options)


async def test_two_accounts_in_one_database(server: AccountServer, url: str) -> None:
    async with client(server, url) as one, client(server, url, TWO) as two:
        paid = await one.dubbing.start(**DUB, key="k")
        assert [task async for task in two.unfinished(missing=True)] == []
        own = await two.dubbing.start(**DUB, key="k")
        assert own.ref != paid.ref
    async with client(server, url) as one:
        assert [task.ref async for task in one.unfinished()] == [paid.ref]
        assert (await one.dubbing.start(**DUB, key="k")).ref == paid.ref
    async with client(server, url, account="acme") as named:
        assert (await named.dubbing.start(**DUB, key="k")).ref == paid.ref
    assert len(server.tasks) == 2


@pytest.mark.parametrize("coins", [2**63, 2**70, -1])
async def test_no_price_blocks_the_journal(server: AccountServer, url: str, coins: int) -> None:
    server.coins = str(coins)
    refs = set[str]()
    for _ in range(2):
        async with client(server, url) as a2e:
            refs |= {(await a2e.dubbing.start(**DUB, key=key)).ref for key in "ab"}
    assert len(refs) == len(server.tasks) == 2


async def test_workers_share_their_uploads(server: AccountServer, url: str) -> None:
    async with client(server, url) as one, client(server, url) as two:
        for a2e in (one, two):
            await a2e.dubbing.start(source_url=sound(), target_lang="es")
        assert a2e.journal is not None
        spent = {day.kind: day.coins for day in await a2e.journal.spent()}
    assert len(server.presigned) == 1
    assert spent == {"dubbing": 14, "upload": 1}


@pytest.mark.parametrize("damage", ["rest = '{'", "state = 77", "rest = '{\"colour\": 1}'"])
async def test_an_entry_that_cannot_be_read_hides_no_other(
    server: AccountServer, url: str, damage: str
) -> None:
    async with client(server, url) as a2e:
        refs = [(await a2e.dubbing.start(**DUB, key=key)).ref for key in "abc"]
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(f"UPDATE a2e_jobs SET {damage} WHERE key = 'b'".encode())
    async with client(server, url) as a2e:
        found = [task.ref async for task in a2e.unfinished()]
        assert (found[0], found[-1]) == (refs[0], refs[2])
        if "colour" not in damage:  # this one decodes, without details
            with pytest.raises(A2EError, match="cannot be decoded"):
                await a2e.dubbing.start(**DUB, key="b")
        assert (await a2e.dubbing.start(**DUB, key="c")).ref == refs[2]
        await a2e.dubbing.start(**DUB, key="d")
    assert len(server.tasks) == 4
