"""A journal in a temporary file, and a direct connection to that file."""

import sqlite3
from collections.abc import AsyncIterator, Generator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from a2e_async._core.journal.sqlite import SqliteJournal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
async def journal(path: Path) -> AsyncIterator[SqliteJournal]:
    journal = SqliteJournal(path)
    yield journal
    await journal.aclose()


@contextmanager
def plain(path: Path) -> Generator[sqlite3.Connection]:
    """Open the file without the package."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as db:
        yield db
