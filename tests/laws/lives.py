"""One run of a program that starts paid jobs and may be killed at any event-loop iteration.

Run in a separate process by `tests/laws/test_killed.py`: the same jobs with the same keys in each
run, on one journal.
"""

import asyncio
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from attrs import evolve

import a2e_async._core.submission.recovery_search as recovery_search
from a2e_async import A2E, Record, RetryPolicy
from a2e_async._core.journal.sqlite import SqliteJournal
from a2e_async.errors import A2EError, StartOutcomeUnknown
from a2e_async.kinds import TALKING_PHOTO

API_KEY = "Qz7-topsecret-0123456789"

OWN = evolve(TALKING_PHOTO, name="own_photo", input=None, record=Record)
"""A kind that the program declares itself."""

UNKNOWN = 3
"""Exit code of a run whose only problem is starts that were not found."""


class DoomedLoop(asyncio.SelectorEventLoop):
    """An event loop that kills its process after a number of iterations."""

    def __init__(self, turns: int | None) -> None:
        super().__init__()
        self._turns_left = turns

    def _run_once(self) -> None:
        if self._turns_left is not None:
            self._turns_left -= 1
            if self._turns_left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        super()._run_once()  # type: ignore[misc]  # not in the type stubs


def inputs(key: str) -> dict[str, Any]:
    """Return the inputs of a key's job; their URL contains the key."""
    media = f"https://media.example/{key}"
    return {
        "dubbing": {"source_url": f"{media}.wav", "target_lang": "es"},
        "talking_video": {"video_url": f"{media}.mp4", "prompt": "p", "negative_prompt": "n"},
        "image_to_video": {
            "image_url": f"{media}.png",
            "prompt": "p",
            "negative_prompt": "n",
            "number_of_images": 2,
        },
        "own_photo": {"image_url": f"{media}.png", "prompt": "p", "negative_prompt": "n"},
    }[kind_of(key)]


def kind_of(key: str) -> str:
    """Return the kind of a key's job: ``dubbing-0`` is a dubbing."""
    return key.partition("-")[0]


async def work(base_url: str, directory: Path, keys: list[str], number: int) -> int:
    """Start the jobs, and finish all unfinished tasks in the journal."""
    # The leases of earlier runs have expired, as if 100 s had passed since each.
    later = 100.0 * number
    journal = SqliteJournal(directory / "jobs.db", host_clock=lambda: time.monotonic() + later)
    troubles: list[A2EError] = []
    async with A2E(
        API_KEY,
        base_url=base_url,
        journal=journal,
        kinds=[OWN],
        rate=None,
        poll_interval=0.02,
        request_timeout=2,
        start_timeout=2,
        trust_env=False,
        retry=RetryPolicy(initial=0.001, max_delay=0.01, max_attempts=3),
    ) as a2e:

        async def job(key: str) -> None:
            try:
                task = await a2e.kind(kind_of(key)).start(**inputs(key), key=key)
                await task.wait(timeout=10)
                await task.download(directory / "out")
            except A2EError as error:
                troubles.append(error)

        await asyncio.gather(*map(job, keys))
        async for task in a2e.unfinished():
            try:
                await task.wait(timeout=10)
                await task.download(directory / "out")
            except A2EError as error:
                troubles.append(error)
    for trouble in troubles:
        sys.stderr.write(f"{trouble!r:.300}\n")
    if all(isinstance(trouble, StartOutcomeUnknown) for trouble in troubles):
        return UNKNOWN if troubles else 0
    return 1


def live(base_url: str, directory: Path, keys: list[str], number: int, turns: int | None) -> None:
    """Run once; kill the process after ``turns`` iterations of the loop, None for never."""
    recovery_search.SCAN_DELAYS = (0.02, 0.05)  # type: ignore[misc]  # no test waits 45 s
    with asyncio.Runner(loop_factory=partial(DoomedLoop, turns)) as runner:
        code = runner.run(work(base_url, directory, keys, number))
    os._exit(code)


async def recipe(base_url: str, directory: Path, number: int) -> int:
    """Make a dubbed video, as after a restart: with the same key and journal in each run."""
    later = 100.0 * number
    journal = SqliteJournal(directory / "jobs.db", host_clock=lambda: time.monotonic() + later)
    async with A2E(
        API_KEY,
        base_url=base_url,
        journal=journal,
        rate=None,
        poll_interval=0.02,
        trust_env=False,
    ) as a2e:
        try:
            made = await a2e.recipes.dub_video(
                video_url="https://media.example/talk.mp4", target_lang="es", key="talk"
            )
            await made.output.save(directory / "es.mp4")
        except StartOutcomeUnknown:
            return UNKNOWN
    return 0


def live_recipe(base_url: str, directory: Path, number: int, turns: int | None) -> None:
    """Run the recipe once; kill the process after ``turns`` iterations of the loop."""
    recovery_search.SCAN_DELAYS = (0.02, 0.05)  # type: ignore[misc]  # no test waits 45 s
    with asyncio.Runner(loop_factory=partial(DoomedLoop, turns)) as runner:
        code = runner.run(recipe(base_url, directory, number))
    os._exit(code)
