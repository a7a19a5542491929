"""Results onto disk, into memory or chunk by chunk; and the session that all files go over."""

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import anyio
from attrs import define, field
from yarl import URL

from a2e_async.errors import A2EError, InvalidInput, TransferError, sealed
from a2e_async.events import Event, Saved
from a2e_async.models import Output
from a2e_async.redact import bare_url
from a2e_async.transport.loops import closed_error, forked, wrong_loop
from a2e_async.transport.mediatype import stem_of, suggest_name
from a2e_async.transport.partfile import DISK_FULL, PartFile
from a2e_async.transport.source import BLOCK, NO_HANDLES
from a2e_async.transport.stream import Chunks, Renew, Stream
from a2e_async.transport.wire import clean_cause

__all__ = ["Downloader", "FileSession"]

T = TypeVar("T")

MAX_REDIRECTS: Final = 5

_WORKERS: Final = 4
_READ_BUFFER: Final = 512 * 1024
_MAX_CHUNKS: Final = 256  # a trickle of tiny chunks is written before it becomes a long list


@define(eq=False, kw_only=True)
class FileSession:
    """The connections, threads and pace that up- and downloads share; it holds no credentials.

    ``max_parallel`` transfers at once; ``stall_timeout`` seconds without a byte end a response.
    Nothing is opened before first use; from then on it belongs to that event loop.
    """

    max_parallel: int = 8
    stall_timeout: float = 60.0
    trust_env: bool = True
    proxy: str | None = field(default=None, repr=False)
    emit: Callable[[Event], None] | None = None
    user_agent: str = "a2e-async"
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep
    rng: Callable[[], float] = random.random
    closed: bool = field(init=False, default=False)
    _session: aiohttp.ClientSession | None = field(init=False, default=None)
    _pool: ThreadPoolExecutor | None = field(init=False, default=None)
    _gate: asyncio.Semaphore | None = field(init=False, default=None)
    _loop: asyncio.AbstractEventLoop | None = field(init=False, default=None)
    _pid: int = field(init=False, default=0)
    _users: int = field(init=False, default=0)

    def session(self) -> aiohttp.ClientSession:
        """Return the HTTP session, made on first use.

        Raises `ClientClosed`, or `ConfigurationError` on another event loop or after a fork.
        """
        if self.closed:
            raise closed_error()
        loop = asyncio.get_running_loop()
        if self._session is None:
            self._loop, self._pid = loop, os.getpid()
            self._gate = asyncio.Semaphore(self.max_parallel)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, resolver=aiohttp.ThreadedResolver()),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": self.user_agent},
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=30, sock_read=self.stall_timeout
                ),
                auto_decompress=False,
                trust_env=self.trust_env,
                read_bufsize=_READ_BUFFER,
                middlewares=(self._bare,),
            )
        if self._pid != os.getpid():
            raise forked()
        if self._loop is not loop:
            raise wrong_loop()
        return self._session

    def gate(self) -> asyncio.Semaphore:
        """Return the gate that bounds the transfers under way."""
        if self._gate is None:
            self.session()
        assert self._gate is not None  # noqa: S101  # session() has made it
        return self._gate

    async def get(self, url: str, headers: dict[str, str]) -> aiohttp.ClientResponse:
        """Return the answer to a GET, its body unread, after at most 5 redirects.

        A redirect from https to anything else is refused with `TransferError`.
        """
        where = request_url(url)
        for _ in range(MAX_REDIRECTS + 1):
            response = await self.session().get(
                where, headers=headers, allow_redirects=False, proxy=self.proxy
            )
            location = response.headers.get("Location")
            if response.status not in (301, 302, 303, 307, 308) or not location:
                return response
            response.release()
            there = where.join(request_url(location))
            if there.scheme not in ("https", where.scheme):
                raise TransferError(
                    f"{bare_url(url)} redirects to an address that is not https. It was not "
                    "followed; get a fresh URL.",
                    url=bare_url(url),
                    http_status=response.status,
                )
            where = there
        raise TransferError(
            f"{bare_url(url)} redirects more than {MAX_REDIRECTS} times. Get a fresh URL.",
            url=bare_url(url),
        )

    async def pause(self, failures: int, *, at_least: float = 0.0) -> None:
        """Sleep before the next try: 0.5 s, doubled with each failure up to 8 s, jittered."""
        delay = min(8.0, 0.5 * 2 ** min(failures, 10))
        await self.sleep(max(at_least, delay * (0.5 + self.rng() / 2)))

    def submit(self, call: Callable[..., T], *args: Any) -> "asyncio.Future[T]":
        """Run a blocking call in a worker thread; hand the result to `finish`."""
        if self._pool is None:
            # Own threads: a slow disk must not hold up the application's executor.
            self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="a2e-files")
        return asyncio.wrap_future(self._pool.submit(call, *args))

    async def finish(self, running: "asyncio.Future[T]") -> T:
        """Return a worker's result; a cancellation goes on only when the worker is done."""
        cancelled: asyncio.CancelledError | None = None
        if not running.done():
            # The shield keeps anyio's repeated cancellation out, the loop a Task.cancel().
            with anyio.CancelScope(shield=True):
                while not running.done():
                    try:
                        await asyncio.wait([running])
                    except asyncio.CancelledError as error:
                        cancelled = error
        if cancelled is not None:
            running.exception()  # seen: nobody is left to hear of it
            raise cancelled
        return running.result()

    async def run(self, call: Callable[..., T], *args: Any) -> T:
        """Run a blocking call in a worker thread and return its result."""
        return await self.finish(self.submit(call, *args))

    @contextmanager
    def using(self) -> Generator[None]:
        """Count a transfer, so that the threads outlive it even when the client closes."""
        self.session()
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if self.closed:
                self._drop_pool()

    async def aclose(self) -> None:
        """Close all connections; transfers under way end with `ClientClosed`."""
        self.closed = True
        session, self._session = self._session, None
        if session is not None and self._pid == os.getpid():
            await session.close()
        self._drop_pool()

    async def _bare(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Let nothing that identifies the user leave: netrc and URLs can add credentials."""
        if self.closed:
            # aiohttp repeats a lost GET once more, on a session that may be closed by then.
            raise closed_error()
        request.headers.pop("Authorization", None)
        request.headers.pop("Cookie", None)
        try:
            return await handler(request)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            # aiohttp would silently send it again: over a closed session, and a PUT uncounted.
            if self.closed:
                raise closed_error() from clean_cause(error)
            if request.method != "PUT" or isinstance(error, aiohttp.ClientConnectorError):
                raise
            raise aiohttp.ClientConnectionError(str(error) or type(error).__name__) from error

    def _drop_pool(self) -> None:
        if not self._users and self._pool is not None:
            self._pool.shutdown(wait=False)
            self._pool = None


def request_url(url: str) -> URL:
    """Return ``url`` as it is, for a signature covers its spelling; quoted only if it must be."""
    plain = url.isascii() and url.isprintable() and " " not in url
    return URL(url, encoded=plain)


@define(eq=False)
class _Behind:
    """One worker call at a time, while the caller reads on."""

    files: FileSession
    _running: "asyncio.Future[None] | None" = field(init=False, default=None)

    async def put(self, call: Callable[..., None], *args: Any) -> None:
        """Start ``call`` when the one before is done; raises what that one raised."""
        await self.settle()
        self._running = self.files.submit(call, *args)

    async def settle(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            await self.files.finish(running)


@define(eq=False)
class Downloader:
    """Fetches outputs: an `a2e_async.models.OutputSource`.

    ``renew`` asks the service for an output's URL again, when the store refuses the old one.
    """

    files: FileSession
    renew: Renew | None
    saved: Callable[[Output, Path], Awaitable[None]] | None = None
    """Awaited when an output is on disk, before its path is handed out."""

    @sealed
    async def save(self, output: Output, path: Path, *, directory: bool) -> Path:
        """Write ``output`` to ``path`` (into it, if ``directory``) and return the file's path.

        A file of that name is replaced; if it is a link, then the link and not what it points
        to. Raises `InvalidInput` for a path without a name, and `TransferError`; the ``.part``
        file stays then for a later call to go on with, unless the disk is full.
        """
        where = await self._save(output, path, directory, self.renew)
        if self.saved is not None:
            await self.saved(output, where)
        return where

    @sealed
    async def read(self, output: Output, max_bytes: int) -> bytes:
        """Return the whole file; raises `TransferError` if it has more than ``max_bytes``."""
        with self.files.using():
            stream = self._stream(output, self.renew)
            blocks: list[bytes] = []
            size = restarts = 0
            try:
                while data := await stream.pull():
                    if stream.restarts != restarts:
                        restarts, size = stream.restarts, 0
                        blocks.clear()
                    blocks.append(data)
                    size += len(data)
                    if max(size, 0 if stream.encoded else stream.total or 0) > max_bytes:
                        raise stream.error(
                            f"has more than {max_bytes:,} bytes. Raise max_bytes or use save()."
                        )
            finally:
                stream.close()
            return b"".join(blocks)

    def open(self, output: Output) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Return a context manager around the file's chunks; cuts are mended unseen.

        What is open does not count as one of the parallel transfers: its taker sets the pace.
        """
        return self._open(output)

    @sealed
    async def fetch_url(self, url: str, path: str | os.PathLike[str]) -> Path:
        """Download any URL as `save` does; one that is refused cannot be renewed.

        Raises `InvalidInput` for what is not an http(s) URL, and `TransferError`.
        """
        if not url.lower().startswith(("http://", "https://")) or not request_url(url).host:
            raise InvalidInput("A download needs an http(s) URL.", field="url")
        with self.files.using():
            into = os.fspath(path).endswith(("/", os.sep)) or await self.files.run(
                os.path.isdir, path
            )
            return await self._save(Output(url=url), Path(path), into, None)

    def _stream(self, output: Output, renew: Renew | None, **options: bool) -> Stream:
        return Stream(self.files, output, suggest_name(output, None), renew, **options)

    @asynccontextmanager
    async def _open(self, output: Output) -> AsyncGenerator[AsyncIterator[bytes]]:
        with self.files.using():
            stream = self._stream(output, self.renew, rewind=False, hold_slot=False)
            try:
                await stream.start()
                yield Chunks(stream)
            finally:
                stream.close()

    async def _save(self, output: Output, path: Path, directory: bool, renew: Renew | None) -> Path:
        if not directory and not path.name:
            raise InvalidInput("The path to save to has no file name.", field="path")
        stream = self._stream(output, renew)
        if directory:
            part = PartFile(path, stem_of(output), output.url)
        else:
            part = PartFile(path.parent, path.name, output.url)
            stream.name, stream.path = path.name, str(path)
        with self.files.using():
            behind = _Behind(self.files)
            keep = True
            try:
                await self._open_part(stream, part, not directory)
                stream.resume(part.size, part.etag)
                await self._fill(stream, part, behind)

                def name_for(head: bytes) -> str:
                    if not directory:
                        return path.name
                    return suggest_name(output, stream.content_type, stream.disposition, head=head)

                replace = not directory or output.ref is not None
                saved = await self.files.run(lambda: part.finish(name_for, replace=replace))
            except OSError as error:
                if isinstance(error, A2EError):  # a timeout is an OSError
                    raise
                keep = error.errno not in DISK_FULL
                raise _disk_error(error, stream, path, keep) from error
            finally:
                stream.close()
                try:
                    with contextlib.suppress(OSError):  # the first error is the one to tell
                        await behind.settle()
                finally:
                    await self.files.run(lambda: part.close(keep=keep))
            if self.files.emit is not None:
                self.files.emit(Saved(path=str(saved), size=part.size, ref=output.ref))
            return saved

    async def _open_part(self, stream: Stream, part: PartFile, is_file: bool) -> None:
        """Open the part once this transfer's turn has come: open files are few."""
        while True:
            await stream.enter()
            try:
                await self.files.run(lambda: part.open(target_is_file=is_file))
            except OSError as error:
                if error.errno not in NO_HANDLES:
                    raise
                await stream.again(error)
            else:
                return

    async def _fill(self, stream: Stream, part: PartFile, behind: _Behind) -> None:
        blocks: list[bytes] = []
        size = restarts = 0
        try:
            while data := await stream.pull():
                if stream.restarts != restarts:
                    restarts, blocks, size = stream.restarts, [], 0
                    await behind.put(part.restart)
                blocks.append(data)
                size += len(data)
                if size >= BLOCK or len(blocks) >= _MAX_CHUNKS:
                    part.resumable = not stream.encoded
                    await behind.put(part.write, blocks, stream.etag)
                    blocks, size = [], 0
        except A2EError:
            if stream.restarts != restarts:
                await behind.put(part.restart)
            elif blocks:
                await behind.put(part.write, blocks, stream.etag)
            part.resumable = not stream.encoded
            await behind.settle()
            raise
        await behind.put(part.write, blocks, stream.etag)
        await behind.settle()
        if part.size != stream.at and not stream.encoded:
            raise stream.error(f"was not written as a whole ({part.size:,} bytes). Try again.")


def _disk_error(error: OSError, stream: Stream, path: Path, kept: bool) -> TransferError:
    reason = error.strerror or str(error)
    if not kept:
        advice = "Free some space."
    elif stream.at:
        advice = "What was fetched is kept for the next try."
    else:
        advice = "Save it somewhere else; the result stays at the service for a few days."
    return TransferError(
        f"{path} cannot be written: {reason}. {advice}",
        url=bare_url(stream.output.url),
        path=str(path),
        done=stream.at,
    )
