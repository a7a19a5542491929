"""Download one file, resuming over as many responses, back-offs and renewed URLs as needed."""

import hashlib
import re
import ssl
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from attrs import define, field

from a2e_async._core.base_errors import drop_frames, hide_frames
from a2e_async._core.clock import utc_now, wall_time
from a2e_async._core.files.content_encoding import (
    GZIP_MAGIC,
    ContentDecoder,
    CorruptedContent,
    UnsupportedEncoding,
    content_encodings,
)
from a2e_async._core.files.media_container import CompletenessChecker, completeness_checker_for
from a2e_async._core.files.media_types import (
    SNIFF_BYTES,
    detect_document,
    is_known_media,
    is_text_mime_type,
    output_may_be_text,
)
from a2e_async._core.http.error_mapping import sanitize_cause
from a2e_async._core.http.retry import parse_retry_after
from a2e_async._core.redact import bare_url, describe
from a2e_async._core.urls import InvalidUrl
from a2e_async.errors import TransferError
from a2e_async.events import Transfer
from a2e_async.models import Output

if TYPE_CHECKING:
    from a2e_async._core.files.download import FileSession

RenewUrl = Callable[[Output], Awaitable[Output]]

MAX_ATTEMPTS: Final = 6
"""Consecutive attempts without a new byte after which a download fails."""

MAX_RENEWALS: Final = 3
"""Fresh URLs requested for one download, at most."""

MAX_ENCODINGS: Final = 3
"""Content encodings that are removed from one file, at most."""

MAX_REJECTIONS: Final = 4
"""Complete responses with other content than the result after which a download fails."""

REPORT_EVERY: Final = 1024 * 1024
"""Bytes between two `Transfer` events."""

TRANSIENT_STATUSES: Final = frozenset({408, 421, 423, 425, 429, 460, 499})
"""Retryable statuses; any other 4xx means that the URL has expired or the file is gone."""

MIN_LAST_MODIFIED_AGE: Final = 60.0
"""Minimum age in seconds at which Last-Modified identifies a version (RFC 9110, 8.8.2.2)."""

_EXPECTED_MEDIA: Final = {"audio": "an audio file", "image": "an image", "video": "a video"}
_RANGE: Final = re.compile(r"bytes\s+(\d+)-(\d+)/(\d+|\*)")
_STORE_ERROR_CODE: Final = re.compile(rb"<Code>([A-Za-z]{1,60})</Code>")


class TransferInterrupted(Exception):
    """The response cannot be used further; a retry may help, after ``retry_delay`` seconds."""

    def __init__(self, message: str, *, retry_delay: float = 0.0) -> None:
        super().__init__(message)
        self.retry_delay = retry_delay


class ContentRefused(Exception):
    """A response was complete, but its content is not the complete result."""


PERMANENT_ERRORS: Final = (aiohttp.ClientSSLError, ssl.CertificateError)
"""Errors that a retry does not fix."""

TRANSIENT_ERRORS: Final = (
    TransferInterrupted,
    aiohttp.ClientError,
    OSError,
)  # TimeoutError is an OSError


@define(eq=False, repr=False)
class HttpDownload:
    """The bytes of one output, in order and exactly once, checked for length and content type.

    With ``can_restart`` the reader can start over: `restart_count` is incremented when all bytes
    returned before are void. Without it, bytes that a server without range support sends again
    are skipped, and a file that has changed is an error. ``target`` is the name of the local
    file, if already known.

    Created for one transfer, which alone reads it; lives until that ends or is closed.
    """

    files: "FileSession"
    output: Output
    name: str
    renew: RenewUrl | None
    can_restart: bool = True
    hold_slot: bool = True
    target: str | None = None
    received: int = field(init=False, default=0)
    """Bytes of the stored file received so far, including earlier runs."""
    total: int | None = field(init=False, default=None)
    validator: str | None = field(init=False, default=None)
    """Identifies the file's version for If-Range: an ETag or a date."""
    content_type: str | None = field(init=False, default=None)
    disposition: str | None = field(init=False, default=None)
    restart_count: int = field(init=False, default=0)
    path: str | None = field(init=False, default=None)
    _response: aiohttp.ClientResponse | None = field(init=False, default=None)
    _protocol: Any = field(init=False, default=None)
    """The connection, if its end marks the end of the response body."""
    _slot: bool = field(init=False, default=False)
    _position: int = field(init=False, default=0)
    _no_ranges: bool = field(init=False, default=False)
    _finished: bool = field(init=False, default=False)
    _flushed: bool = field(init=False, default=False)
    _codings: tuple[str, ...] = field(init=False, default=())
    _decoders: list[ContentDecoder] = field(init=False, factory=list[ContentDecoder])
    _head: bytes = field(init=False, default=b"")
    """The first bytes, held back until there are enough to detect their type."""
    _checked: bool = field(init=False, default=False)
    _some_returned: bool = field(init=False, default=False)
    _structure: CompletenessChecker | None = field(init=False, default=None)
    _received_hash: Any = field(init=False, default=None)
    """Hash of the bytes received, if there is no validator to detect a changed file."""
    _repeated_hash: Any = field(init=False, default=None)
    """Hash of the bytes that are received again."""
    _most_received: int = field(init=False, default=0)
    _failures: int = field(init=False, default=0)
    _rejection_count: int = field(init=False, default=0)
    _renewal_count: int = field(init=False, default=0)
    _expired_urls: set[str] = field(init=False, factory=set[str])
    _reported: int = field(init=False, default=0)

    def resume(self, received: int, validator: str | None) -> None:
        """Continue after ``received`` bytes of an earlier run, whose content was checked then."""
        self.received = self._most_received = self._reported = received
        self.validator = validator
        self._checked = self._some_returned = received > 0

    @property
    def encoded(self) -> bool:
        """Whether the bytes returned are decoded, so that their count differs from the server's."""
        return any(decoder.active for decoder in self._decoders)

    @property
    def resume_validator(self) -> str | None:
        """The validator with which a later run may resume the bytes returned.

        None for decoded bytes: the store would continue at that position of what it sends.
        """
        return None if self.encoded else self.validator

    @property
    def _never_text(self) -> bool:
        """Whether the result cannot be a text file."""
        return not output_may_be_text(self.output, self.target, self.content_type)

    async def acquire_slot(self) -> None:
        """Wait for one of the slots for parallel transfers; `close` releases it."""
        if not self._slot:
            await self.files.transfer_slots.acquire()
            self._slot = True

    @hide_frames
    async def start(self) -> None:
        """Request the file until a response is usable. Raises `TransferError`."""
        while self._response is None and not self._finished:
            try:
                await self._request()
            except InvalidUrl as error:
                await self._renew_url(f"its URL is malformed: {error}", None, "cannot be fetched")
            except PERMANENT_ERRORS as error:
                raise self.make_error(f"cannot be fetched: {describe(error)}") from sanitize_cause(
                    error
                )
            except TRANSIENT_ERRORS as error:
                await self.back_off(error)

    async def read(self) -> bytes:
        """Return the next bytes; empty at the verified end of the file. Raises `TransferError`."""
        while True:
            if self._response is None and not self._finished:
                await self.start()
            try:
                data = await self._next_bytes()
            except ContentRefused as error:
                await self._reject(error)
            except UnsupportedEncoding as error:
                self._restart()
                raise self.make_error(str(error)) from None
            except TRANSIENT_ERRORS as error:
                await self.back_off(error)
            else:
                if data is None:
                    return b""
                if data:
                    self._some_returned = True
                    return data

    def close(self) -> None:
        """Release the connection and the slot, if held. May be called again."""
        self._drop_response()
        self._release_slot()

    def unexpected_document(self, head: bytes) -> str | None:
        """Return what document ``head`` begins, if a document cannot be the result; else None."""
        if not self._never_text:
            return None
        mime = self.content_type or ""
        found = detect_document(head, mime)
        if found is None and is_text_mime_type(mime) and not is_known_media(head):
            return "a text"  # in an encoding that does not look like text
        return found

    def make_error(self, what: str, status: int | None = None) -> TransferError:
        """Return an error that says ``what`` happened to this download."""
        url = bare_url(self.output.url)
        return TransferError(
            f"{url} {what}", url=url, path=self.path, http_status=status, done=self.received
        )

    # -- one response ------------------------------------------------------------------------

    async def _request(self) -> None:
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        # Without a validator nothing proves that the rest belongs to the same version.
        offset = 0 if self._no_ranges or self.validator is None else self.received
        if offset and self.validator is not None:
            headers["Range"] = f"bytes={offset}-"
            headers["If-Range"] = self.validator
        await self.acquire_slot()
        try:
            response = self._response = await self.files.get(
                self.output.url, headers, resend=self._failures, ref=self.output.ref
            )
            await self._accept(response, offset)
        except BaseException:
            self.close()
            raise
        if not self.hold_slot:
            self._release_slot()

    async def _accept(self, response: aiohttp.ClientResponse, offset: int) -> None:
        status = response.status
        if status in (200, 201, 203) or (status == 206 and not offset):
            self._accept_full(response)
        elif status == 206:
            self._accept_range(response, offset)
        elif status == 416 and offset:
            found = re.fullmatch(r"bytes\s+\*/(\d+)", response.headers.get("Content-Range", ""))
            known = self.total == offset or self._same_version(response)
            if found and int(found[1]) == offset and known and not self.encoded:
                self.total = offset
                self._end()
            else:
                self._restart_or_fail("is now shorter than what was read of it")
        elif 400 <= status < 500 and status not in TRANSIENT_STATUSES:
            await self._renew_url(await describe_refusal(response), status)
        else:
            raise TransferInterrupted(f"HTTP {status}", retry_delay=retry_after_seconds(response))

    def _accept_full(self, response: aiohttp.ClientResponse) -> None:
        headers, total = response.headers, response.content_length
        framed = total is not None or "chunked" in headers.get("Transfer-Encoding", "").lower()
        mime = _mime(response)
        if mime.startswith("multipart/"):
            raise TransferInterrupted("the server sent ranges that were not requested")
        if response.status == 206 and "Content-Range" in headers:
            found = _RANGE.fullmatch(headers["Content-Range"].strip())
            if not found or int(found[1]):
                raise TransferInterrupted("the server sent a range that was not requested")
            total = None if found[3] == "*" else int(found[3])
        if self.received and self.can_restart:
            self._restart()
        elif self.received and (
            not self._same_version(response)
            or (self.total is not None and total is not None and total != self.total)
        ):
            raise self._changed_error()
        self._position, self.total = 0, total
        self._protocol = None if framed else _protocol(response)
        self.content_type, self.disposition = mime or None, headers.get("Content-Disposition")
        if self.received:
            self._repeated_hash = hashlib.blake2b() if self.validator is None else None
            return
        self.validator = validator_for(response)
        self._codings = content_encodings(headers.get("Content-Encoding"))
        self._decoders = [ContentDecoder(coding) for coding in reversed(self._codings)]
        self._head, self._checked = b"", False
        self._received_hash = None if self.can_restart or self.validator else hashlib.blake2b()

    def _accept_range(self, response: aiohttp.ClientResponse, offset: int) -> None:
        found = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        total = int(found[3]) if found and found[3] != "*" else None
        if not found or int(found[1]) != offset or (total is None and self.total is None):
            self._no_ranges = True  # this server mixes up ranges: do not request any more
            raise TransferInterrupted("the server sent a range that was not requested")
        if (
            not self._same_version(response)
            or (total is not None and self.total is not None and total != self.total)
            or content_encodings(response.headers.get("Content-Encoding")) != self._codings
            or (is_text_mime_type(_mime(response)) and self._never_text)
        ):
            self._no_ranges = True
            self._restart_or_fail("changed while it was being read")
        self._position, self._protocol = offset, None
        self.total = self.total if total is None else total

    def _same_version(self, response: aiohttp.ClientResponse) -> bool:
        """Return False if the response is known to be of another version of the file."""
        if self.validator is None:
            return True
        return self.validator in (
            response.headers.get("ETag", "").strip(),
            response.headers.get("Last-Modified", "").strip(),
        )

    async def _next_bytes(self) -> bytes | None:
        """Return more bytes of the file, possibly none yet; None at its end."""
        if self._decoders and any(decoder.has_more for decoder in self._decoders):
            data = self._decode(b"")
        elif self._finished:
            return self._flush()
        else:
            assert self._response is not None  # noqa: S101  # set by `start`
            data = await self._read_response(self._response)
            if data and self._decoders:
                data = self._decode(data)
        return self._check(data)

    async def _read_response(self, response: aiohttp.ClientResponse) -> bytes:
        while True:
            data, end_of_chunk = await response.content.readchunk()
            if data:
                self._position += len(data)
                fresh = self._position - self.received
                if self._repeated_hash is not None:
                    self._verify_repeated_bytes(data, fresh)
                if fresh <= 0:
                    continue  # received before: the server started from the beginning
                self.received = self._position
                if self.total is not None and self.received > self.total:
                    self._no_ranges = True
                    self._restart_or_fail(f"is longer than the {self.total:,} bytes announced")
                if self.received > self._most_received:
                    self._most_received, self._failures = self.received, 0
                if self.received - self._reported >= REPORT_EVERY:
                    self._report_progress()
                data = data[-fresh:] if fresh < len(data) else data
                if self._received_hash is not None:
                    self._received_hash.update(data)
                return data
            if not end_of_chunk:
                break
        if self._position < max(self.total or 0, self.received):
            raise TransferInterrupted(
                f"the response ended at {self._position:,} of {self.total or self.received:,} bytes"
            )
        # aiohttp treats even a reset connection as the regular end of such a body.
        if self._protocol is not None and isinstance(self._protocol.exception(), OSError):
            raise TransferInterrupted("the connection was reset before the end")
        if not self.received:
            raise ContentRefused("is empty. Fetch the task again in a minute.")
        self._end()
        return b""

    def _verify_repeated_bytes(self, data: bytes, fresh: int) -> None:
        """Check by hash that the bytes received again equal those received before."""
        self._repeated_hash.update(data[: len(data) - max(0, fresh)])
        if fresh >= 0:
            if self._repeated_hash.digest() != self._received_hash.digest():
                raise self._changed_error()
            self._repeated_hash = None

    def _decode(self, data: bytes) -> bytes:
        first = 0
        if not data:
            # Drain the last decoder first: running the others would only add to its input.
            first = max(n for n, decoder in enumerate(self._decoders) if decoder.has_more)
        try:
            for decoder in self._decoders[first:]:
                data = decoder.decode(data)
        except CorruptedContent as error:
            raise ContentRefused(f"is damaged: {error}.") from error
        return data

    def _decode_end(self, data: bytes) -> bytes:
        try:
            for decoder in self._decoders:
                data = decoder.finish(data)
        except CorruptedContent as error:
            raise ContentRefused(f"is damaged: {error}.") from error
        return data

    def _flush(self) -> bytes | None:
        """Return the remaining bytes at the end of the last response; None if there are none."""
        if self._flushed:
            return None
        data = self._check(self._decode_end(b""), last=True)
        if self._structure is not None:
            verdict = self._structure.completeness()
            if verdict == "cut" or (verdict == "unfinished" and self._protocol is not None):
                raise ContentRefused("is truncated: by its own structure, the file is longer.")
        self._flushed = True
        return data

    def _check(self, data: bytes, *, last: bool = False) -> bytes:
        """Return the bytes to pass on; the first ones only after their type was checked."""
        if not self._checked:
            head = self._head = self._head + data
            if len(head) < SNIFF_BYTES and not last:
                return b""
            nested = len(self._decoders) < MAX_ENCODINGS
            if self._never_text and nested and head.startswith(GZIP_MAGIC):
                # Compressed without a Content-Encoding, or once more than it says; no media file
                # begins like that.
                decoder = ContentDecoder("gzip")
                self._decoders, self._head = [*self._decoders, decoder], b""
                try:
                    data = decoder.finish(head) if last else decoder.decode(head)
                except CorruptedContent as error:
                    raise ContentRefused(f"is damaged: {error}.") from error
                return self._check(data, last=last)
            if what := self.unexpected_document(head):
                wanted = _EXPECTED_MEDIA.get(self.output.media, "the result")
                raise ContentRefused(
                    f"returned {what} where {wanted} was expected. The URL leads to a page about "
                    "the file, or the store returns an error; get a fresh URL."
                )
            self._checked, self._head, data = True, b"", head
            self._structure = completeness_checker_for(head)
        if self._structure is not None:
            self._structure.feed(data)
        return data

    # -- what happens between responses ------------------------------------------------------

    def _restart_or_fail(self, what: str) -> None:
        """Start over if the reader allows it. Raises `TransferInterrupted` or `TransferError`."""
        if not self.can_restart:
            raise self._changed_error()
        self._restart()
        raise TransferInterrupted(what)

    def _changed_error(self) -> TransferError:
        return self.make_error("changed while it was being read. Read it again.")

    def _restart(self) -> None:
        self.restart_count += 1
        self.received = self._reported = 0
        self.validator = self.total = self._structure = None
        self._decoders, self._codings, self._head = [], (), b""
        self._checked = self._some_returned = self._finished = self._flushed = False

    async def _reject(self, error: ContentRefused) -> None:
        """Start over after a response that is not the result, once with a fresh URL.

        Raises `TransferError` after the last attempt, or if bytes were already returned to a
        reader that cannot start over.
        """
        self.close()
        failed = self.make_error(str(error), 200)
        final = self._some_returned and not self.can_restart
        self._restart()  # a later run must not resume these bytes
        self._rejection_count += 1
        if final or self._rejection_count >= MAX_REJECTIONS:
            raise failed from error.__cause__
        await self.files.back_off(self._rejection_count - 1)
        if self._rejection_count == 2 and self.renew is not None:
            self.output = await self.renew(self.output)

    async def _renew_url(
        self, refusal: str, status: int | None, what: str = "is no longer available"
    ) -> None:
        """Continue with a fresh URL. Raises `TransferError` if there is none."""
        self.close()
        self._expired_urls.add(self.output.url)
        if self.renew is None:
            raise self.make_error(f"{what} ({refusal}). Get a fresh URL.", status)
        if self._renewal_count >= MAX_RENEWALS:
            raise self.make_error(
                f"{what}: {MAX_RENEWALS} fresh URLs were refused as well ({refusal}).", status
            )
        if self._renewal_count:
            await self.files.back_off(self._renewal_count - 1)
        self._renewal_count += 1
        fresh = await self.renew(self.output)
        if fresh.url in self._expired_urls:
            raise self.make_error(
                f"{what}: the service returned the same URL again ({refusal}). It keeps results "
                "for only a few days.",
                status,
            )
        self.output = fresh

    async def back_off(self, error: Exception) -> None:
        """Release the slot and back off; raise `TransferError` after the last attempt."""
        self.close()
        self._failures += 1
        if self._failures >= MAX_ATTEMPTS:
            raise self.make_error(
                f"could not be read to its end: {describe(error)} ({MAX_ATTEMPTS} failed attempts "
                f"in a row, {self.received:,} bytes so far). Try again; the bytes received are "
                "kept."
            ) from sanitize_cause(error)
        after = error.retry_delay if isinstance(error, TransferInterrupted) else 0.0
        await self.files.back_off(self._failures - 1, at_least=after)

    def _end(self) -> None:
        self._finished = True
        self._drop_response()  # the slot is held until the file is in its place
        if self._reported != self.received or not self.received:
            self._report_progress()

    def _report_progress(self) -> None:
        self._reported = self.received
        if (emit := self.files.emit) is not None:
            emit(Transfer(direction="down", name=self.name, done=self.received, total=self.total))

    def _drop_response(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.release() if self._finished else response.close()

    def _release_slot(self) -> None:
        if self._slot:
            self._slot = False
            self.files.transfer_slots.release()


@define(eq=False, repr=False)
class ChunkIterator:
    """Iterates over a download. Not a generator, whose clean-up would run at an unknown time.

    Created for one `Output.open`; belongs to the caller that iterates it.
    """

    _source: HttpDownload

    def __aiter__(self) -> "ChunkIterator":
        return self

    async def __anext__(self) -> bytes:
        try:
            with self._source.files.end_on_close():
                data = await self._source.read()
        except BaseException as error:
            drop_frames(error)
            raise
        if data:
            return data
        raise StopAsyncIteration


def validator_for(response: aiohttp.ClientResponse) -> str | None:
    """Return the If-Range value for this response: a strong ETag or an old enough date."""
    etag = response.headers.get("ETag", "").strip()
    if etag and not etag.startswith("W/"):
        return etag
    modified = response.headers.get("Last-Modified", "").strip()
    changed, now = _timestamp(modified), _timestamp(response.headers.get("Date", "")) or wall_time()
    return modified if changed is not None and now - changed >= MIN_LAST_MODIFIED_AGE else None


def _timestamp(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


def _mime(response: aiohttp.ClientResponse) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _protocol(response: aiohttp.ClientResponse) -> Any:
    connection = response.connection
    return None if connection is None else connection.protocol


def retry_after_seconds(response: aiohttp.ClientResponse) -> float:
    """Return the seconds a server asked to wait, at most 60; 0 if it did not say."""
    headers = response.headers
    seconds = parse_retry_after(headers.get("Retry-After"), utc_now(), headers.get("Date"))
    return min(60.0, seconds or 0.0)


async def describe_refusal(response: aiohttp.ClientResponse) -> str:
    """Return the status of a refusal and, if the store sent one, its error code.

    Nothing else of the body, because stores repeat the signed request in it.
    """
    try:
        found = _STORE_ERROR_CODE.search(await response.content.read(4096))
    except (aiohttp.ClientError, OSError):
        found = None
    return f"HTTP {response.status}" + (f" {found[1].decode()}" if found else "")
