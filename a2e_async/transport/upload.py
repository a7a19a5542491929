"""Local files to public URLs: checked without network, paid for once, sent as they are."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol, cast

import aiohttp
import anyio
from attrs import define, field, frozen

from a2e_async._clock import wall_time
from a2e_async.errors import ClientClosed, DecodeError, TransferError, sealed
from a2e_async.events import Event, Transfer
from a2e_async.redact import bare_url, redact
from a2e_async.transport.mediatype import extension_for
from a2e_async.transport.source import LocalSource, Prepared, change_of, prepare
from a2e_async.transport.stream import (
    BUSY,
    FINAL,
    TRANSIENT,
    Cut,
    refusal,
    retry_after,
)
from a2e_async.transport.transfer import FileSession
from a2e_async.transport.wire import clean_cause
from a2e_async.urls import BadUrl, split_url

__all__ = ["PRESIGN_PATH", "Prepared", "Uploader", "prepare"]

PRESIGN_PATH: Final = "/api/v1/r2/upload-presigned-url"
PRESIGNED_FOR: Final = 3600
"""Seconds that an upload URL is asked to live."""

MAX_TRIES: Final = 5
_MARGIN: Final = 30.0  # an upload begun in the last seconds of its URL would be refused
_ROUNDS: Final = 2  # upload URLs paid for by one call, whatever the clock says
_SLICE: Final = 64 * 1024  # the step of progress, so that a slow line does not look stalled


Presign = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""The call for an upload URL: what is asked, to what is answered."""


class UploadRecords(Protocol):
    """Remembers uploads beyond this client; a journal does."""

    async def uploaded(self, digest: str, content_type: str) -> tuple[str, float] | None:
        """Return a content's public URL and how long it holds, in seconds since 1970."""
        ...

    async def keep_upload(self, digest: str, content_type: str, url: str, until: float) -> None:
        """Remember that URL."""
        ...


@frozen
class _Presigned:
    upload_url: str = field(repr=False)
    public_url: str = field(repr=False)
    until: float


@define(eq=False, repr=False)
class _Entry:
    """What is known of one content: its upload URL, and its public URL once it is there."""

    lock: asyncio.Lock = field(factory=asyncio.Lock)
    presigning: "asyncio.Task[_Presigned] | None" = None
    presigned: _Presigned | None = None
    url: str | None = None
    until: float = 0.0
    users: int = 0


@define(eq=False)
class Uploader:
    """Uploads inputs, each content once in ``keep_for`` seconds.

    ``presign`` makes the (charged) call for an upload URL, at the cost of who asks for it first;
    it runs in a task of its own, so that its answer is kept even when the caller is cancelled.
    ``records`` know what other clients of the account have uploaded. ``clock``: wall-clock seconds.
    """

    files: FileSession
    presign: Presign
    keep_for: float = field(default=24 * 3600, kw_only=True)
    clock: Callable[[], float] = field(default=wall_time, kw_only=True)
    emit: Callable[[Event], None] | None = field(default=None, kw_only=True)
    records: UploadRecords | None = field(default=None, kw_only=True)
    _entries: dict[tuple[str, str], _Entry] = field(
        init=False, factory=dict[tuple[str, str], _Entry]
    )

    @sealed
    async def upload(self, prepared: Prepared, presign: Presign | None = None) -> str:
        """Return a public URL of the content, uploaded now or within the last ``keep_for``.

        ``presign`` is this caller's own form of that call, should it be made for this one.
        Raises `TransferError`, `DecodeError`, and what ``presign`` and ``records`` raise. A failed
        presign is raised to all its waiters: each would pay to try again.
        """
        entry = self._entry(prepared)
        entry.users += 1
        try:
            with self.files.using():
                rounds = 0
                while True:
                    if entry.url is not None and self._sent(entry):
                        return entry.url
                    if (known := await self._known(entry, prepared)) is not None:
                        return known
                    signed = await self._presigned(entry, prepared, presign or self.presign)
                    async with entry.lock:
                        if entry.url is not None and self._sent(entry):
                            return entry.url
                        entry.url = None
                        with self.files.interruptible():
                            sent = self._live(signed) and await self._put_all(prepared, signed)
                        if sent:
                            entry.url = signed.public_url
                            entry.until = self.clock() + self.keep_for
                            await self._keep(entry, prepared)
                            return entry.url
                        if entry.presigned is signed:
                            entry.presigned = None  # its time is over
                    rounds += 1
                    if rounds == _ROUNDS:
                        raise _error(prepared, signed, "was not sent before its URLs expired")
        finally:
            entry.users -= 1

    async def _known(self, entry: _Entry, prepared: Prepared) -> str | None:
        """Return the URL of a content that another client has uploaded."""
        if self.records is None or entry.presigned is not None or entry.presigning is not None:
            return None
        found = await self.records.uploaded(prepared.digest, prepared.content_type)
        if found is None or self.clock() >= found[1]:
            return None
        entry.url, entry.until = found
        return entry.url

    async def _keep(self, entry: _Entry, prepared: Prepared) -> None:
        url = entry.url or ""
        if self.records is not None and url == bare_url(url):  # a signature is not to be kept
            await self.records.keep_upload(prepared.digest, prepared.content_type, url, entry.until)

    async def check(self, prepared: Prepared) -> None:
        """Raise `TransferError` if a file that is to be sent changed since it was prepared."""
        if self.costs(prepared):
            await self._check(prepared)

    def costs(self, prepared: Prepared) -> bool:
        """Return whether an upload of this content would now make the charged call itself."""
        entry = self._entries.get((prepared.digest, prepared.content_type))
        return entry is None or not (self._sent(entry) or self._promised(entry))

    async def aclose(self, timeout: float = 30.0) -> None:
        """Let presign calls under way end, for ``timeout`` seconds; then cancel them."""
        calls = [e.presigning for e in self._entries.values() if e.presigning is not None]
        calls = [call for call in calls if not call.done()]
        if calls:
            _, late = await asyncio.wait(calls, timeout=timeout)
            for call in late:
                call.cancel()
            if late:
                await asyncio.wait(late)

    def _entry(self, prepared: Prepared) -> _Entry:
        now = self.clock()
        while self._entries:  # oldest first, up to a live one
            key, entry = next(iter(self._entries.items()))
            idle = not entry.users and entry.presigning is None
            if not idle or entry.until > now or (entry.presigned and entry.presigned.until > now):
                break
            del self._entries[key]
        return self._entries.setdefault((prepared.digest, prepared.content_type), _Entry())

    async def _check(self, prepared: Prepared) -> None:
        if (failure := await self.files.run(change_of, prepared)) is not None:
            raise _error(prepared, None, failure)

    def _sent(self, entry: _Entry) -> bool:
        return entry.url is not None and self.clock() < entry.until

    def _promised(self, entry: _Entry) -> bool:
        """Return whether there is an upload URL for this content, or will be without our doing."""
        known = entry.presigned is not None and self._live(entry.presigned)
        return known or entry.presigning is not None

    async def _presigned(self, entry: _Entry, prepared: Prepared, presign: Presign) -> _Presigned:
        signed = entry.presigned
        if signed is not None and self._live(signed):
            return signed
        call = entry.presigning
        if call is None:
            call = asyncio.create_task(self._ask(entry, prepared, presign))
            call.add_done_callback(_look_at)
            if not call.done():  # as an eager task may be
                entry.presigning = call
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            if call.cancelled():  # by aclose(), not this caller
                raise ClientClosed("The client was closed before the upload began.") from None
            raise

    async def _ask(self, entry: _Entry, prepared: Prepared, presign: Presign) -> _Presigned:
        extension = extension_for(prepared.content_type) or "bin"
        try:
            await self._check(prepared)
            asked_at = self.clock()
            answer = await presign(
                {
                    "key": f"a2e-async/{prepared.digest}.{extension}",
                    "contentType": prepared.content_type,
                    "contentLength": prepared.size,
                    "expiresIn": PRESIGNED_FOR,
                }
            )
            there, public = _url_in(answer, "uploadUrl"), _url_in(answer, "cdnUrl")
            life = answer.get("expiresIn")
            if not isinstance(life, int | float) or not 60 <= life < PRESIGNED_FOR:
                life = PRESIGNED_FOR
            entry.presigned = _Presigned(there, public, asked_at + life)
            return entry.presigned
        finally:
            entry.presigning = None

    def _live(self, signed: _Presigned) -> bool:
        return self.clock() < signed.until - _MARGIN

    async def _put_all(self, prepared: Prepared, signed: _Presigned) -> bool:
        """Send the bytes, as often as it takes; False when the URL's time is over."""
        for failures in range(1, MAX_TRIES + 1):
            try:
                async with self.files.gate():
                    status, said = await self._put(prepared, signed)
                if status < 300:
                    return True
                if status == 403 and not self._live(signed):
                    return False
                raise _error(prepared, signed, f"was refused by the store ({said})", status)
            except (BadUrl, *FINAL) as error:
                why = redact(str(error)) or type(error).__name__
                raise _error(prepared, signed, f"cannot be sent: {why}") from clean_cause(error)
            except TRANSIENT as error:
                if failures == MAX_TRIES:
                    why = redact(str(error)) or type(error).__name__
                    raise _error(
                        prepared, signed, f"could not be sent in {MAX_TRIES} tries: {why}"
                    ) from clean_cause(error)
                after = error.after if isinstance(error, Cut) else 0.0
            await self.files.pause(failures - 1, at_least=after)
        raise AssertionError("the last try returns or raises")

    async def _put(self, prepared: Prepared, signed: _Presigned) -> tuple[int, str]:
        source = LocalSource(prepared)
        with anyio.CancelScope() as stall:
            body = _Body(self, prepared, source, stall)
            body.moved()
            try:
                await self.files.run(source.open)
                async with await self.files.request(
                    "PUT",
                    signed.upload_url,
                    data=body,
                    headers={
                        "Content-Type": prepared.content_type,
                        "Content-Length": str(prepared.size),
                    },
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=30),
                ) as response:
                    if response.status in BUSY or response.status >= 500:
                        raise Cut(f"HTTP {response.status}", after=retry_after(response))
                    result = response.status, await refusal(response)
                await self.files.run(source.check)
            except (aiohttp.ClientError, OSError) as error:
                if source.failure is not None:
                    raise _error(prepared, signed, source.failure) from clean_cause(error)
                raise
            else:
                return result
            finally:
                await self.files.run(source.close)
        raise Cut(f"nothing moved for {self.files.stall_timeout:g} seconds")


@define(eq=False)
class _Body:
    """What aiohttp sends. Iterating again begins anew, for it may be sent again."""

    _uploader: Uploader
    _prepared: Prepared
    _source: LocalSource
    _stall: anyio.CancelScope

    def moved(self) -> None:
        """Push the deadline on: a byte has gone."""
        self._stall.deadline = anyio.current_time() + self._uploader.files.stall_timeout

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        done, size = 0, self._prepared.size
        emit = self._uploader.emit or self._uploader.files.emit
        while done < size:
            block = memoryview(await self._uploader.files.run(self._source.read, done))
            for start in range(0, len(block), _SLICE):
                yield block[start : start + _SLICE]
                self.moved()
            done += len(block)
            if emit is not None:
                emit(Transfer(direction="up", name=self._prepared.name, done=done, total=size))


def _look_at(call: "asyncio.Task[_Presigned]") -> None:
    if not call.cancelled():
        call.exception()  # seen here, should every caller have gone


def _url_in(answer: Any, name: str) -> str:
    value = cast("Mapping[str, Any]", answer).get(name) if isinstance(answer, Mapping) else None
    if isinstance(value, str):
        with contextlib.suppress(BadUrl):
            split_url(value)
            return value
    raise DecodeError(
        f"The answer to the request for an upload URL has no usable {name}. Nothing was sent; "
        "give a public URL as input instead, or try again later.",
        method="POST",
        path=PRESIGN_PATH,
    )


def _error(
    prepared: Prepared, signed: _Presigned | None, what: str, status: int | None = None
) -> TransferError:
    path = str(prepared.source) if isinstance(prepared.source, Path) else None
    kept = "the upload URL is kept while it lives" if signed else "nothing was sent or paid"
    return TransferError(
        f"{path or prepared.name} {what}. Try again; {kept}.",
        url=bare_url(signed.upload_url) if signed else None,
        path=path,
        http_status=status,
    )
