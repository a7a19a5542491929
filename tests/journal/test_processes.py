"""Several processes with one file: they compete, die, are suspended, fork, and fill the disk."""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from a2e_async._core.journal.lease_owner import is_owner_dead, new_owner_name
from a2e_async._core.journal.protocol import Entry, State
from a2e_async._core.journal.sqlite import SqliteJournal

CHILD = Path(__file__).with_name("child.py")

Start = Callable[..., "subprocess.Popen[str]"]

posix = pytest.mark.skipif(os.name != "posix", reason="signals and forks are POSIX's")


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a child process; kill it at the end if it still runs."""
    started: list[subprocess.Popen[str]] = []

    def start(*args: object) -> "subprocess.Popen[str]":
        command = [sys.executable, "-W", "error", str(CHILD), *map(str, args)]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        out(process).close()
        assert process.stdin is not None
        process.stdin.close()


def out(process: "subprocess.Popen[str]") -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def child_output(process: "subprocess.Popen[str]") -> list[str]:
    """Return all lines of a child process that must end successfully."""
    lines = process.communicate(timeout=60)[0].splitlines()
    assert process.returncode == 0
    return lines


@posix
async def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path, start: Start) -> None:
    """Fifty processes die at random moments; every acknowledged step is in the file."""
    path = tmp_path / "jobs.db"
    chance = random.Random(4)
    acknowledged: dict[str, int] = {}
    for n in range(50):
        child = start("walk", path, n)
        lines = [out(child).readline() for _ in range(chance.randrange(30, 100))]
        await asyncio.sleep(chance.uniform(0, 0.005))
        child.kill()
        lines += out(child).read().splitlines()
        for line in lines:
            key, state = line.split()
            acknowledged[key] = max(acknowledged.get(key, 0), int(state))
    assert len(acknowledged) > 500
    journal = SqliteJournal(path)
    found, _ = await journal.entries(limit=1_000_000)
    states = {entry.key: entry.state for entry in found}
    assert {key for key, state in acknowledged.items() if states.get(key, -1) < state} == set()
    for entry in found:
        assert len(entry.ids) == (2 if entry.state >= State.ACCEPTED else 0)
    for entry in found[:: len(found) // 100]:
        for id in entry.ids:
            assert await journal.find("k", id) == entry
    await journal.aclose()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()


async def test_a_key_begins_in_one_process(tmp_path: Path, start: Start) -> None:
    children = [start("claim", tmp_path / "jobs.db", 500) for _ in range(3)]
    for child in children:
        assert out(child).readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    new = [line.split()[1] for child in children for line in child_output(child)]
    assert sorted(new, key=int) == [str(n) for n in range(500)]


async def test_an_end_without_closing_loses_nothing(tmp_path: Path, start: Start) -> None:
    begun = time.monotonic()
    done, late = child_output(start("leave", tmp_path / "jobs.db"))
    assert time.monotonic() - begun < 10
    journal = SqliteJournal(tmp_path / "jobs.db")
    for key in (done, *late.split()):
        assert await journal.get(key) is not None
    assert await journal.acquire("done"), "its lease was given up"
    await journal.aclose()


@posix
async def test_entries_of_a_killed_owner_are_acquired(tmp_path: Path, start: Start) -> None:
    """Uses the host's real clock, shifted by the duration of a lease."""
    child = start("hold", tmp_path / "jobs.db")
    assert out(child).readline() == "held\n"
    ahead = 0.0
    journal = SqliteJournal(tmp_path / "jobs.db", host_clock=lambda: time.monotonic() + ahead)
    assert not await journal.acquire("held")
    child.kill()
    assert not await journal.acquire("held")
    ahead = 31.0
    assert await journal.acquire("held")
    await journal.aclose()


@posix
async def test_a_stopped_owner_notices_on_waking(tmp_path: Path, start: Start) -> None:
    child = start("hold", tmp_path / "jobs.db")
    assert out(child).readline() == "held\n"
    child.send_signal(signal.SIGSTOP)
    journal = SqliteJournal(tmp_path / "jobs.db", host_clock=lambda: time.monotonic() + 31.0)
    assert await journal.acquire("held")
    child.send_signal(signal.SIGCONT)
    assert child_output(child) == []
    assert (await journal.get("held") or Entry(key="", kind="", digest="")).owner == journal.owner
    await journal.aclose()


@posix
async def test_a_forked_child_leaves_the_file_alone(tmp_path: Path, start: Start) -> None:
    lines = child_output(start("fork", tmp_path / "jobs.db"))
    assert [line.split()[0] for line in lines] == ["refused", "refused", "mine", "child", "log"]
    assert all("Create a new client in the child process." in line for line in lines[:2])
    assert lines[2:] == ["mine False", "child 0", "log True"]
    journal = SqliteJournal(tmp_path / "jobs.db")
    assert [one.key for one in (await journal.entries())[0]] == ["parent", "after"]
    await journal.aclose()


@posix
@pytest.mark.parametrize("locked", ["file", "directory"])
async def test_missing_permissions_are_reported(locked: str, start: Start) -> None:
    # Not in pytest's own directory, which other users cannot enter.
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        path = directory / "jobs.db"
        if locked == "file":
            journal = SqliteJournal(path)
            await journal.open()
            await journal.aclose()
            path.chmod(0o444)
            directory.chmod(0o777)
        else:
            directory.chmod(0o555)
        (line,) = child_output(start("read_only", path))
        directory.chmod(0o700)
    assert line.startswith(
        "refused The journal jobs.db cannot be used: it cannot be opened for writing ("
    )
    assert line.endswith("Check the permissions of the file and of its directory.")


@posix
async def test_a_full_disk_is_reported_and_recovered_from(tmp_path: Path, start: Start) -> None:
    refused, *rest = child_output(start("full", tmp_path / "jobs.db"))
    assert refused.startswith("refused The journal jobs.db cannot be used: the disk ")
    assert rest == ["read before", "again True"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asked of Linux' own files")
async def test_a_killed_process_loses_its_entries_at_once(start: Start, tmp_path: Path) -> None:
    """A dead process's entries are acquired at once; a living process keeps its own."""
    path = tmp_path / "jobs.db"
    child = start("hold", path)
    assert out(child).readline() == "held\n"
    journal = SqliteJournal(path)
    try:
        assert not await journal.acquire("held")
        child.kill()
        child.wait()
        assert await journal.acquire("held")
    finally:
        await journal.aclose()


def test_which_owners_count_as_dead() -> None:
    """Only a process of the same boot and namespace can be recognised as dead."""
    mine = new_owner_name()
    scope, pid, unique = mine.split(".")
    assert (pid, len(unique)) == (str(os.getpid()), 32)
    assert not is_owner_dead(mine)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert is_owner_dead(f"{scope}.{gone.pid}.{unique}") is bool(scope)
    assert not is_owner_dead(f"elsewhere.{gone.pid}.{unique}")
    for odd in ("", ".", "x", unique, f"{scope}.x.{unique}", f"{scope}.{10**30}.{unique}"):
        assert not is_owner_dead(odd)
