"""The file of a SQLite journal: creation, migration, and the files it refuses."""

import asyncio
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from a2e_async._core.journal import rows, sqlite_file
from a2e_async._core.journal.protocol import Entry, SpendSummary, State
from a2e_async._core.journal.sqlite import SqliteJournal
from a2e_async.errors import JournalError

from .conftest import plain
from .contract import entry, keys

VERSIONS = sorted((Path(__file__).parent / "versions").glob("*.sql"))


# -- the file ------------------------------------------------------------------------------


async def test_its_files_are_for_the_owner_alone(journal: SqliteJournal, path: Path) -> None:
    await journal.begin(entry())
    modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}
    assert modes == {"jobs.db": 0o600, "jobs.db-wal": 0o600, "jobs.db-shm": 0o600}


def test_it_is_as_durable_as_can_be(path: Path) -> None:
    names = ("journal_mode", "synchronous", "fullfsync", "checkpoint_fullfsync")
    with closing(sqlite_file.open_database(path)) as db:
        pragmas = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in names]
    assert pragmas == ["wal", 2, 1, 1]


@pytest.mark.parametrize("given", ["", ":memory:", "file:x", ".", "nowhere/jobs.db"])
def test_invalid_paths_are_refused(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JournalError, match=r"Give|Create"):
        SqliteJournal(given)


async def test_a_relative_path_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    journal = SqliteJournal("jobs.db")
    monkeypatch.chdir("/")
    await journal.open()
    await journal.aclose()
    assert (tmp_path / "jobs.db").exists()


async def test_a_link_leads_to_its_file(tmp_path: Path, path: Path) -> None:
    (tmp_path / "link.db").symlink_to(path)
    first, second = SqliteJournal(path), SqliteJournal(tmp_path / "link.db")
    await first.begin(entry())
    assert not (await second.begin(entry())).created
    await first.aclose()
    await second.aclose()


async def test_an_empty_file_becomes_a_journal(path: Path, journal: SqliteJournal) -> None:
    path.touch()
    assert (await journal.begin(entry())).created


async def test_other_files_are_not_changed(path: Path, journal: SqliteJournal) -> None:
    path.write_text("the diary of somebody else" * 100)
    for _ in range(2):
        with pytest.raises(JournalError, match=r"it is not a journal\. Give another path\."):
            await journal.open()
    assert path.read_text() == "the diary of somebody else" * 100


@pytest.mark.parametrize("version", [0, 1, 99])
async def test_other_databases_are_not_changed(
    path: Path, journal: SqliteJournal, version: int
) -> None:
    with plain(path) as db:
        db.execute("CREATE TABLE jobs (key)")
        db.execute(f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    with pytest.raises(JournalError, match="it is another application's database"):
        await journal.begin(entry())
    assert path.read_bytes() == before


async def test_a_later_version_is_not_changed(path: Path) -> None:
    journal = SqliteJournal(path)
    await journal.begin(entry())
    with plain(path) as db:
        db.execute(f"PRAGMA user_version = {rows.SCHEMA_VERSION + 1}")
    with pytest.raises(JournalError, match="Update a2e-async"):
        await journal.begin(entry("2"))
    await journal.aclose()
    before = path.read_bytes()
    with pytest.raises(JournalError, match="it has version"):
        await SqliteJournal(path).open()
    assert path.read_bytes() == before


@pytest.mark.parametrize("dump", VERSIONS, ids=lambda path: path.stem)
async def test_every_version_is_read(dump: Path, path: Path, journal: SqliteJournal) -> None:
    with plain(path) as db:
        db.executescript(dump.read_text())
    assert await keys(journal) == ["talk-1", "talk-4", "talk-5"]
    assert await keys(journal, open_only=True) == ["talk-1", "talk-4"]
    assert await journal.get("talk-1") == Entry(
        key="talk-1",
        kind="dubbing",
        digest="d1",
        state=State.INTENT,
        path="/api/v1/userDubbing/startDubbing",
        mark="a2e-0123456789abcdefghij",
        echo={"target_lang": "e1"},
        sent_at=1_768_000_000.0,
        lost_at=1_768_000_002.0,
        reserved=30,
        meta={"n": 1},
        owner=(await journal.get("talk-4") or entry()).owner,
        created_at=1_768_000_000.0,
        updated_at=1_768_000_000.0,
    )
    assert await journal.find("dubbing", "66ea4dd87db10c73fa29b572") == await journal.get("talk-5")
    if int(dump.stem) >= 2:
        changed = await journal.record_event("a2e-9876543210abcdefghij")
        assert changed is not None
        assert (changed.key, changed.event_at) == ("talk-5", 1_768_000_050.0)
    if int(dump.stem) >= 3:
        assert (await journal.get("talk-5") or entry()).account == "acme@media.example"
        upload = await journal.find_upload("d1", "audio/wav")
        assert upload is not None
        assert upload.url == "https://media.example/talk.wav"
    assert await journal.spent() == [
        SpendSummary(day="2026-01-09", kind="animate", coins=4, reserved=0, starts=1),
        SpendSummary(day="2026-01-09", kind="dubbing", coins=15, reserved=30, starts=4),
    ]
    assert (await journal.begin(entry())).created


def test_there_is_a_dump_of_every_version() -> None:
    assert [dump.stem for dump in VERSIONS] == [str(n + 1) for n in range(rows.SCHEMA_VERSION)]


async def test_old_tables_are_migrated(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = SqliteJournal(path)
    begun = await journal.begin(entry())
    await journal.aclose()
    more = ("ALTER TABLE jobs ADD COLUMN colour TEXT", "CREATE TABLE other (x)")
    monkeypatch.setattr(rows, "MIGRATIONS", (*rows.MIGRATIONS, more))
    monkeypatch.setattr(rows, "SCHEMA_VERSION", rows.SCHEMA_VERSION + 1)
    later = SqliteJournal(path)
    assert await later.get("talk-17") == begun.entry
    assert (await later.begin(entry("2"))).created
    await later.aclose()
    with plain(path) as db:
        assert db.execute("SELECT key, colour FROM jobs").fetchall() == [
            ("talk-17", None),
            ("2", None),
        ]


async def test_a_failed_migration_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = SqliteJournal(path)
    await journal.begin(entry())
    await journal.aclose()
    with monkeypatch.context() as patch:
        bad = ("CREATE TABLE other (x)", "CREATE TABLE jobs (x)")
        patch.setattr(rows, "MIGRATIONS", (*rows.MIGRATIONS, bad))
        patch.setattr(rows, "SCHEMA_VERSION", rows.SCHEMA_VERSION + 1)
        with pytest.raises(JournalError, match="already exists"):
            await SqliteJournal(path).open()
    again = SqliteJournal(path)
    assert await keys(again) == ["talk-17"]
    await again.aclose()
    with plain(path) as db:
        assert not db.execute("SELECT name FROM sqlite_master WHERE name = 'other'").fetchall()


@pytest.mark.parametrize("how", ["deleted", "replaced", "log"])
async def test_a_removed_file_is_noticed(path: Path, journal: SqliteJournal, how: str) -> None:
    await journal.begin(entry())
    aside = path.with_name("aside")
    target = path.with_name("jobs.db-wal") if how == "log" else path
    target.rename(aside)
    if how == "replaced":
        path.touch()
    for call in (journal.begin(entry("2")), journal.get("talk-17")):
        with pytest.raises(JournalError, match="its files were removed or replaced"):
            await call
    aside.replace(target)
    assert (await journal.begin(entry("2"))).created


async def test_a_corrupt_file_is_reported(path: Path, journal: SqliteJournal) -> None:
    first = SqliteJournal(path)
    await first.begin(entry())
    await first.aclose()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(JournalError, match=r"it is corrupt\. Keep a copy of it"):
        await journal.begin(entry())


async def test_a_locked_file_is_waited_for(
    path: Path, journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await journal.begin(entry())
    with plain(path) as db:
        db.execute("BEGIN IMMEDIATE")
        waiting = asyncio.ensure_future(journal.begin(entry("2")))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.1)
        db.execute("COMMIT")
        assert (await waiting).created
        monkeypatch.setattr(sqlite_file, "LOCK_TIMEOUT", 0.05)
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="another process has held it locked"):
            await journal.begin(entry("3"))
        assert await journal.get("talk-17"), "reading goes on"
        db.execute("COMMIT")
    assert (await journal.begin(entry("3"))).created


async def test_two_on_one_file_open_it_at_once(path: Path) -> None:
    journals = [SqliteJournal(path) for _ in range(8)]
    begun = await asyncio.gather(*(journal.begin(entry()) for journal in journals))
    assert sum(one.created for one in begun) == 1
    await asyncio.gather(*(journal.aclose() for journal in journals))


async def test_the_log_stays_small(path: Path, journal: SqliteJournal) -> None:
    log = path.with_name("jobs.db-wal")
    await journal.begin(entry())
    with plain(path) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM jobs").fetchone()
        filler = "x" * 5_000
        for n in range(10):
            many = (journal.begin(entry(f"{n}-{m}", failure=filler)) for m in range(400))
            await asyncio.gather(*many)
        grown = log.stat().st_size
        assert grown > 8 * 2**20, "a reader keeps it"
        reader.execute("COMMIT")
    for n in range(10, 12):
        await asyncio.gather(
            *(journal.begin(entry(f"{n}-{m}", failure=filler)) for m in range(1_000))
        )
        await journal.get("talk-17")
    assert log.stat().st_size < 8 * 2**20


@pytest.mark.parametrize(
    ("query", "parameters", "index"),
    [
        (rows.page_query(None, True), (0, "x", "x", 10), "jobs_open"),
        (rows.page_query((State.INTENT,), True), (0, "x", "x", 10), "jobs_open"),
        (
            rows.page_query(None, False),
            (0, "x", "x", 10),
            "INTEGER PRIMARY KEY (rowid>?)",
        ),
        (rows.SELECT_BY_KEY, ("a", "x", "x"), "jobs_key (key=?)"),
        (rows.SELECT_BY_TASK, ("k", "a", "x", "x"), "PRIMARY KEY (kind=? AND id=?)"),
        (rows.SELECT_BY_TASK, ("k", "a", "x", "x"), "INTEGER PRIMARY KEY (rowid=?)"),
        (rows.SELECT_TASK_HOLDER, ("k", "a", "x", "x"), "PRIMARY KEY (kind=? AND id=?)"),
        (rows.SELECT_BY_WEBHOOK_ID, ("h", "x", "x"), "jobs_hook (hook=?)"),
        (rows.SELECT_CHANGED, (5, "x", "x"), "jobs_change (change>?)"),
        (rows.update_query(("state",)), (1, 7), "INTEGER PRIMARY KEY (rowid=?)"),
    ],
)
async def test_frequent_queries_use_an_index(
    path: Path, journal: SqliteJournal, query: str, parameters: tuple[Any, ...], index: str
) -> None:
    await journal.open()
    with plain(path) as db:
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {query}", parameters)]
    assert any(index in step for step in plan)
    assert not any(step.startswith("SCAN jobs") and "USING" not in step for step in plan)
    assert not any("TEMP B-TREE" in step for step in plan)


# -- values --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad", [{"meta": {"x": object()}}, {"expected": 2**70}, {"name": "\udc80"}, {"path": None}]
)
async def test_a_bad_operation_fails_alone(journal: SqliteJournal, bad: dict[str, Any]) -> None:
    await journal.begin(entry("old"))
    calls = [journal.begin(entry(str(n))) for n in range(5)]
    calls.insert(2, journal.begin(entry("bad", **bad)))
    answers = await asyncio.gather(
        *calls, journal.advance("old", State.ACCEPTED, ids=("a",), **bad), return_exceptions=True
    )
    failed = [n for n, answer in enumerate(answers) if isinstance(answer, JournalError)]
    assert failed == [2, 6]
    assert len(answers) == 7
    assert await keys(journal) == ["old", "0", "1", "2", "3", "4"]
    assert await journal.find("dubbing", "a") is None


async def test_only_known_values_are_set(journal: SqliteJournal) -> None:
    for name in ("key", "owner", "updated_at", "colour; DROP TABLE jobs"):
        values: Any = {name: "x"}
        with pytest.raises(TypeError, match="advance"):
            await journal.advance("a", State.SAVED, **values)
    with pytest.raises(ValueError, match="limit"):
        await journal.entries(limit=0)


def test_repr_and_errors_show_no_values(path: Path) -> None:
    assert repr(SqliteJournal(path)) == "<SqliteJournal jobs.db>"
    shown = repr(entry(echo={"a": "e1"}, meta={"secret": 1}, urls=("https://x/?sig=1",)))
    assert not {"e1", "secret", "sig"} & set(shown.replace("'", " ").replace("=", " ").split())
