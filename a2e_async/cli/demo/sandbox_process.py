"""Runs the sandbox in a process of its own, and calls its control routes."""

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

START_TIMEOUT: Final = 30.0
"""Seconds that the sandbox may take to start."""

STOP_TIMEOUT: Final = 5.0
"""Seconds that the sandbox may take to end."""


@frozen
class SandboxProcess:
    """The address and key of a running sandbox, and its control routes."""

    base_url: str
    api_key: str

    async def ledger(self) -> Mapping[str, Any]:
        """Return the ledger: charges, balance, calls and leaks."""
        ledger: Mapping[str, Any] = await asyncio.to_thread(self._request, "GET", "ledger", None)
        return ledger

    async def inject(self, fault: Mapping[str, Any]) -> None:
        """Inject a fault, given as the body of the control route."""
        await asyncio.to_thread(self._request, "POST", "faults", json.dumps(fault))

    def _request(self, method: str, route: str, body: str | None) -> Any:
        # Not with the SDK: the ledger must not come from the code that it checks.
        parts = urlsplit(self.base_url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, f"/__sandbox__/{route}", body)
            response = connection.getresponse()
            document = json.loads(response.read())
        if response.status != 200:
            raise OSError(f"The sandbox rejected {route}: {document.get('error')}")
        return document


@asynccontextmanager
async def sandbox_process(speed: float) -> AsyncGenerator[SandboxProcess]:
    """Run a sandbox in another process, which ends with the block or with this process."""
    arguments = ["-m", "a2e_async.sandbox", "--port", "0", "--json", "--exit-with-parent"]
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            "--speed",
            str(speed),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            # Ctrl-C must reach this process only, which then ends the sandbox properly.
            **_new_process_group(),
        )
        try:
            yield await _wait_until_ready(process, log)
        finally:
            await _stop(process)


async def _wait_until_ready(process: asyncio.subprocess.Process, log: Any) -> SandboxProcess:
    assert process.stdout is not None  # noqa: S101  # requested above
    try:
        async with asyncio.timeout(START_TIMEOUT):
            line = await process.stdout.readline()
        document = json.loads(line)
        return SandboxProcess(document["base_url"], document["api_key"])
    except (TimeoutError, ValueError, KeyError):
        log.seek(0)
        reason = log.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise OSError(f"The sandbox did not start: {reason or 'it printed no error'}") from None


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(STOP_TIMEOUT):
            await process.wait()
    except TimeoutError:
        _kill(process)
        await process.wait()
    except asyncio.CancelledError:  # a second Ctrl-C: do not wait any longer
        _kill(process)
        raise


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()


def _new_process_group() -> dict[str, Any]:
    if os.name == "nt":
        return {"creationflags": 0x00000200}  # CREATE_NEW_PROCESS_GROUP
    return {"start_new_session": True}
