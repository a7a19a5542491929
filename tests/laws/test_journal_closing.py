"""Law 5: an entry closes by its files, by ack(), by the API's own failure, or by the user."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E
from a2e_async._core.journal.protocol import Entry, State
from a2e_async._core.journal.sqlite import SqliteJournal
from a2e_async.errors import A2EError, TaskFailed

from .journal_server import AccountServer

KEY = "sk_one_0123456789abcdef"
DUB = {"source_url": "https://media.example/talk.wav", "target_lang": "es"}


@pytest.fixture
async def server(anyio_backend: str) -> AsyncIterator[AccountServer]:
    async with AccountServer() as running:
        yield running


@pytest.fixture
async def a2e(server: AccountServer, tmp_path: Path) -> AsyncIterator[A2E]:
    path = tmp_path / "jobs.db"
    async with A2E(KEY, base_url=server.url, rate=None, poll_interval=0.02, journal=path) as made:
        yield made


async def entry_of(a2e: A2E, key: str = "k") -> Entry:
    assert a2e.journal is not None
    entry = await a2e.journal.get(key)
    assert entry is not None
    return entry


async def test_a_saved_result_closes_it(server: AccountServer, a2e: A2E, tmp_path: Path) -> None:
    server.finish()
    task = await a2e.dubbing.start(**DUB, key="k")
    await task
    assert ((await entry_of(a2e)).open, (await entry_of(a2e)).closed_by) == (True, None)
    await task.download(tmp_path / "out")
    assert ((await entry_of(a2e)).open, (await entry_of(a2e)).closed_by) == (False, "saved")
    await task.ack()
    assert (await entry_of(a2e)).closed_by == "saved"


async def test_an_acknowledged_one_is_closed(server: AccountServer, a2e: A2E) -> None:
    server.finish()
    task = await a2e.dubbing.start(**DUB, key="k")
    await task
    await task.ack()
    assert ((await entry_of(a2e)).open, (await entry_of(a2e)).closed_by) == (False, "acknowledged")


async def test_what_the_api_calls_failed_is_closed(server: AccountServer, a2e: A2E) -> None:
    secret = "https://media.example/talk.wav?X-Amz-Signature=5ecret"
    server.record = {"current_status": "failed", "failed_message": f"cannot read {secret} \ud800"}
    task = await a2e.dubbing.start(**DUB, key="k")
    with pytest.raises(TaskFailed):
        await task
    entry = await entry_of(a2e)
    assert (entry.open, entry.closed_by) == (False, "failed")
    assert "cannot read" in (entry.failure or "")
    assert "5ecret" not in (entry.failure or "")


async def test_completed_without_its_result_stays_open(server: AccountServer, a2e: A2E) -> None:
    server.record = {"current_status": "completed"}
    task = await a2e.dubbing.start(**DUB, key="k")
    with suppress(A2EError):
        await task.wait(timeout=0.3)
    entry = await entry_of(a2e)
    assert (entry.open, entry.closed_by) == (True, None)
    assert [one.ref async for one in a2e.unfinished()] == [task.ref]


async def test_a_missing_task_stays_open_and_can_come_back(
    server: AccountServer, a2e: A2E, tmp_path: Path
) -> None:
    """However its absence was confirmed; the client records only that it is missing."""
    task = await a2e.dubbing.start(**DUB, key="k")
    recorder = a2e._components.recorder
    assert recorder is not None
    await recorder.record_end(task, None)
    entry = await entry_of(a2e)
    assert (entry.open, entry.missing, entry.closed_by) == (True, True, None)
    assert [one async for one in a2e.unfinished()] == []
    assert [one.ref async for one in a2e.unfinished(missing=True)] == [task.ref]
    since = entry.missing_since
    await recorder.record_end(task, None)
    assert (await entry_of(a2e)).missing_since == since
    server.finish()
    again = await a2e.dubbing.start(**DUB, key="k")
    assert again.ref == task.ref
    await again.download(tmp_path / "out")
    entry = await entry_of(a2e)
    assert (entry.open, entry.missing_since, entry.closed_by) == (False, None, "saved")
    assert len(server.tasks) == 1


# -- what the user does about a missing task ---------------------------------------------------


@pytest.fixture
def missing(tmp_path: Path) -> Path:
    """A journal with two tasks, one of which the service has lost."""
    path = tmp_path / "jobs.db"
    asyncio.run(_begin_two(path))
    return path


async def _begin_two(path: Path) -> None:
    journal = SqliteJournal(path)
    for key in ("gone", "there"):
        paid: Any = {"state": State.ACCEPTED, "ids": (f"66ea4dd8-{key}",), "coins": 7}
        await journal.begin(Entry(key=key, kind="dubbing", digest="d", **paid))
    await journal.advance("gone", State.ACCEPTED, missing_since=1_700_000_000.0)
    await journal.aclose()


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "a2e_async", "journal", *words],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_line_shows_settles_and_prunes_it(missing: Path) -> None:
    listed = command("list", str(missing))
    assert [line.split()[2] for line in listed.stdout.splitlines()] == [
        "STATE",
        "missing",
        "running",
    ]
    assert "a2e journal settle" in listed.stderr
    shown = command("show", str(missing), "gone")
    assert "missing since" in shown.stdout
    pruned = command("prune", str(missing), "--older-than", "30d", "--yes")
    assert pruned.stdout == "0 deleted\n"
    settled = command("settle", str(missing), "gone", "--as", "paid", "--yes")
    assert settled.stdout == "gone settled as paid and lost\n"
    (entry,) = json.loads(command("list", str(missing), "--all", "--json").stdout)["items"][:1]
    assert (entry["open"], entry["closed_by"], entry["coins"]) == (False, "settled", 7)
    refused = command("settle", str(missing), "there", "--as", "paid", "--yes")
    assert refused.returncode != 0
    assert "a2e journal resume waits for it" in refused.stderr


def test_a_missing_one_whose_coins_came_back_costs_nothing(missing: Path) -> None:
    settled = command("settle", str(missing), "gone", "--as", "unpaid", "--yes")
    assert settled.stdout == "gone settled as refunded\n"
    (entry,) = json.loads(command("list", str(missing), "--all", "--json").stdout)["items"][:1]
    assert (entry["open"], entry["closed_by"], entry["coins"]) == (False, "settled", 0)


def test_missing_ones_are_pruned_on_request(missing: Path) -> None:
    pruned = command("prune", str(missing), "--older-than", "30d", "--missing", "--yes")
    assert pruned.stdout == "1 deleted\n"
    items = json.loads(command("list", str(missing), "--all", "--json").stdout)["items"]
    assert [item["key"] for item in items] == ["there"]


# -- an entry that cannot be read ---------------------------------------------------------------


@pytest.mark.parametrize(
    "damage", ["meta = '{'", "state = 77", "paths = '[]x'", "ids = x'00ff'", "urls = '7'"]
)
async def test_an_entry_that_cannot_be_read_hides_no_other(
    server: AccountServer, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "jobs.db"
    for n in range(2):
        options: Any = {"rate": None, "journal": path}
        async with A2E(KEY, base_url=server.url, **options) as a2e:
            if not n:
                tasks = [await a2e.dubbing.start(**DUB, key=key) for key in "abc"]
            else:
                assert [task.ref async for task in a2e.unfinished()] == [tasks[0].ref, tasks[2].ref]
                with pytest.raises(A2EError):
                    await a2e.dubbing.start(**DUB, key="b")
                assert (await a2e.dubbing.start(**DUB, key="c")).ref == tasks[2].ref
                await a2e.dubbing.start(**DUB, key="d")
                assert a2e.journal is not None
                seen, _ = await a2e.journal.entries()
                assert [entry.key for entry in seen] == ["a", "c", "d"]
        if not n:
            with closing(sqlite3.connect(path)) as db, db:
                db.execute(f"UPDATE jobs SET {damage} WHERE key = 'b'")
    assert len(server.tasks) == 4
    assert "unreadable journal entry: key 'b'" in caplog.text
