"""A database URL is never used as a local file name, and its password is never shown."""

import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E
from a2e_async._core.journal.sqlite import SqliteJournal
from a2e_async.contrib.postgres import worker
from a2e_async.contrib.postgres.journal import PostgresJournal
from a2e_async.contrib.procrastinate import make_app
from a2e_async.errors import A2EError, ConfigurationError, JournalError

KEY = "sk_one_0123456789abcdef"
SECRET = "horse4staple"

UNDERSTOOD = [
    f"host=127.0.0.1 port=1 user=me password={SECRET} dbname=a2e",
    f"  password='{SECRET}' host = 127.0.0.1 port = 1",
    f"dbname=a2e host=127.0.0.1 port=1 password={SECRET}",
    f"hostaddr=127.0.0.1 port=1 password={SECRET}",
    f"postgresql://me:{SECRET}@127.0.0.1:1/a2e",
    f"postgres://me:{SECRET}@127.0.0.1:1/a2e",
    f"POSTGRESQL://me:{SECRET}@127.0.0.1:1/a2e",
    f" Postgres://me:{SECRET}@127.0.0.1:1/a2e\n",
    f"postgresql://127.0.0.1:1/a2e?user=me&password={SECRET}",
]
REFUSED = [
    f"postgres:me:{SECRET}@127.0.0.1/a2e",
    f"postgresql:/me:{SECRET}@127.0.0.1/a2e",
    f"postgresql+psycopg://me:{SECRET}@127.0.0.1/a2e",
    f"postgres+asyncpg://me:{SECRET}@127.0.0.1/a2e",
    f"PGSQL://me:{SECRET}@127.0.0.1/a2e",
    f"jdbc:postgresql://127.0.0.1/a2e?password={SECRET}",
    f"mysql://me:{SECRET}@127.0.0.1/a2e",
    f"sqlite:///{SECRET}.db",
    f"redis://:{SECRET}@127.0.0.1",
    f"https://me:{SECRET}@127.0.0.1/a2e",
    f"'postgresql://me:{SECRET}@127.0.0.1/a2e'",
    f"me:{SECRET}@127.0.0.1/a2e",
    f"HOST=127.0.0.1 PASSWORD={SECRET}",
    f"Server=127.0.0.1;Port=5432;User Id=me;Password={SECRET};",
    f"host=127.0.0.1 colour={SECRET}",
    f"host=127.0.0.1 password='{SECRET}",
    f"db password={SECRET}",
    f"postgresql://me:{SECRET}@ss@127.0.0.1:1/a2e",
    f"postgresql://me:{SECRET[:5]}/{SECRET}@127.0.0.1/a2e",
    f"host=127.0.0.1 dbname=postgresql://me:{SECRET}@127.0.0.1/a2e",
    f"postgresql://me@127.0.0.1:{SECRET}/a2e",
]
PATHS = ["jobs.db", "./host=1.db", "a b.db", "jobs:1.db", "date=2026.db", "ghost=1.db", "out@5.db"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(worker, "RECONNECT_TIMEOUT", 0.0)
    return tmp_path


def a2e(journal: Any) -> A2E:
    return A2E(KEY, base_url="http://127.0.0.1:1", journal=journal)


def said(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error)


@pytest.mark.parametrize("address", UNDERSTOOD)
async def test_an_address_is_understood(address: str, here: Path) -> None:
    """No server listens there: an error is raised before anything is sent."""
    client = a2e(address)
    assert isinstance(client.journal, PostgresJournal)
    with pytest.raises(JournalError, match=r"127\.0\.0\.1") as caught:
        await client.dubbing.start(source_url="https://m.example/a.wav", target_lang="es")
    assert SECRET not in said(caught.value) + repr(client.journal)
    await client.aclose()
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("address", REFUSED)
def test_what_looks_like_an_address_is_refused(address: str, here: Path) -> None:
    for make in (a2e, SqliteJournal, PostgresJournal, make_app):
        with pytest.raises(ConfigurationError) as caught:
            make(address)
        assert SECRET not in said(caught.value)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("address", [*UNDERSTOOD, *REFUSED[:4], *REFUSED[-3:]])
def test_a_file_has_no_address_for_its_path(address: str, here: Path) -> None:
    for make in (lambda: a2e(Path(address)), lambda: SqliteJournal(address)):
        with pytest.raises(A2EError) as caught:
            make()
        assert SECRET not in said(caught.value)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("path", PATHS)
async def test_a_path_stays_a_path(path: str, here: Path) -> None:
    client = a2e(path)
    assert client.journal is not None
    await client.journal.open()
    await client.aclose()
    assert [one.name for one in here.iterdir()] == [Path(path).name]


def test_a_service_is_understood() -> None:
    assert isinstance(a2e("service=a2e").journal, PostgresJournal)


@pytest.mark.parametrize(
    "words",
    [
        ["start", "dubbing", "--source-url", "https://m.example/a.wav", "--target-lang", "es"],
        ["journal", "list"],
        ["journal", "resume"],
        ["mcp", "--out", "results"],
        ["batch", "jobs.jsonl", "-o", "out"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
@pytest.mark.parametrize(
    "address", [UNDERSTOOD[0], UNDERSTOOD[4], REFUSED[2]], ids=["keywords", "url", "driver"]
)
def test_the_command_line_refuses_them(words: list[str], address: str, here: Path) -> None:
    (here / "jobs.jsonl").write_text(
        '{"kind": "dubbing", "source_url": "https://m.example/a.wav", "target_lang": "es"}\n'
    )
    given = [address] if words[0] == "journal" else ["--journal", address]
    done = subprocess.run(
        [sys.executable, "-m", "a2e_async", *words, *given],
        env={**os.environ, "A2E_API_KEY": KEY, "A2E_BASE_URL": "http://127.0.0.1:1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "error: " in done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert not [one for one in here.rglob("*") if "host" in one.name or "postgres" in one.name]
