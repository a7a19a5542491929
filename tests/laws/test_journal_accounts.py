"""Law 9: a client uses only the journal entries of its own account."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E
from a2e_async._core.journal.protocol import Entry, State
from a2e_async._core.journal.sqlite import SqliteJournal
from a2e_async.errors import ConfigurationError, TaskGone

from .journal_server import AccountServer

ONE, TWO = "sk_one_0123456789abcdef", "sk_two_0123456789abcdef"
DUB = {"source_url": "https://media.example/talk.wav", "target_lang": "es"}


@pytest.fixture
async def server(anyio_backend: str) -> AsyncIterator[AccountServer]:
    async with AccountServer() as running:
        yield running


def client(server: AccountServer, key: str, path: Path, **options: Any) -> A2E:
    settings = {"base_url": server.url, "rate": None, "poll_interval": 0.02, **options}
    return A2E(key, journal=path / "jobs.db", **settings)


async def test_another_accounts_task_is_neither_given_out_nor_closed(
    server: AccountServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with client(server, ONE, tmp_path) as a2e:
        paid = await a2e.dubbing.start(**DUB, key="shared")
    with caplog.at_level(logging.WARNING):
        async with client(server, TWO, tmp_path) as a2e:
            assert [task async for task in a2e.unfinished(missing=True)] == []
            assert [task async for task in a2e.unfinished()] == []
            assert a2e.journal is not None
            assert await a2e.journal.get("shared") is None
            assert await a2e.journal.find("dubbing", paid.ids[0]) is None
            assert (await a2e.journal.entries())[0] == []
            assert await a2e.journal.spent() == []
    said = [message for message in caplog.messages if "other accounts" in message]
    assert len(said) == 1
    assert "1 entries of other accounts in this journal were skipped (1 of them open)" in said[0]
    async with client(server, ONE, tmp_path) as a2e:
        assert [task.ref async for task in a2e.unfinished()] == [paid.ref]
        assert (await a2e.dubbing.start(**DUB, key="shared")).ref == paid.ref
    assert len(server.tasks) == 1


@pytest.mark.parametrize("inputs", [DUB, {**DUB, "target_lang": "fr"}], ids=["equal", "other"])
async def test_one_key_in_two_accounts_is_two_starts(
    server: AccountServer, tmp_path: Path, inputs: dict[str, Any]
) -> None:
    """With equal or different inputs: neither gets the other's task, and there is no conflict."""
    server.finish()
    async with client(server, ONE, tmp_path) as one, client(server, TWO, tmp_path) as two:
        tasks = [
            await one.dubbing.start(**DUB, key="k"),
            await two.dubbing.start(**inputs, key="k"),
        ]
        assert tasks[0].ref != tasks[1].ref
        assert (server.paid(ONE), server.paid(TWO)) == (1, 1)
        for task in tasks:
            assert len(await task.download(tmp_path / "out")) == 1


async def test_two_accounts_on_two_hosts(tmp_path: Path) -> None:
    """The same API key on another host is another account."""
    async with AccountServer() as first, AccountServer() as second:
        for server in (first, second):
            async with client(server, ONE, tmp_path) as a2e:
                assert [task async for task in a2e.unfinished()] == []
                await a2e.dubbing.start(**DUB, key="k")
        assert (len(first.tasks), len(second.tasks)) == (1, 1)


async def test_the_way_the_host_is_written_makes_no_other_account(
    server: AccountServer, tmp_path: Path
) -> None:
    refs = set[str]()
    for base_url in (server.url, f"{server.url}/api/v1/", server.url.replace("http", "HTTP")):
        async with client(server, ONE, tmp_path, base_url=base_url) as a2e:
            refs.add((await a2e.dubbing.start(**DUB, key="k")).ref)
    assert len(refs) == len(server.tasks) == 1


async def test_a_named_account_outlives_its_key(
    server: AccountServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it is named after its first starts, but before its API key changes."""
    async with client(server, ONE, tmp_path) as a2e:
        first = await a2e.dubbing.start(**DUB, key="k")
    async with client(server, ONE, tmp_path, account="acme") as a2e:
        assert [task.ref async for task in a2e.unfinished()] == [first.ref]
    monkeypatch.setenv("A2E_ACCOUNT", "acme")
    async with client(server, TWO, tmp_path) as a2e:
        assert (await a2e.dubbing.start(**DUB, key="k")).ref == first.ref
        assert [task.ref async for task in a2e.unfinished()] == [first.ref]
    async with client(server, TWO, tmp_path, account="other") as a2e:
        assert [task async for task in a2e.unfinished()] == []
    assert len(server.tasks) == 1


async def test_an_entry_without_an_account_is_hidden_by_none(
    server: AccountServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a journal from before accounts, another account's 404 does not mean a missing task."""
    monkeypatch.setattr("a2e_async._core.polling.schedule.NOT_FOUND_SECONDS", 0.1)
    monkeypatch.setattr("a2e_async._core.polling.schedule.UNCONFIRMED_NOT_FOUND_SECONDS", 0.1)
    async with A2E(ONE, base_url=server.url, rate=None) as a2e:
        paid = await a2e.dubbing.start(**DUB)
    old = SqliteJournal(str(tmp_path / "jobs.db"))
    await old.begin(
        Entry(key="k", kind="dubbing", digest="d", state=State.ACCEPTED, path="/", ids=paid.ids)
    )
    await old.aclose()
    async with client(server, TWO, tmp_path) as a2e:
        for task in [task async for task in a2e.unfinished()]:
            with pytest.raises(TaskGone):
                await task.wait(timeout=20)
    server.finish()
    async with client(server, ONE, tmp_path) as a2e:
        (found,) = [task async for task in a2e.unfinished()]
        assert (await found.wait(timeout=20)).output


@pytest.mark.parametrize("name", ["", " ", "a b", "a@b", "x" * 65, "ä", 7, b"acme"])
def test_an_account_name_is_plain(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="account must be a name"):
        A2E(ONE, base_url="http://127.0.0.1:1", account=name)


async def test_no_key_is_in_the_journal(server: AccountServer, tmp_path: Path) -> None:
    async with client(server, ONE, tmp_path) as a2e:
        await a2e.dubbing.start(**DUB, key="k")
    content = (tmp_path / "jobs.db").read_bytes()
    assert ONE.encode() not in content
    assert ONE[3:].encode() not in content
