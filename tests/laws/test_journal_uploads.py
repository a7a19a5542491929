"""Law 8: upload charges are counted, and each content is charged once per day."""

import asyncio
import io
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E, Budget
from a2e_async._core.journal.sqlite import SqliteJournal
from a2e_async.errors import A2EError, ClientClosed, JournalError

from .journal_server import AccountServer

ONE, TWO = "sk_one_0123456789abcdef", "sk_two_0123456789abcdef"


def sound(n: int = 0) -> bytes:
    """Return one second of WAV audio that depends on the number."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(n.to_bytes(2, "little") * 8000)
    return made.getvalue()


@pytest.fixture
async def server(anyio_backend: str) -> AsyncIterator[AccountServer]:
    async with AccountServer() as running:
        yield running


def client(server: AccountServer, journal: Any, key: str = ONE, **options: Any) -> A2E:
    settings = {"base_url": server.url, "rate": None, "poll_interval": 0.02, **options}
    return A2E(key, journal=journal, **settings)


async def test_a_second_client_uses_the_upload_of_the_first(
    server: AccountServer, tmp_path: Path
) -> None:
    """Also when both run, for starts as for files.upload()."""
    path = tmp_path / "jobs.db"
    urls = set[str]()
    async with client(server, path) as one, client(server, path) as two:
        await one.dubbing.start(source_url=sound(), target_lang="es")
        await two.dubbing.start(source_url=sound(), target_lang="fr")
        urls |= {task["body"]["source_url"] for task in server.tasks.values()}
        urls.add(await two.files.upload(sound()))
    async with client(server, path) as a2e:
        urls.add(await a2e.files.upload(sound()))
    assert len(urls) == len(server.presigned) == 1
    async with client(server, path) as a2e:
        await a2e.files.upload(sound(1))
        assert a2e.journal is not None
        spent = {day.kind: (day.coins, day.starts) for day in await a2e.journal.spent()}
    assert spent == {"dubbing": (14, 2), "upload": (2, 2)}


async def test_another_account_uploads_for_itself(server: AccountServer, tmp_path: Path) -> None:
    for key in (ONE, TWO, ONE):
        async with client(server, tmp_path / "jobs.db", key) as a2e:
            await a2e.files.upload(sound())
    assert server.presigned == [ONE, TWO]


async def test_an_upload_is_not_used_after_its_day(server: AccountServer, tmp_path: Path) -> None:
    for _ in range(2):
        async with client(server, tmp_path / "jobs.db") as a2e:
            a2e._components.uploader.reuse_seconds = 0.0
            await a2e.files.upload(sound())
    assert len(server.presigned) == 2


async def test_no_signature_is_kept(server: AccountServer, tmp_path: Path) -> None:
    async with client(server, tmp_path / "jobs.db") as a2e:
        await a2e.dubbing.start(source_url=sound(), target_lang="es")
    assert b"5ecret" not in (tmp_path / "jobs.db").read_bytes()


async def test_a_batch_counts_the_uploads_of_earlier_runs(
    server: AccountServer, tmp_path: Path
) -> None:
    """For jobs that are done, that are in progress, and whose key is started separately."""
    server.finish()
    counted = list[int]()
    for run in range(3):
        budget = Budget(1_000)
        async with client(server, tmp_path / "jobs.db") as a2e:
            jobs = [
                a2e.dubbing.job(source_url=sound(n % 4), target_lang="es", key=str(n))
                for n in range(6)
            ]
            out = None if run == 2 else tmp_path / "out"
            async for outcome in a2e.batch(jobs, budget=budget, download_to=out):
                assert outcome.ok
        counted.append(budget.spent)
    assert (len(server.presigned), len(server.tasks)) == (4, 6)
    assert counted == [4 * 1 + 6 * 7] * 3


async def test_the_costs_of_an_upload_are_those_of_its_budget(
    server: AccountServer, tmp_path: Path
) -> None:
    path = tmp_path / "jobs.db"
    async with client(server, path, budget=Budget(100, upload_cost=3)) as a2e:
        await a2e.dubbing.start(source_url=sound(), target_lang="es", key="k")
        assert a2e.journal is not None
        entry = await a2e.journal.get("k")
        assert entry is not None
        assert (entry.coins, entry.uploads, entry.cost) == (7, 3, 10)
        assert sum(day.coins + day.reserved for day in await a2e.journal.spent()) == 10


async def test_a_journal_that_cannot_be_reached_costs_no_upload(
    server: AccountServer, tmp_path: Path
) -> None:
    class Away(SqliteJournal):
        async def open(self) -> None:
            raise JournalError("The database is away.")

        async def begin(self, entry: Any) -> Any:
            raise JournalError("The database is away.")

    for key in ("k", None):
        async with client(server, Away(tmp_path / "jobs.db")) as a2e:
            with pytest.raises(JournalError, match="is away"):
                await a2e.dubbing.start(source_url=sound(), target_lang="es", key=key)
    assert (server.presigned, server.tasks) == ([], {})


async def test_clients_that_upload_one_content_at_once_pay_at_most_once_each(
    server: AccountServer, tmp_path: Path
) -> None:
    path = tmp_path / "jobs.db"
    async with client(server, path) as one, client(server, path) as two:
        await asyncio.gather(*(a2e.files.upload(sound()) for a2e in (one, one, two, two)))
        before = len(server.presigned)
        assert before <= 2
        await asyncio.gather(one.files.upload(sound()), two.files.upload(sound()))
    assert len(server.presigned) == before


async def test_lost_and_older_upload_urls_count(server: AccountServer, tmp_path: Path) -> None:
    """An upload URL whose response was lost is reserved; so are those of the older operations."""
    async with client(server, tmp_path / "jobs.db") as a2e:
        assert a2e.journal is not None
        server.lose_presigned = True
        for lost in (
            lambda: a2e.files.upload(sound()),
            lambda: a2e.legacy.upload_permit("talk.wav"),
        ):
            with pytest.raises(A2EError):
                await lost()
        server.lose_presigned = False
        await a2e.legacy.upload_permit("talk.wav")
        spent = await a2e.journal.spent()
    assert len(server.presigned) == 3
    assert sum(day.coins for day in spent) == 1
    assert sum(day.reserved for day in spent) == 2


async def test_an_upload_url_counts_if_the_client_is_closed_before_the_response(
    server: AccountServer, tmp_path: Path
) -> None:
    """As reserved: its request was sent, so it may have been charged."""
    server.presign_delay = 60
    async with client(server, tmp_path / "jobs.db") as a2e:
        upload = asyncio.ensure_future(a2e.files.upload(sound()))
        while not server.presigned:
            await asyncio.sleep(0.001)
        await a2e._components.uploader.aclose(timeout=0)
        with pytest.raises(ClientClosed):
            await upload
        assert a2e.journal is not None
        assert [(day.coins, day.reserved) for day in await a2e.journal.spent()] == [(0, 1)]
