"""One run of a batch in a process of its own, for the crash tests. It may kill itself."""

import asyncio
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import a2e_async._core.submission.executor as executor
import a2e_async._core.submission.recovery_search as recovery_search
from a2e_async import A2E, Budget, Job
from a2e_async._core.files.download import Downloader, FileSession
from a2e_async._core.files.upload import Uploader
from a2e_async._core.http.session import ApiSession
from a2e_async._core.journal.recorder import JournalRecorder
from a2e_async._core.journal.sqlite import SqliteJournal
from a2e_async.sandbox.media import clip


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at(owner: type, method: str, call: int, when: str) -> None:
    """Kill this process before or after the n-th call of a method."""
    real: Callable[..., Any] = getattr(owner, method)
    count = itertools.count(1)

    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        mine = next(count)
        if mine == call and when == "before":
            die()
        result = await real(*args, **kwargs)
        if mine == call and when == "after":
            die()
        return result

    setattr(owner, method, wrapped)


OWNERS: dict[str, type] = {
    "JournalRecorder": JournalRecorder,
    "Downloader": Downloader,
    "FileSession": FileSession,
    "ApiSession": ApiSession,
    "SqliteJournal": SqliteJournal,
    "Uploader": Uploader,
}


def jobs(a2e: A2E, count: int) -> Iterator[Job[Any]]:
    """Return jobs of three kinds, half of them without a key, one with a local file."""
    media = "https://media.example/"
    for n in range(count):
        key = f"job-{n}" if n % 2 else None
        if n % 3 == 0:
            yield a2e.dubbing.job(source_url=f"{media}{n}.wav", target_lang="es", key=key)
        elif n % 3 == 1:
            yield a2e.talking_video.job(
                video_url=clip() if n == 4 else f"{media}{n}.mp4",
                prompt="p",
                negative_prompt="n",
                key=key,
            )
        else:
            yield a2e.text_to_image.job(prompt=f"lake {n}", key=key, name=f"lake {n}")


async def main(options: dict[str, Any]) -> int:
    recovery_search.SCAN_DELAYS = (0.02, 0.05, 0.1)  # type: ignore[misc]  # shorter for the test
    executor.MIN_AGE_FOR_RESEND = 0.2  # type: ignore[misc]  # shorter, too
    if point := options.get("point"):
        name, method, call, when = point
        kill_at(OWNERS[name], method, call, when)
    # Leases of earlier runs have expired: each run's clock is 100 s ahead of the last one's.
    later = 100.0 * options["run"]
    journal = SqliteJournal(options["journal"], host_clock=lambda: time.monotonic() + later)
    async with A2E(
        options["key"],
        base_url=options["url"],
        rate=None,
        poll_interval=0.05,
        start_timeout=0.6,
        journal=journal,
        on_unknown="resend_may_pay_twice",
        budget=Budget(100_000, unknown_cost=100),
    ) as a2e:
        failed = 0
        made = jobs(a2e, options["jobs"])
        async for outcome in a2e.batch(made, limit=3, download_to=options["out"]):
            if outcome.error is not None:
                failed += 1
                sys.stderr.write(f"{outcome.error!r:.300}\n")
        async for task in a2e.unfinished():
            await task.download(options["out"])
    return 1 if failed else 0


def run(options: dict[str, Any], errors: str) -> None:
    """Run a batch in a new process, and write what it prints on stderr to a file."""
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), sys.stderr.fileno())
    raise SystemExit(asyncio.run(main(options)))
