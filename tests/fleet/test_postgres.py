"""Failures between a journal and its database, and what they must not cause."""

import asyncio
import os
from contextlib import suppress

import psycopg
import pytest

from a2e_async import A2E
from a2e_async._core.journal.protocol import Entry, State
from a2e_async.contrib.postgres import worker as module
from a2e_async.contrib.postgres.journal import PostgresJournal
from a2e_async.contrib.postgres.schema import MIGRATIONS, SCHEMA_VERSION
from a2e_async.errors import ConfigurationError, JournalError

from .pooler import pooler
from .proxy import proxy
from .server import Server

PASSWORD = "correct horse"


def entry(key: str = "talk-17", **values: object) -> Entry:
    return Entry(**{"key": key, "kind": "dubbing", "digest": "d1", **values})


@pytest.mark.parametrize("forwards", [True, False])
async def test_a_lost_commit_is_read_back(url: str, forwards: bool) -> None:
    """The response to COMMIT is lost: whether it was committed is read, not guessed."""
    async with proxy(url) as way:
        journal = PostgresJournal(way.before(url))
        await journal.open()
        way.cut_at, way.forwards = b"COMMIT", forwards
        begun = await journal.begin(entry(state=State.INTENT))
        assert way.cuts == 1
        assert (begun.is_owner, begun.created) == (True, True)
        way.cut_at = b"COMMIT"
        paid = await journal.advance("talk-17", State.ACCEPTED, ids=("a",), coins=7)
        assert way.cuts == 2
        assert paid is not None
        assert (paid.ids, paid.coins) == (("a",), 7)
        assert await journal.get("talk-17") == paid
        assert sum(day.starts for day in await journal.spent()) == 1
        way.cut_at = b"COMMIT"
        await journal.begin(entry("second"))
        way.cut_at = b"COMMIT"
        assert await journal.drop("second")
        await journal.aclose()


async def test_many_writers_through_a_line_that_is_cut_all_the_time(url: str) -> None:
    async with proxy(url) as way:
        journal = PostgresJournal(way.before(url))
        steps = 0

        async def work(n: int) -> None:
            nonlocal steps
            key = f"k{n}"
            begun = await journal.begin(entry(key, state=State.INTENT))
            assert begun.created, key
            steps += 1
            paid = await journal.advance(key, State.ACCEPTED, ids=(f"id{n}",), coins=1)
            assert paid is not None
            assert (paid.ids, paid.coins) == ((f"id{n}",), 1)
            steps += 1

        async def cutter() -> None:
            cut_at = -1
            while True:
                await asyncio.sleep(0.02)
                if steps != cut_at:  # a line on which nothing ever comes through proves nothing
                    cut_at = steps
                    way.cut()

        cutting = asyncio.create_task(cutter())
        for _ in range(5):
            await asyncio.gather(*(work(n + 100 * _) for n in range(40)))
        cutting.cancel()
        with suppress(asyncio.CancelledError):
            await cutting
        assert [(day.starts, day.coins) for day in await journal.spent()] == [(200, 200)]
        await journal.aclose()


async def test_a_restart_of_the_database_is_waited_out(url: str, postgres: Server) -> None:
    journal, other = PostgresJournal(url), PostgresJournal(url)
    await journal.begin(entry())
    await other.open()
    changes: list[Entry | None] = []
    other.watch("talk-17", changes.append)
    await other.get("talk-17")
    await asyncio.to_thread(postgres.stop)
    stepping = asyncio.create_task(journal.advance("talk-17", State.INTENT))
    await asyncio.sleep(0.2)
    assert not stepping.done()
    await asyncio.to_thread(postgres.start)
    stepped = await stepping
    assert stepped is not None
    assert stepped.state is State.INTENT
    # Leases that could not be renewed meanwhile have not expired.
    assert not await other.acquire("talk-17")
    async with asyncio.timeout(10):
        while not changes:
            await asyncio.sleep(0.01)
    assert changes == [stepped]
    await journal.aclose()
    assert await other.acquire("talk-17")
    await other.aclose()


async def test_queued_operations_are_carried_out_before_it_closes(url: str) -> None:
    journal = PostgresJournal(url)
    await journal.open()
    pending = [asyncio.ensure_future(journal.begin(entry(f"k{n}"))) for n in range(5)]
    await asyncio.sleep(0)  # they are queued; nothing was carried out
    await journal.aclose()
    assert all([(await begun).created for begun in pending])


async def test_a_database_that_stays_away_is_reported(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECONNECT_TIMEOUT", 0.2)
    async with proxy(url) as way:
        journal = PostgresJournal(way.before(url))
        await journal.begin(entry())
        way.refuses = True
        way.cut()
        with pytest.raises(JournalError, match=r"127\.0\.0\.1/postgres cannot be used"):
            await journal.advance("talk-17", State.INTENT)
        way.refuses = False
        kept = await journal.advance("talk-17", State.INTENT)
        assert kept is not None
        assert kept.state is State.INTENT
        await journal.aclose()


async def test_two_workers_that_begin_one_key_at_once(url: str) -> None:
    journals = [PostgresJournal(url) for _ in range(6)]
    await asyncio.gather(*(journal.open() for journal in journals))
    for n in range(20):
        begun = await asyncio.gather(*(journal.begin(entry(str(n))) for journal in journals))
        assert sum(one.created for one in begun) == 1
        assert sum(one.is_owner for one in begun) == 1
        assert len({one.entry.owner for one in begun}) == 1
    await asyncio.gather(*(journal.aclose() for journal in journals))


async def test_prepared_statements_that_the_database_does_not_know(url: str) -> None:
    """They are prepared again on a new connection; the entry is written once."""
    journal = PostgresJournal(url)
    for n in range(5):
        await journal.begin(entry(str(n)))
    connection = journal._worker._connection
    assert connection is not None
    connection.pgconn.exec_(b"DEALLOCATE ALL")  # unseen by the driver
    begun = await journal.begin(entry("new"))
    assert (begun.created, begun.is_owner) == (True, True)
    assert len((await journal.entries())[0]) == 6
    await journal.aclose()


async def test_workers_that_make_the_tables_at_once(url: str) -> None:
    journals = [PostgresJournal(url) for _ in range(6)]
    await asyncio.gather(*(journal.open() for journal in journals))
    await asyncio.gather(*(journal.aclose() for journal in journals))


async def test_the_tables_of_every_earlier_version_are_brought_up_to_date(url: str) -> None:
    for version in range(1, SCHEMA_VERSION):
        with psycopg.connect(url, autocommit=True) as db:
            for table in (
                "uploads",
                "leaders",
                "paces",
                "pruned",
                "watches",
                "owners",
                "tasks",
                "jobs",
                "version",
            ):
                db.execute(f"DROP TABLE IF EXISTS a2e_{table}".encode())
            for migration in MIGRATIONS[:version]:
                db.execute(migration.encode())
            db.execute("CREATE TABLE a2e_version (version int)")
            db.execute("INSERT INTO a2e_version VALUES (%s)", (version,))
        journal = PostgresJournal(url)
        assert (await journal.begin(entry())).created
        await journal.aclose()
        with psycopg.connect(url) as db:
            assert db.execute("SELECT version FROM a2e_version").fetchall() == [(SCHEMA_VERSION,)]
            assert db.execute("SELECT FROM a2e_leaders").fetchall() == []


async def test_a_later_version_is_not_touched(url: str) -> None:
    journal = PostgresJournal(url)
    await journal.open()
    await journal.aclose()
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("UPDATE a2e_version SET version = 99")
    with pytest.raises(JournalError, match=r"version 99.*Update a2e-async"):
        await PostgresJournal(url).open()


async def test_every_step_is_durable_whatever_the_role_says(url: str) -> None:
    journal = PostgresJournal(f"{url}%20-csynchronous_commit%3Doff")
    await journal.open()
    rows = await journal._select("SHOW synchronous_commit")
    assert rows == [("on",)]
    await journal.aclose()


async def test_a_value_that_cannot_be_stored_affects_no_other_operation(url: str) -> None:
    journal = PostgresJournal(url)
    await journal.open()
    long = asyncio.create_task(journal.begin(entry("".join(map(chr, range(256, 9000))))))
    fine = asyncio.create_task(journal.begin(entry("fine")))
    with pytest.raises(JournalError, match="cannot be used"):
        await long
    assert (await fine).created
    for wrong in ("nul\0", "\ud800"):
        with pytest.raises(JournalError, match="cannot store"):
            await journal.begin(entry(wrong))
    with pytest.raises(JournalError, match="cannot store"):
        await journal.begin(entry("x", meta={"x": object()}))
    await journal.aclose()


async def test_a_child_process_is_refused(url: str) -> None:
    journal = PostgresJournal(url)
    await journal.begin(entry())
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            journal.watch("x", print)
        except JournalError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    await asyncio.to_thread(os.waitpid, child, 0)
    assert b"before the process was forked" in os.read(reading, 1000)
    os.close(reading)
    os.close(writing)
    assert await journal.acquire("talk-17")
    await journal.aclose()


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{PASSWORD.replace(' ', '%20')}@127.0.0.1:1/jobs",
        f"postgresql://me@127.0.0.1:1/jobs?password={PASSWORD.replace(' ', '%20')}",
    ],
)
async def test_the_password_is_never_shown(
    url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECONNECT_TIMEOUT", 0)
    caplog.set_level(0)
    journal = PostgresJournal(url)
    with pytest.raises(JournalError) as caught:
        await journal.open()
    a2e = A2E("key", base_url="http://127.0.0.1:1", journal=url)
    shown = [repr(journal), str(caught.value), repr(caught.value), repr(a2e), caplog.text]
    shown += [repr(caught.value.__cause__), repr(a2e.journal), repr(journal.target)]
    assert "127.0.0.1/jobs" in repr(journal)
    for text in shown:
        assert PASSWORD not in text
        assert "horse" not in text
    await journal.aclose()
    await a2e.aclose()


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{PASSWORD}@host with spaces/x y",
        f"postgresql://me:{PASSWORD}@host:port/jobs?what={PASSWORD}",
        f"postgres+asyncpg://me:{PASSWORD}@host/jobs",
        f"mysql://me:{PASSWORD}@host",
    ],
)
def test_a_wrong_url_is_reported_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match="postgresql://") as caught:
        A2E("key", base_url="http://127.0.0.1:1", journal=url)
    error: BaseException | None = caught.value
    while error is not None:
        assert "horse" not in str(error)
        error = error.__cause__ or error.__context__


async def test_changes_during_a_disconnection_are_reported(url: str) -> None:
    async with proxy(url) as way:
        journal, other = PostgresJournal(way.before(url)), PostgresJournal(url)
        changes: list[str] = []
        journal.watch_all(lambda entry: changes.append(entry.key))
        await journal.open()
        way.refuses = True
        way.cut()
        await other.begin(entry("missed"))
        way.refuses = False
        await journal.get("missed")
        assert "missed" in changes
        await journal.aclose()
        await other.aclose()


async def test_a_database_that_starts_later_is_waited_for(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The first connection has as much time as any other; why it waits is logged once."""
    monkeypatch.setattr(module, "REFUSED_TIMEOUT", 0.0)
    async with proxy(url) as way:
        way.refuses = True
        journal = PostgresJournal(way.before(url))
        opening = asyncio.create_task(journal.open())
        async with asyncio.timeout(60):
            while "waiting up to 45 s for 127.0.0.1/postgres" not in caplog.text:
                await asyncio.sleep(0.02)
        assert not opening.done()
        way.refuses = False
        await opening
        assert caplog.text.count("waiting up to") == 1
        await journal.aclose()


async def test_closing_does_not_wait_for_a_database_that_was_never_there(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RECONNECT_TIMEOUT", 1e9)
    async with proxy(url) as way:
        way.refuses = True
        journal = PostgresJournal(way.before(url))
        opening = asyncio.create_task(journal.open())
        async with asyncio.timeout(60):
            while "waiting up to" not in caplog.text:
                await asyncio.sleep(0.02)
            await journal.aclose()
        with pytest.raises(JournalError, match="cannot be used"):
            await opening


async def test_an_address_that_the_database_refuses_is_reported_soon(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFUSED_TIMEOUT", 0.0)
    monkeypatch.setattr(module, "RECONNECT_TIMEOUT", 1e9)
    for old, new in (("a2e:", "nobody:"), ("/postgres", "/nothing")):
        with pytest.raises(JournalError, match=r'cannot be used.*"no\w+" does not exist'):
            await PostgresJournal(url.replace(old, new, 1)).open()


async def test_a_pooler_that_gives_sessions_away_is_refused(url: str) -> None:
    async with pooler(url, keeps_sessions=False) as way:
        with pytest.raises(JournalError, match=r"pool_mode = transaction.*pool_mode = session"):
            await PostgresJournal(way.before(url)).open()


async def test_a_pooler_that_keeps_sessions_is_used(url: str) -> None:
    async with pooler(url, keeps_sessions=True) as way:
        journal = PostgresJournal(way.before(url))
        assert (await journal.begin(entry())).created
        changes: list[str] = []
        journal.watch_all(lambda entry: changes.append(entry.key))
        await journal.get("talk-17")
        other = PostgresJournal(url)
        await other.begin(entry("second"))
        async with asyncio.timeout(60):
            while "second" not in changes:
                await asyncio.sleep(0.02)
        await journal.aclose()
        await other.aclose()
