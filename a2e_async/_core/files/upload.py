"""Upload local files: request a (charged) presigned URL once per content, then send the bytes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol, cast

import aiohttp
import anyio
from attrs import define, field, frozen

from a2e_async._core.base_errors import hide_frames
from a2e_async._core.clock import wall_time
from a2e_async._core.files.download import FileSession
from a2e_async._core.files.http_download import (
    PERMANENT_ERRORS,
    TRANSIENT_ERRORS,
    TRANSIENT_STATUSES,
    TransferInterrupted,
    describe_refusal,
    retry_after_seconds,
)
from a2e_async._core.files.local_file import (
    BLOCK_BYTES,
    LocalUpload,
    UploadSource,
    describe_change,
    prepare_upload,
)
from a2e_async._core.files.media_types import extension_for_mime_type
from a2e_async._core.http.error_mapping import sanitize_cause
from a2e_async._core.redact import bare_url, describe
from a2e_async._core.urls import InvalidUrl, split_url
from a2e_async.errors import ClientClosed, DecodeError, TransferError
from a2e_async.events import Transfer

__all__ = ["PRESIGN_PATH", "LocalUpload", "Uploader", "prepare_upload"]

PRESIGN_PATH: Final = "/api/v1/r2/upload-presigned-url"
PRESIGNED_SECONDS: Final = 3600
"""Lifetime requested for an upload URL, in seconds."""

MAX_ATTEMPTS: Final = 5
_EXPIRY_MARGIN: Final = 30.0  # s: an upload begun just before its URL expires is refused
_MAX_UPLOAD_URLS: Final = 2  # paid for by one call at most, even if the clock jumps
_MIN_SEND_BYTES: Final = 64 * 1024
"""The first step of a body. Small, so that a slow connection does not look stalled."""

_QUICK_STEP: Final = 0.05
"""A step that takes fewer seconds is followed by a larger one, which costs less per byte."""


Presign = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""The call that requests an upload URL: takes the request body, returns the response data."""


class UploadRecords(Protocol):
    """Stores uploads beyond the lifetime of a client; implemented by the journal."""

    async def find_upload(self, digest: str, content_type: str) -> tuple[str, float] | None:
        """Return a content's public URL and its expiry in seconds since 1970, or None."""
        ...

    async def save_upload(
        self, digest: str, content_type: str, url: str, valid_until: float
    ) -> None:
        """Store the public URL of a content until ``until``, in seconds since 1970."""
        ...


@frozen
class _UploadUrl:
    upload_url: str = field(repr=False)
    public_url: str = field(repr=False)
    until: float


@define(eq=False, repr=False)
class _UploadState:
    """The state of one content: its upload URL, and its public URL once uploaded.

    Created and changed by the `Uploader` alone; lives until its URLs have expired or the client is
    closed.
    """

    lock: asyncio.Lock = field(factory=asyncio.Lock)
    presigning: "asyncio.Task[_UploadUrl] | None" = None
    presigned: _UploadUrl | None = None
    url: str | None = None
    until: float = 0.0
    user_count: int = 0


@define(eq=False)
class Uploader:
    """Uploads inputs, each content once within ``reuse_seconds``.

    The (charged) call for an upload URL runs in a separate task, so that its response is kept even
    if its caller is cancelled. ``records`` stores the uploads of all clients of the account.
    ``clock`` returns wall-clock seconds.

    Created once per client, which closes it; changed on the client's event loop only.
    """

    files: FileSession
    reuse_seconds: float = field(default=24 * 3600, kw_only=True)
    clock: Callable[[], float] = field(default=wall_time, kw_only=True)
    records: UploadRecords | None = field(default=None, kw_only=True)
    _entries: dict[tuple[str, str], _UploadState] = field(
        init=False, factory=dict[tuple[str, str], _UploadState]
    )

    @hide_frames
    async def upload(self, upload: LocalUpload, presign: Presign) -> str:
        """Return a public URL of the content, uploaded now or within the last ``reuse_seconds``.

        ``presign`` makes the (charged) call for an upload URL, if this caller is the first that
        needs it. Raises `TransferError`, `DecodeError`, and the errors of ``presign`` and
        ``records``. A failed presign call fails all its waiters: a retry by each would charge
        each of them.
        """
        entry = self._entry(upload)
        entry.user_count += 1
        try:
            with self.files.track_transfer():
                rounds = 0
                while True:
                    if entry.url is not None and self._is_uploaded(entry):
                        return entry.url
                    if (known := await self._uploaded_elsewhere(entry, upload)) is not None:
                        return known
                    signed = await self._get_upload_url(entry, upload, presign)
                    async with entry.lock:
                        if entry.url is not None and self._is_uploaded(entry):
                            return entry.url
                        entry.url = None
                        with self.files.end_on_close():
                            sent = self._is_valid(signed) and await self._put_with_retries(
                                upload, signed
                            )
                        if sent:
                            entry.url = signed.public_url
                            entry.until = self.clock() + self.reuse_seconds
                            await self._store(entry, upload)
                            return entry.url
                        if entry.presigned is signed:
                            entry.presigned = None  # expired
                    rounds += 1
                    if rounds == _MAX_UPLOAD_URLS:
                        raise _error(
                            upload, signed, "was not uploaded before its upload URLs expired"
                        )
        finally:
            entry.user_count -= 1

    async def _uploaded_elsewhere(self, entry: _UploadState, prepared: LocalUpload) -> str | None:
        """Return the public URL of a content that another client has uploaded, or None."""
        if self.records is None or entry.presigned is not None or entry.presigning is not None:
            return None
        found = await self.records.find_upload(prepared.digest, prepared.content_type)
        if found is None or self.clock() >= found[1]:
            return None
        entry.url, entry.until = found
        return entry.url

    async def _store(self, entry: _UploadState, prepared: LocalUpload) -> None:
        url = entry.url or ""
        if self.records is not None and url == bare_url(url):  # never store a signature
            await self.records.save_upload(prepared.digest, prepared.content_type, url, entry.until)

    async def check_unchanged(self, upload: LocalUpload) -> None:
        """Raise `TransferError` if the file must be sent and has changed since it was prepared."""
        if self.needs_presign(upload):
            await self._check(upload)

    def needs_presign(self, upload: LocalUpload) -> bool:
        """Return whether uploading this content now would make the charged call."""
        entry = self._entries.get((upload.digest, upload.content_type))
        return entry is None or not (self._is_uploaded(entry) or self._has_upload_url(entry))

    async def aclose(self, timeout: float = 30.0) -> None:
        """Wait up to ``timeout`` seconds for running presign calls, then cancel them."""
        calls = [e.presigning for e in self._entries.values() if e.presigning is not None]
        calls = [call for call in calls if not call.done()]
        if calls:
            _, late = await asyncio.wait(calls, timeout=timeout)
            for call in late:
                call.cancel()
            if late:
                await asyncio.wait(late)

    def _entry(self, prepared: LocalUpload) -> _UploadState:
        now = self.clock()
        while self._entries:  # remove expired ones, oldest first, up to one still in use
            key, entry = next(iter(self._entries.items()))
            idle = not entry.user_count and entry.presigning is None
            if not idle or entry.until > now or (entry.presigned and entry.presigned.until > now):
                break
            del self._entries[key]
        return self._entries.setdefault((prepared.digest, prepared.content_type), _UploadState())

    async def _check(self, prepared: LocalUpload) -> None:
        if (failure := await self.files.run(describe_change, prepared)) is not None:
            raise _error(prepared, None, failure)

    def _is_uploaded(self, entry: _UploadState) -> bool:
        return entry.url is not None and self.clock() < entry.until

    def _has_upload_url(self, entry: _UploadState) -> bool:
        """Return whether an upload URL for this content exists or is being requested."""
        known = entry.presigned is not None and self._is_valid(entry.presigned)
        return known or entry.presigning is not None

    async def _get_upload_url(
        self, entry: _UploadState, prepared: LocalUpload, presign: Presign
    ) -> _UploadUrl:
        signed = entry.presigned
        if signed is not None and self._is_valid(signed):
            return signed
        call = entry.presigning
        if call is None:
            call = asyncio.create_task(self._request_upload_url(entry, prepared, presign))
            call.add_done_callback(_retrieve_exception)
            if not call.done():  # an eager task may be done already
                entry.presigning = call
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            if call.cancelled():  # by aclose(), not by this caller
                raise ClientClosed("The client was closed before the upload began.") from None
            raise

    async def _request_upload_url(
        self, entry: _UploadState, prepared: LocalUpload, presign: Presign
    ) -> _UploadUrl:
        extension = extension_for_mime_type(prepared.content_type) or "bin"
        try:
            await self._check(prepared)
            asked_at = self.clock()  # before the call, so that the expiry is never too late
            response = await presign(
                {
                    "key": f"a2e-async/{prepared.digest}.{extension}",
                    "contentType": prepared.content_type,
                    "contentLength": prepared.size,
                    "expiresIn": PRESIGNED_SECONDS,
                }
            )
            there, public = _url_field(response, "uploadUrl"), _url_field(response, "cdnUrl")
            valid_seconds = response.get("expiresIn")
            if (
                not isinstance(valid_seconds, int | float)
                or not 60 <= valid_seconds < PRESIGNED_SECONDS
            ):
                valid_seconds = PRESIGNED_SECONDS
            entry.presigned = _UploadUrl(there, public, asked_at + valid_seconds)
            return entry.presigned
        finally:
            entry.presigning = None

    def _is_valid(self, signed: _UploadUrl) -> bool:
        return self.clock() < signed.until - _EXPIRY_MARGIN

    async def _put_with_retries(self, prepared: LocalUpload, signed: _UploadUrl) -> bool:
        """Send the bytes, with retries; return False if the upload URL has expired."""
        for failures in range(1, MAX_ATTEMPTS + 1):
            try:
                async with self.files.transfer_slots:
                    status, refusal = await self._put(prepared, signed, failures - 1)
                if status < 300:
                    return True
                if status == 403 and not self._is_valid(signed):
                    return False
                raise _error(prepared, signed, f"was refused by the store ({refusal})", status)
            except (InvalidUrl, *PERMANENT_ERRORS) as error:
                reason = describe(error)
                raise _error(prepared, signed, f"cannot be sent: {reason}") from sanitize_cause(
                    error
                )
            except TRANSIENT_ERRORS as error:
                if failures == MAX_ATTEMPTS:
                    reason = describe(error)
                    raise _error(
                        prepared, signed, f"could not be sent in {MAX_ATTEMPTS} attempts: {reason}"
                    ) from sanitize_cause(error)
                delay = error.retry_delay if isinstance(error, TransferInterrupted) else 0.0
            await self.files.back_off(failures - 1, at_least=delay)
        raise AssertionError("the last attempt returns or raises")

    async def _put(self, prepared: LocalUpload, signed: _UploadUrl, resend: int) -> tuple[int, str]:
        source = UploadSource(prepared)
        with anyio.CancelScope() as stall:
            body = _UploadBody(self, prepared, source, stall)
            body.extend_stall_deadline()
            try:
                await self.files.run(source.open)
                async with await self.files.request(
                    "PUT",
                    signed.upload_url,
                    resend=resend,
                    data=body,
                    headers={
                        "Content-Type": prepared.content_type,
                        "Content-Length": str(prepared.size),
                    },
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=30),
                ) as response:
                    if response.status in TRANSIENT_STATUSES or response.status >= 500:
                        raise TransferInterrupted(
                            f"HTTP {response.status}", retry_delay=retry_after_seconds(response)
                        )
                    result = response.status, await describe_refusal(response)
                await self.files.run(source.check_unchanged)
            except (aiohttp.ClientError, OSError) as error:
                if source.failure is not None:
                    raise _error(prepared, signed, source.failure) from sanitize_cause(error)
                raise
            else:
                return result
            finally:
                await self.files.run(source.close)
        raise TransferInterrupted(f"no byte was sent for {self.files.stall_timeout:g} seconds")


@define(eq=False)
class _UploadBody:
    """The request body. Each iteration starts from the beginning, since aiohttp may resend it.

    Created for one upload; read by aiohttp.
    """

    _uploader: Uploader
    _prepared: LocalUpload
    _source: UploadSource
    _stall: anyio.CancelScope

    def extend_stall_deadline(self) -> None:
        """Extend the stall deadline: bytes were sent."""
        self._stall.deadline = anyio.current_time() + self._uploader.files.stall_timeout

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        done, size, step = 0, self._prepared.size, _MIN_SEND_BYTES
        emit = self._uploader.files.emit
        while done < size:
            block = memoryview(await self._uploader.files.run(self._source.read, done))
            start = 0
            while start < len(block):
                began = anyio.current_time()
                yield block[start : start + step]
                start += step
                step = next_step(step, anyio.current_time() - began)
                self.extend_stall_deadline()
            done += len(block)
            if emit is not None:
                emit(Transfer(direction="up", name=self._prepared.name, done=done, total=size))


def next_step(size: int, seconds: float) -> int:
    """Return how many bytes to send after a step of ``size`` bytes that took ``seconds``."""
    return min(2 * size, BLOCK_BYTES) if seconds < _QUICK_STEP else _MIN_SEND_BYTES


def _retrieve_exception(call: "asyncio.Task[_UploadUrl]") -> None:
    if not call.cancelled():
        call.exception()  # mark as retrieved, in case all callers were cancelled


def _url_field(response: Any, name: str) -> str:
    value = cast("Mapping[str, Any]", response).get(name) if isinstance(response, Mapping) else None
    if isinstance(value, str):
        with contextlib.suppress(InvalidUrl):
            split_url(value)
            return value
    raise DecodeError(
        f"The response to the request for an upload URL has no usable {name}. Nothing was "
        "uploaded; pass a public URL as the input instead, or try again later.",
        method="POST",
        path=PRESIGN_PATH,
    )


def _error(
    prepared: LocalUpload, signed: _UploadUrl | None, what: str, status: int | None = None
) -> TransferError:
    path = str(prepared.source) if isinstance(prepared.source, Path) else None
    kept = "the upload URL is kept until it expires" if signed else "nothing was sent or charged"
    return TransferError(
        f"{path or prepared.name} {what}. Try again; {kept}.",
        url=bare_url(signed.upload_url) if signed else None,
        path=path,
        http_status=status,
    )
