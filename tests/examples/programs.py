"""Examples as processes: started, driven, killed and started again, against one sandbox."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from a2e_async import A2E
from a2e_async.sandbox import Sandbox

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

UNCLEAN = (
    "Task was destroyed",
    "never retrieved",
    "never awaited",
    "Unclosed",
    "unclosed",
    "Traceback",
)
"""Messages of asyncio, aiohttp and Python about an unclean exit."""


def wait_for(what: Callable[[], Any], *, seconds: float = 120) -> Any:
    """Wait until ``what()`` is truthy; return its value."""
    end = time.monotonic() + seconds
    while True:
        if found := what():
            return found
        assert time.monotonic() < end, f"{what} stayed {found!r}"
        time.sleep(0.02)


class Program:
    """A program in its own process; `kill` and `stop` end it, `start` runs it (again)."""

    def __init__(self, arguments: list[str | Path], directory: Path, environ: dict[str, str]):
        self._arguments = [sys.executable, "-W", "default", *arguments]
        self._directory = directory
        self._environ = {**os.environ, "PYTHONUNBUFFERED": "1", **environ}
        self._process: subprocess.Popen[bytes] | None = None
        self.log = directory / "log.txt"

    def start(self) -> "Program":
        """Run it."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._arguments,
                cwd=self._directory,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    def kill(self) -> None:
        """Kill it without warning, like a power cut."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def wait(self) -> int:
        """Return its exit code when it has ended by itself; it must have said nothing unclean."""
        assert self._process is not None
        code = self._process.wait(120)
        said = self.log.read_text()
        assert not [word for word in UNCLEAN if word in said], said
        return code

    def stop(self) -> None:
        """Terminate it like a service manager."""
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        self._process.send_signal(signal.SIGTERM)
        assert self.wait() in (0, -signal.SIGTERM), self.log.read_text()

    def discard(self) -> None:
        """Clean up."""
        if self._process is not None and self._process.poll() is None:
            self.kill()


def open_languages(sandbox: Sandbox, journal: Path) -> set[str]:
    """Return the languages of the tasks that the bot would go on with."""

    async def read_languages() -> set[str]:
        async with A2E(sandbox.api_key, base_url=sandbox.base_url, journal=journal) as a2e:
            unfinished = [task.ids[0] async for task in a2e.unfinished()]
        return {
            c.body["target_lang"] for c in sandbox.ledger.starts() if set(unfinished) & set(c.ids)
        }

    return asyncio.run(read_languages())
