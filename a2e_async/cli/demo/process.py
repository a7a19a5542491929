"""The sandbox in a process of its own, and its control routes."""

import asyncio
import contextlib
import http.client
import json
import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import frozen

READY: Final = 30.0
"""Seconds that the sandbox may take to come up."""

GO: Final = 5.0
"""Seconds that it may take to end."""


@frozen
class SandboxProcess:
    """A running sandbox: where it is, and what it can be asked."""

    base_url: str
    api_key: str

    async def ledger(self) -> Mapping[str, Any]:
        """Return its books: charges, balance, calls, leaks."""
        found: Mapping[str, Any] = await asyncio.to_thread(self._ask, "GET", "ledger", None)
        return found

    async def order(self, fault: Mapping[str, Any]) -> None:
        """Order a fault, as its control route takes it."""
        await asyncio.to_thread(self._ask, "POST", "faults", json.dumps(fault))

    def _ask(self, method: str, route: str, body: str | None) -> Any:
        # Not through the client: the books must come from elsewhere than what they check.
        parts = urlsplit(self.base_url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, f"/__sandbox__/{route}", body)
            answer = connection.getresponse()
            said = json.loads(answer.read())
        if answer.status != 200:
            raise OSError(f"The sandbox refused {route}: {said.get('error')}")
        return said


@asynccontextmanager
async def sandbox_process(speed: float) -> AsyncGenerator[SandboxProcess]:
    """Run a sandbox in another process; it ends with the block, or with this process."""
    words = ["-m", "a2e_async.sandbox", "--port", "0", "--json", "--exit-with-parent"]
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *words,
            "--speed",
            str(speed),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            # A Ctrl-C is for this process alone; it then ends the sandbox in order.
            **_own_group(),
        )
        try:
            yield await _ready(process, log)
        finally:
            await _end(process)


async def _ready(process: asyncio.subprocess.Process, log: Any) -> SandboxProcess:
    assert process.stdout is not None  # noqa: S101  # asked for above
    try:
        async with asyncio.timeout(READY):
            line = await process.stdout.readline()
        said = json.loads(line)
        return SandboxProcess(said["base_url"], said["api_key"])
    except (TimeoutError, ValueError, KeyError):
        log.seek(0)
        why = log.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise OSError(f"The sandbox did not start: {why or 'it said nothing'}") from None


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(GO):
            await process.wait()
    except TimeoutError:
        _kill(process)
        await process.wait()
    except asyncio.CancelledError:  # a second Ctrl-C: nobody waits any longer
        _kill(process)
        raise


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()


def _own_group() -> dict[str, Any]:
    if os.name == "nt":
        return {"creationflags": 0x00000200}  # CREATE_NEW_PROCESS_GROUP
    return {"start_new_session": True}
