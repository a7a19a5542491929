"""Download results to disk, to memory or in chunks; and the HTTP session for file transfers."""

import asyncio
import contextlib
import errno
import logging
import random
import re
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Mapping,
)
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path, PurePath
from typing import Any, Final, TypeVar
from urllib.parse import urljoin

import aiohttp
import anyio
from attrs import define, field
from yarl import URL

from a2e_async._core.base_errors import hide_frames
from a2e_async._core.files.http_download import ChunkIterator, HttpDownload, RenewUrl
from a2e_async._core.files.local_file import BLOCK_BYTES, TOO_MANY_OPEN_FILES
from a2e_async._core.files.media_types import (
    SNIFF_BYTES,
    corrected_extension,
    filename_stem,
    suggest_filename,
)
from a2e_async._core.files.part_file import DISK_FULL_ERRNOS, PartFile
from a2e_async._core.http.call import CheckedRequest, environment_proxy
from a2e_async._core.http.error_mapping import sanitize_cause
from a2e_async._core.http.loop_affinity import LoopAffinity, closed_error
from a2e_async._core.http.request_events import CURRENT_START
from a2e_async._core.redact import bare_url
from a2e_async._core.urls import InvalidUrl, split_url
from a2e_async.errors import A2EError, InvalidInput, OutputTooLarge, TransferError
from a2e_async.events import Event, FileRequest, RequestStarted, Saved
from a2e_async.models import Output

__all__ = ["Downloader", "FileSession"]

logger = logging.getLogger("a2e_async.files")

T = TypeVar("T")

MAX_REDIRECTS: Final = 5

_WORKERS: Final = 4

_SYNC_EVERY: Final = 32 * 1024 * 1024
"""Bytes that are written between two flushes to disk (fsync)."""

_READ_BUFFER: Final = 512 * 1024
_MAX_CHUNKS: Final = 256  # bounds the list when the server sends tiny chunks


@define(eq=False, kw_only=True)
class FileSession:
    """The connections, threads and limits that uploads and downloads share. No credentials.

    At most ``max_parallel`` transfers run at once. A response without a byte for
    ``stall_timeout`` seconds fails. Nothing is opened before the first use, which binds the
    session to the running event loop.

    Created once per client, which alone closes it; changed on the client's event loop only.
    """

    max_parallel: int = 8
    stall_timeout: float = 60.0
    trust_env: bool = True
    proxy: str | None = field(default=None, repr=False)
    emit: Callable[[Event], None] | None = None
    user_agent: str = "a2e-async"
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep
    rng: Callable[[], float] = random.random
    closed: bool = False
    transfer_slots: asyncio.Semaphore = field(init=False)
    """Limits the parallel transfers."""
    _session: aiohttp.ClientSession | None = field(init=False, default=None)
    _pool: ThreadPoolExecutor | None = field(init=False, default=None)
    _loop_affinity: LoopAffinity = field(init=False, factory=LoopAffinity)
    _active_transfer_count: int = field(init=False, default=0)
    _scopes: set[anyio.CancelScope] = field(init=False, factory=set[anyio.CancelScope])
    """The open scopes of `end_on_close`, around code that waits for the network."""
    _proxies: dict[str, str | None] = field(init=False, factory=dict[str, str | None], repr=False)
    """Proxies by origin, so that the environment is read once for each."""

    def __attrs_post_init__(self) -> None:
        self.transfer_slots = asyncio.Semaphore(self.max_parallel)

    def http_session(self) -> aiohttp.ClientSession:
        """Return the HTTP session; create it on first use.

        Raises `ClientClosed`, or `ConfigurationError` on another event loop or after a fork.
        """
        if self.closed:
            raise closed_error()
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, resolver=aiohttp.ThreadedResolver()),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": self.user_agent},
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=30, sock_read=self.stall_timeout
                ),
                auto_decompress=False,
                read_bufsize=_READ_BUFFER,
                request_class=CheckedRequest,
                middlewares=(self._strip_credentials,),
            )
        self._loop_affinity.check()
        return self._session

    async def request(
        self, method: str, url: str, *, resend: int = 0, ref: str | None = None, **options: Any
    ) -> aiohttp.ClientResponse:
        """Send one request and return the response, body unread. Does not follow redirects.

        ``resend`` counts the earlier requests that this one repeats; ``ref`` is the ref of the task
        whose result it is. Raises `InvalidUrl`, and what aiohttp raises.
        """
        emit = self.emit
        if emit is None:
            return await self._send(method, url, options)
        clock = asyncio.get_running_loop().time
        bare, start, began = bare_url(url), CURRENT_START.get(), clock()

        def emit_end(status: int | None, error: str | None) -> None:
            emit(
                FileRequest(
                    method=method,
                    url=bare,
                    duration=clock() - began,
                    status=status,
                    error=error,
                    start=start,
                )
            )

        emit(
            RequestStarted(method=method, url=bare, path=None, resend=resend, start=start, ref=ref)
        )
        try:
            response = await self._send(method, url, options)
        except (asyncio.CancelledError, Exception) as error:
            emit_end(None, type(error).__name__)
            raise
        emit_end(response.status, None)
        return response

    async def _send(
        self, method: str, url: str, options: Mapping[str, Any]
    ) -> aiohttp.ClientResponse:
        where = verbatim_url(url)
        proxy = self._proxy_for(where)
        session = self.http_session()
        try:
            return await session.request(
                method, where, allow_redirects=False, proxy=proxy, **options
            )
        except ValueError as error:
            if isinstance(error, A2EError):
                raise
            # Some host names pass our checks and are rejected by aiohttp or the resolver.
            raise InvalidUrl("its host cannot be looked up") from None

    async def get(
        self, url: str, headers: dict[str, str], *, resend: int = 0, ref: str | None = None
    ) -> aiohttp.ClientResponse:
        """Send a GET and return the response, body unread, following at most 5 redirects.

        ``resend`` and ``ref`` are those of `request`. Raises `TransferError` for a redirect from
        https to anything else, and `InvalidUrl` if ``url`` itself is invalid.
        """
        where = url
        for redirects in range(MAX_REDIRECTS + 1):
            try:
                response = await self.request(
                    "GET", where, resend=resend + redirects, ref=ref, headers=headers
                )
            except InvalidUrl as error:
                if where is url:
                    raise
                raise _redirect_error(url, f"to a malformed URL: {error}") from None
            location = response.headers.get("Location")
            if response.status not in (301, 302, 303, 307, 308) or not location:
                return response
            response.release()
            try:
                there = _redirect_target(where, location)
            except ValueError:
                raise _redirect_error(url, "to a malformed URL", response.status) from None
            if not there.lower().startswith(("https://", f"{where.partition(':')[0].lower()}://")):
                raise _redirect_error(
                    url, "to a URL that is not https. It was not followed", response.status
                )
            where = there
        raise _redirect_error(url, f"more than {MAX_REDIRECTS} times")

    def _proxy_for(self, url: URL) -> str | None:
        """Return the proxy for this host, by the same rules as for API requests."""
        if self.proxy is not None or not self.trust_env:
            return self.proxy
        origin = str(url.origin())
        if origin not in self._proxies:
            self._proxies[origin] = environment_proxy(origin)
        return self._proxies[origin]

    async def back_off(self, failures: int, *, at_least: float = 0.0) -> None:
        """Sleep before the next attempt: 0.5 s, doubled per failure up to 8 s, jittered."""
        delay = min(8.0, 0.5 * 2 ** min(failures, 10))
        await self.sleep(max(at_least, delay * (0.5 + self.rng() / 2)))

    def run_in_worker(self, func: Callable[..., T], *args: Any) -> "asyncio.Future[T]":
        """Start a blocking call in a worker thread; await it with `wait_for_worker`."""
        if self._pool is None:
            # Our own threads: a slow disk must not block the application's default executor.
            self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="a2e-files")
        return asyncio.wrap_future(self._pool.submit(func, *args))

    async def wait_for_worker(self, running: "asyncio.Future[T]") -> T:
        """Return a worker's result. A cancellation is raised only after the worker is done.

        Otherwise the thread would go on using a file that the caller is closing.
        """
        cancelled: asyncio.CancelledError | None = None
        if not running.done():
            # The shield holds off anyio's repeated cancellation, the loop a Task.cancel().
            with anyio.CancelScope(shield=True):
                while not running.done():
                    try:
                        await asyncio.wait([running])
                    except asyncio.CancelledError as error:
                        cancelled = error
        if cancelled is not None:
            running.exception()  # mark as retrieved: no caller is left to raise it in
            raise cancelled
        return running.result()

    async def run(self, func: Callable[..., T], *args: Any) -> T:
        """Run a blocking call in a worker thread and return its result."""
        return await self.wait_for_worker(self.run_in_worker(func, *args))

    @contextmanager
    def track_transfer(self) -> Generator[None]:
        """Count a transfer: the threads are kept until it ends, even if the client is closed."""
        self.http_session()
        self._active_transfer_count += 1
        try:
            yield
        finally:
            self._active_transfer_count -= 1
            if self.closed:
                self._release_pool()

    @contextmanager
    def end_on_close(self) -> Generator[None]:
        """Raise `ClientClosed` in the body as soon as the client is closed."""
        self.http_session()
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                yield
            finally:
                self._scopes.discard(scope)
        if scope.cancelled_caught:
            raise closed_error()

    async def aclose(self) -> None:
        """Close all connections; running transfers end with `ClientClosed`."""
        self.closed = True
        for scope in tuple(self._scopes):
            scope.cancel()
        session, self._session = self._session, None
        if session is not None and not self._loop_affinity.is_parents():
            await session.close()
        self._release_pool()

    async def _strip_credentials(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Middleware: remove credentials, which aiohttp takes from netrc and from URLs."""
        if self.closed:
            # aiohttp retries a lost GET once, on a session that may have been closed.
            raise closed_error()
        request.headers.pop("Authorization", None)
        request.headers.pop("Cookie", None)
        try:
            return await handler(request)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            # Keep aiohttp from silently retrying, on a closed session, or a PUT not counted here.
            if self.closed:
                raise closed_error() from sanitize_cause(error)
            if request.method != "PUT" or isinstance(error, aiohttp.ClientConnectorError):
                raise
            raise aiohttp.ClientConnectionError(str(error) or type(error).__name__) from error

    def _release_pool(self) -> None:
        if not self._active_transfer_count and self._pool is not None:
            self._pool.shutdown(wait=False)
            self._pool = None


def verbatim_url(url: str) -> URL:
    """Return ``url`` unchanged, since its signature covers the exact text. Raises `InvalidUrl`."""
    parts = split_url(url)
    # The query is part of the path: given separately, an empty query would lose its "?".
    return URL.build(
        scheme=parts.scheme, authority=parts.authority, path=parts.target, encoded=True
    )


def _redirect_target(where: str, location: str) -> str:
    """Return the absolute target of a redirect, text unchanged. Raises ValueError."""
    location = location.strip()
    if location.lower().startswith(("http://", "https://")):
        return location
    scheme, _, rest = where.partition("://")
    if location.startswith("//"):
        return f"{scheme}:{location}"
    if location.startswith("/"):
        return f"{scheme}://{re.split('[/?#]', rest, maxsplit=1)[0]}{location}"
    return urljoin(where, location)


def _redirect_error(url: str, where: str, status: int | None = None) -> TransferError:
    return TransferError(
        f"{bare_url(url)} redirects {where}. Get a fresh URL.",
        url=bare_url(url),
        http_status=status,
    )


@define(eq=False)
class _WriteBehind:
    """Write-behind: one disk write at a time while the caller keeps reading.

    Beside it, `sync` flushes what was written to disk, so that the end of a large file has little
    left to wait for. Created by the downloader for one file; only its transfer uses it.
    """

    files: FileSession
    _running: "asyncio.Future[None] | None" = field(init=False, default=None)
    _syncing: "asyncio.Future[None] | None" = field(init=False, default=None)

    async def put(self, call: Callable[..., None], *args: Any) -> None:
        """Start ``call`` once the previous one is done; raises that one's exception."""
        await self.flush()
        self._running = self.files.run_in_worker(call, *args)

    def sync(self, call: Callable[[], None]) -> None:
        """Start ``call``, which flushes what was written to disk, unless it is running."""
        if self._syncing is None or self._syncing.done():
            self._syncing = self.files.run_in_worker(call)

    async def flush(self) -> None:
        """Wait for the running call; raises its exception."""
        running, self._running = self._running, None
        if running is not None:
            await self.files.wait_for_worker(running)

    async def finish(self) -> None:
        """Wait for all running calls; raises the exception of a write."""
        try:
            await self.flush()
        finally:
            syncing, self._syncing = self._syncing, None
            if syncing is not None:
                await self.files.wait_for_worker(syncing)


@define(eq=False)
class Downloader:
    """Downloads outputs: an `a2e_async.models.OutputSource`.

    ``renew_url`` requests a fresh URL of an output from the service when the store refuses the
    old one.

    Created once per client; nothing changes after that.
    """

    files: FileSession
    renew_url: RenewUrl | None
    on_saved: Callable[[Output, Path], Awaitable[None]] | None = None
    """Awaited when an output is on disk, before its path is returned."""
    was_saved_at: Callable[[Output, Path], Awaitable[bool]] | None = None
    """Whether the journal knows a path as that of this output: only then a name that was chosen
    for the user may replace an existing file of other content."""

    @hide_frames
    async def save(
        self, output: Output, path: Path, *, directory: bool | None, stem: str | None = None
    ) -> Path:
        """Write ``output`` to ``path`` (into it, if ``directory``) and return the file's path.

        If ``directory`` is None, the path becomes a directory if the result's name has a suffix,
        else a file. An existing file is replaced; of a symbolic link, the link itself is
        replaced, not its target. A suffix of another medium is corrected, and a
        warning logged. ``stem`` is the name in a directory, without its suffix. A file at a name
        that ``path`` does not give is kept, unless it is an earlier version of this output.

        Raises `InvalidInput` for a path without a file name, and
        `TransferError`. In the latter case the ``.part`` file is kept for a later call to
        resume, unless the disk is full or the server sends neither an ETag nor a usable date.
        """
        where = await self._save(output, path, directory, stem, self.renew_url)
        if self.on_saved is not None:
            await self.on_saved(output, where)
        return where

    @hide_frames
    async def read(self, output: Output, max_bytes: int) -> bytes:
        """Return the whole file. Raises `OutputTooLarge` if it has more than ``max_bytes``."""
        with self.files.track_transfer(), self.files.end_on_close():
            stream = self._stream(output, self.renew_url)
            blocks: list[bytes] = []
            size = restart_count = 0
            try:
                while data := await stream.read():
                    if stream.restart_count != restart_count:
                        restart_count, size = stream.restart_count, 0
                        blocks.clear()
                    blocks.append(data)
                    size += len(data)
                    if max(size, 0 if stream.encoded else stream.total or 0) > max_bytes:
                        raise OutputTooLarge(
                            f"{bare_url(output.url)} has more than {max_bytes:,} bytes. Raise "
                            "max_bytes or use save().",
                            url=bare_url(output.url),
                            done=size,
                        )
            finally:
                stream.close()
            return b"".join(blocks)

    def open(self, output: Output) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Return a context manager that yields the file's chunks; interruptions are resumed.

        It does not occupy one of the slots for parallel transfers, because its reader may be
        arbitrarily slow.
        """
        return self._open(output)

    def _stream(self, output: Output, renew: RenewUrl | None, **options: Any) -> HttpDownload:
        return HttpDownload(self.files, output, suggest_filename(output, None), renew, **options)

    @asynccontextmanager
    async def _open(self, output: Output) -> AsyncGenerator[AsyncIterator[bytes]]:
        with self.files.track_transfer():
            stream = self._stream(output, self.renew_url, can_restart=False, hold_slot=False)
            try:
                with self.files.end_on_close():
                    await stream.start()
                yield ChunkIterator(stream)
            finally:
                stream.close()

    async def _save(
        self,
        output: Output,
        path: Path,
        directory: bool | None,
        stem: str | None,
        renew: RenewUrl | None,
    ) -> Path:
        if not directory and not path.name:
            raise InvalidInput("The path to save to has no file name.", field="path")
        if directory:
            part = PartFile(path, stem or filename_stem(output), output.url)
            stream = self._stream(output, renew)
        else:
            part = PartFile(path.parent, path.name, output.url)
            stream = self._stream(output, renew, target=path.name)
            stream.name, stream.path = path.name, str(path)
        with self.files.track_transfer():
            writer = _WriteBehind(self.files)
            keep = True
            try:
                with self.files.end_on_close():
                    maybe_directory = await self._open_part(stream, part, path, directory)
                    if part.size and await self.files.run(lambda: self._is_unusable(stream, part)):
                        await self.files.run(part.truncate)
                    stream.resume(part.size, part.validator)
                    await self._fill(stream, part, writer)

                def name_for(head: bytes) -> str:
                    """Return the target's path relative to the part file's directory."""
                    made = suggest_filename(
                        output, stream.content_type, stream.disposition, head=head, stem=stem
                    )
                    if directory:
                        return made
                    if maybe_directory and PurePath(made).suffix:
                        return str(PurePath(path.name, made))
                    if (extension := corrected_extension(head, path.name)) is not None:
                        return path.with_suffix(f".{extension}").name
                    return path.name

                name = name_for(await self.files.run(part.head, SNIFF_BYTES))
                corrected = (
                    not directory and PurePath(name).parent == PurePath() and (name != path.name)
                )
                if directory or maybe_directory:
                    replace = output.ref is not None and stem is None
                else:
                    replace = not corrected
                if not replace and self.was_saved_at is not None:
                    replace = await self.was_saved_at(output, part.directory / name)
                saved = await self.files.run(lambda: part.finish(lambda _: name, replace=replace))
                if corrected:
                    logger.warning(
                        "%s was saved as %s: it is not %s despite that name",
                        path,
                        saved.name,
                        path.suffix.lstrip(".").upper(),
                    )
            except OSError as error:
                if isinstance(error, A2EError):  # a timeout is an OSError
                    raise
                keep = error.errno not in DISK_FULL_ERRNOS
                raise _disk_error(error, stream, path, part) from error
            finally:
                stream.close()
                try:
                    with contextlib.suppress(OSError):  # the first error is the one to report
                        await writer.finish()
                finally:
                    await self.files.run(lambda: part.close(keep=keep))
            if self.files.emit is not None:
                self.files.emit(Saved(path=str(saved), size=part.size, ref=output.ref))
            return saved

    @staticmethod
    def _is_unusable(stream: HttpDownload, part: PartFile) -> bool:
        """Return whether an earlier run left bytes that are unchecked or not of the result."""
        return (
            part.size < SNIFF_BYTES
            or stream.unexpected_document(part.head(SNIFF_BYTES)) is not None
        )

    async def _open_part(
        self, stream: HttpDownload, part: PartFile, path: Path, directory: bool | None
    ) -> bool:
        """Open the part file once this transfer has a slot: file descriptors are limited.

        Return whether ``path`` may still become a directory.
        """

        def open_part() -> bool:
            part.open(target_is_file=directory is False)
            return directory is None and not path.is_file()

        while True:
            await stream.acquire_slot()
            try:
                return await self.files.run(open_part)
            except OSError as error:
                if error.errno not in TOO_MANY_OPEN_FILES:
                    raise
                await stream.back_off(error)

    async def _fill(self, stream: HttpDownload, part: PartFile, writer: _WriteBehind) -> None:
        blocks: list[bytes] = []
        size = written = restart_count = 0
        try:
            while data := await stream.read():
                if stream.restart_count != restart_count:
                    restart_count, blocks, size = stream.restart_count, [], 0
                    await writer.put(part.truncate)
                blocks.append(data)
                size += len(data)
                if size >= BLOCK_BYTES or len(blocks) >= _MAX_CHUNKS:
                    await writer.put(part.write, blocks, stream.resume_validator)
                    written, blocks, size = written + size, [], 0
                    if written >= _SYNC_EVERY:
                        writer.sync(part.sync)
                        written = 0
        except A2EError:
            if stream.restart_count != restart_count:
                await writer.put(part.truncate)
            elif blocks:
                await writer.put(part.write, blocks, stream.resume_validator)
            await writer.flush()
            raise
        await writer.put(part.write, blocks, stream.resume_validator)
        await writer.finish()
        if part.size != stream.received and not stream.encoded:
            raise stream.make_error(f"was not written completely ({part.size:,} bytes). Try again.")


def _disk_error(error: OSError, stream: HttpDownload, path: Path, part: PartFile) -> TransferError:
    reason = error.strerror or str(error)
    if error.errno == errno.ENAMETOOLONG:
        raise InvalidInput(f"{str(path)[:80]}… cannot be written: {reason}.", field="path")
    if error.errno in DISK_FULL_ERRNOS:
        advice = "Free some space."
    elif part.resumable:
        advice = "The bytes received are kept for the next attempt."
    else:
        advice = "Save it to another place; the service keeps the result for a few days."
    return TransferError(
        f"{path} cannot be written: {reason}. {advice}",
        url=bare_url(stream.output.url),
        path=str(path),
        done=stream.received,
    )
