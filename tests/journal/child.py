"""Child processes: ``python child.py COMMAND PATH …``. They print what is durable."""

import asyncio
import gc
import os
import sys
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from a2e_async._core.journal.protocol import Entry, State
from a2e_async._core.journal.sqlite import SqliteJournal
from a2e_async.errors import JournalError

held_journals: list[SqliteJournal] = []


def print_line(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def walk(path: str, name: str) -> None:
    """Take one start after the other through all states, eight at a time, forever."""
    journal = SqliteJournal(path)

    async def starts(n: int) -> None:
        count = 0
        while True:
            key, count = f"{name}-{n}-{count}", count + 1
            await journal.begin(Entry(key=key, kind="k", digest="d"))
            print_line(key, 0)
            for state in list(State)[1:]:
                ids = (f"{key}.a", f"{key}.b") if state is State.ACCEPTED else ()
                await journal.advance(key, state, ids=ids)
                print_line(key, int(state))

    await asyncio.gather(*map(starts, range(8)))


async def claim(path: str, count: str) -> None:
    """Begin keys that other processes begin, too; print which ones this process created."""
    journal = SqliteJournal(path)
    await journal.open()
    print_line("ready")
    sys.stdin.readline()
    begun = await asyncio.gather(
        *(journal.begin(Entry(key=str(n), kind="k", digest="d")) for n in range(int(count)))
    )
    for one in begun:
        if one.created:
            print_line("new", one.entry.key)
    await journal.aclose()


async def leave(path: str) -> None:
    """Exit without closing anything, while writes are running."""
    journal = SqliteJournal(path)
    held_journals.append(journal)
    await journal.begin(Entry(key="done", kind="k", digest="d"))
    print_line("done")
    tasks = [
        asyncio.ensure_future(journal.begin(Entry(key=f"late-{n}", kind="k", digest="d")))
        for n in range(100)
    ]
    await asyncio.sleep(0)
    print_line(*(key for n, key in enumerate(f"late-{n}" for n in range(100)) if tasks[n].done()))


async def hold(path: str) -> None:
    """Own an entry until stdin is closed."""
    journal = SqliteJournal(path)
    await journal.begin(Entry(key="held", kind="k", digest="d"))
    print_line("held")
    await asyncio.to_thread(sys.stdin.read)
    await journal.aclose()


def fork(path: str) -> None:
    """Use an opened and an unopened journal in a forked child, then in the parent."""
    warnings.simplefilter(
        "ignore", DeprecationWarning
    )  # newer Pythons warn about forking with threads
    journal, fresh = SqliteJournal(path), SqliteJournal(path)
    # No event loop is open during the fork: closing the child's copy would break the parent's.
    asyncio.run(journal.begin(Entry(key="parent", kind="k", digest="d")))
    child = os.fork()
    if child == 0:
        asyncio.run(in_child(journal, fresh))
        del journal, fresh
        gc.collect()
        return
    print_line("child", os.waitpid(child, 0)[1])
    asyncio.run(journal.begin(Entry(key="after", kind="k", digest="d")))
    print_line("log", Path(path + "-wal").exists())
    asyncio.run(journal.aclose())


async def in_child(journal: SqliteJournal, fresh: SqliteJournal) -> None:
    for call in (journal.get("parent"), journal.open()):
        try:
            await call
        except JournalError as error:
            print_line("refused", error)
    await journal.aclose()
    begun = await fresh.begin(Entry(key="parent", kind="k", digest="d"))
    print_line("mine", begun.is_owner)
    await fresh.aclose()


async def read_only(path: str) -> None:
    """Use a journal without permission to write to it."""
    if os.geteuid() == 0:
        os.seteuid(65_534)
    await print_refusal(SqliteJournal(path))


async def full(path: str) -> None:
    """Use a journal until its files cannot grow, and again once they can."""
    import resource

    journal = SqliteJournal(path)
    await journal.begin(Entry(key="before", kind="k", digest="d"))
    size = Path(path + "-wal").stat().st_size
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    await print_refusal(journal)
    entry = await journal.get("before")
    print_line("read", entry is not None and entry.key)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    begun = await journal.begin(Entry(key="again", kind="k", digest="d"))
    print_line("again", begun.created)
    await journal.aclose()


async def print_refusal(journal: SqliteJournal) -> None:
    try:
        await journal.begin(Entry(key="more", kind="k", digest="d"))
    except JournalError as error:
        print_line("refused", error)


MODES: dict[str, Callable[..., Coroutine[Any, Any, None] | None]] = {
    one.__name__: one for one in (walk, claim, leave, hold, fork, read_only, full)
}

if __name__ == "__main__":
    run = MODES[sys.argv[1]](*sys.argv[2:])
    if run is not None:
        asyncio.run(run)
