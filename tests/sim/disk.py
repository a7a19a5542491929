"""Simulated disks: journals and files in a directory of the world, with power cuts and delays.

SQLite and the file system are real, but operations run at simulated times, without threads. A
committed transaction is durable, even if the machine loses power before the caller gets the
result. An unfinished file may lose the data that was not synced.
"""

import asyncio
import concurrent.futures
import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch

import simloom
from simloom._context import current_host

from a2e_async._core.files.part_file import PartFile
from a2e_async._core.journal.protocol import HEARTBEAT_INTERVAL
from a2e_async._core.journal.sqlite_writer import (
    SubmittedOperation,
    WriterThread,
    closed_journal_error,
)
from a2e_async.errors import JournalError

from .draws import chance, part

WATCH: Final = 1.0
"""Seconds between two checks of a shared journal. The real value would only take more steps."""

_NO_FINALIZERS: Final = SimpleNamespace(finalize=lambda *_: SimpleNamespace())


@dataclass
class Disk:
    """One machine's disk. ``delay``: longest operation (s); ``breaks``: percent that fail."""

    directory: Path
    delay: float = 0.0
    breaks: int = 0
    shared: bool = False
    """Whether programs on other machines write to the same journal."""
    parts: list[PartFile] = field(default_factory=list)
    """The unfinished files that are open on the machine."""

    def step(self) -> float:
        """Wait for the random duration of one operation."""
        return self.delay * part("disk.step") if self.delay else 0.0

    def broken(self) -> bool:
        """Decide randomly whether an operation fails."""
        return chance("disk.broken", self.breaks)

    def cut_power(self) -> None:
        """Close all open files; unfinished ones may lose part of the written data."""
        for one in self.parts:
            if one._fd < 0:
                continue
            size = os.fstat(one._fd).st_size
            os.ftruncate(one._fd, int(size * (1 - part("disk.torn"))))
            os.close(one._fd)
            one._fd = -1
        self.parts.clear()


class SimulatedWriter(WriterThread):
    """The journal's writer without a thread: it runs at simulated times."""

    def submit(self, work: SubmittedOperation[Any]) -> None:
        """Queue an operation."""
        if self._stopping:
            raise closed_journal_error(self.path)
        if not hasattr(self, "pending"):
            self.disk = self.disk_here()
            self.pending: list[SubmittedOperation[Any]] = []
            self.wake = asyncio.Event()
            self.serving = asyncio.get_running_loop().create_task(self._serve())
        if work.future is not None and self.disk.delay:
            work.future = self._reported_later(work.future)
        self.pending.append(work)
        self.wake.set()

    @staticmethod
    def disk_here() -> Disk:
        """Return the disk of the current machine; replaced by `simulated_disks`."""
        raise NotImplementedError

    def _reported_later(self, caller: "asyncio.Future[Any]") -> "asyncio.Future[Any]":
        """Return a future that gets its result some time after the commit."""
        loop = asyncio.get_running_loop()
        inner: asyncio.Future[Any] = loop.create_future()

        def report() -> None:
            error = inner.exception()
            if caller.done():
                return
            if error is not None:
                caller.set_exception(error)
            else:
                caller.set_result(inner.result())

        inner.add_done_callback(lambda _: loop.call_later(self.disk.step(), report))
        return inner

    async def _serve(self) -> None:
        while not self._stopping or self.pending:
            if not self.pending:
                await self._idle()
            if self.pending and (wait := self.disk.step()):
                await asyncio.sleep(wait)
            if self.pending and self.disk.broken():
                for work in self.pending:
                    if work.future is not None and not work.future.done():
                        work.future.set_exception(JournalError("The simulated disk fails."))
                        work.future.exception()  # after a crash there is no caller to retrieve it
                self.pending.clear()
            self._run_once()
        if self._store is not None:
            self._store.release_lease()
            self._store.close()

    async def _idle(self) -> None:
        """Wait for an operation, or until the shared journal must be checked."""
        self.wake.clear()
        wait = WATCH if self.key_listeners and self.disk.shared else HEARTBEAT_INTERVAL
        timer = asyncio.get_running_loop().call_later(wait, self.wake.set)
        try:
            await self.wake.wait()
        finally:
            timer.cancel()

    def _next_group(self, timeout: float) -> tuple[list[SubmittedOperation[Any]], bool]:
        work, self.pending = self.pending, []
        return work, self._stopping

    def stop(self) -> None:
        """Stop once all queued operations are done."""
        self._stopping = True
        if hasattr(self, "wake"):
            self.wake.set()

    async def wait_stopped(self) -> None:
        """Wait until the writer has stopped."""
        if hasattr(self, "serving"):
            await self.serving


class SimulatedExecutor:
    """Replaces the threads for file I/O: each call is one operation of the disk."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def submit(self, call: Callable[..., Any], *args: Any) -> "concurrent.futures.Future[Any]":
        """Run the call some time later."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return  # cancelled before it ran, as in a thread pool
            try:
                future.set_result(call(*args))
            except Exception as error:
                future.set_exception(error)

        asyncio.get_running_loop().call_later(self._disk.step(), run)
        return future

    def shutdown(self, **_: Any) -> None:
        """Do nothing: no threads are running."""


@contextlib.contextmanager
def simulated_disks(disks: dict[str, Disk]) -> Iterator[None]:
    """Make journals and file transfers use the disk of the machine that they run on.

    ``disks`` maps machine names to disks; code outside of a machine gets a disk without faults.
    """
    perfect = Disk(Path())
    open_part = PartFile.open

    def here() -> Disk:
        host: simloom.Host | None = current_host.get()
        return perfect if host is None else disks[host.name]

    def executor(*_: object, **__: object) -> SimulatedExecutor:
        return SimulatedExecutor(here())

    async def run_sync(call: Callable[..., Any], *args: Any, **_: object) -> Any:
        return await asyncio.wrap_future(executor().submit(call, *args))

    def opened(self: PartFile, **options: Any) -> None:
        open_part(self, **options)
        here().parts.append(self)

    with (
        patch.object(SimulatedWriter, "disk_here", staticmethod(here)),
        patch("a2e_async._core.journal.sqlite.WriterThread", SimulatedWriter),
        # A finalizer would keep the writer of a crashed program, and the world, alive.
        patch("a2e_async._core.journal.sqlite.weakref", _NO_FINALIZERS),
        patch("a2e_async._core.files.download.ThreadPoolExecutor", executor),
        patch("anyio.to_thread.run_sync", run_sync),
        patch.object(PartFile, "open", opened),
    ):
        yield
