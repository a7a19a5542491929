"""One download, over as many responses, pauses and renewed URLs as it takes."""

import hashlib
import re
import ssl
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from attrs import define, field

from a2e_async._clock import wall_time
from a2e_async.errors import TransferError, seal, sealed
from a2e_async.events import Transfer
from a2e_async.models import Output
from a2e_async.redact import bare_url, redact
from a2e_async.transport.coding import GZIP_MAGIC, Damaged, Decoder, Unsupported, codings
from a2e_async.transport.container import Structure, structure_of
from a2e_async.transport.mediatype import HEAD_BYTES, document_in, is_textual, may_be_text
from a2e_async.transport.wire import clean_cause
from a2e_async.urls import BadUrl

if TYPE_CHECKING:
    from a2e_async.transport.transfer import FileSession

Renew = Callable[[Output], Awaitable[Output]]

MAX_TRIES: Final = 6
"""Tries in a row that bring no new byte before a download is given up."""

MAX_RENEWALS: Final = 3
"""Fresh URLs asked for in one download."""

MAX_REJECTIONS: Final = 4
"""Complete responses in one download that are not the result, before it is given up."""

REPORT_EVERY: Final = 1024 * 1024
"""Bytes between two `Transfer` events."""

BUSY: Final = frozenset({408, 421, 423, 425, 429, 460, 499})
"""Refusals that pass; any other 4xx means that the URL's time is over or its file is gone."""

SETTLED: Final = 60.0
"""Seconds after which a file's Last-Modified tells its versions apart (RFC 9110, 8.8.2.2)."""

_EXPECTED: Final = {"audio": "an audio file", "image": "an image", "video": "a video"}
_RANGE: Final = re.compile(r"bytes\s+(\d+)-(\d+)/(\d+|\*)")
_REASON: Final = re.compile(rb"<Code>([A-Za-z]{1,60})</Code>")


class Cut(Exception):
    """This response is of no more use; another try may be. ``after``: seconds to wait first."""

    def __init__(self, message: str, *, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


class Rejected(Exception):
    """A response ended, and what it gave is not the complete result."""


FINAL: Final = (aiohttp.ClientSSLError, ssl.CertificateError)
"""Errors that trying again does not mend."""

TRANSIENT: Final = (Cut, aiohttp.ClientError, OSError)  # TimeoutError is an OSError


@define(eq=False, repr=False)
class Stream:
    """The bytes of one output, in order, each once, checked for length and kind.

    With ``rewind`` the taker can begin again: `restarts` grows when what it got before is void.
    Without it a server that knows no ranges is read past what was taken already, and a file
    that changed meanwhile is an error. ``target`` is the file's name, where it has one already.
    """

    files: "FileSession"
    output: Output
    name: str
    renew: Renew | None
    rewind: bool = True
    hold_slot: bool = True
    target: str | None = None
    at: int = field(init=False, default=0)
    """Bytes of the stored file taken so far, over all runs."""
    total: int | None = field(init=False, default=None)
    validator: str | None = field(init=False, default=None)
    """What tells the file's versions apart (an ETag or a date), for If-Range."""
    content_type: str | None = field(init=False, default=None)
    disposition: str | None = field(init=False, default=None)
    restarts: int = field(init=False, default=0)
    path: str | None = field(init=False, default=None)
    _response: aiohttp.ClientResponse | None = field(init=False, default=None)
    _protocol: Any = field(init=False, default=None)
    """The connection of a response whose body ends when it does."""
    _slot: bool = field(init=False, default=False)
    _position: int = field(init=False, default=0)
    _whole: bool = field(init=False, default=False)
    _finished: bool = field(init=False, default=False)
    _flushed: bool = field(init=False, default=False)
    _codings: tuple[str, ...] = field(init=False, default=())
    _decoders: list[Decoder] = field(init=False, factory=list[Decoder])
    _head: bytes = field(init=False, default=b"")
    """The first bytes, held back until there are enough to judge them."""
    _judged: bool = field(init=False, default=False)
    _given: bool = field(init=False, default=False)
    _structure: Structure | None = field(init=False, default=None)
    _taken: Any = field(init=False, default=None)
    """A hash of what was taken, where no validator tells whether the file is still the same."""
    _repeated: Any = field(init=False, default=None)
    """The same of what is read again."""
    _best: int = field(init=False, default=0)
    _failures: int = field(init=False, default=0)
    _rejections: int = field(init=False, default=0)
    _renewals: int = field(init=False, default=0)
    _stale: set[str] = field(init=False, factory=set[str])
    _told: int = field(init=False, default=0)

    def resume(self, at: int, validator: str | None) -> None:
        """Go on behind ``at`` bytes that an earlier run left; those were judged then."""
        self.at = self._best = self._told = at
        self.validator = validator
        self._judged = self._given = at > 0

    @property
    def encoded(self) -> bool:
        """True when the bytes given out are not those the server counts."""
        return any(decoder.active for decoder in self._decoders)

    @property
    def _textless(self) -> bool:
        """True when the result cannot be a text."""
        return not may_be_text(self.output, self.target, self.content_type)

    async def enter(self) -> None:
        """Wait for a place among the parallel transfers; `close` gives it back."""
        if not self._slot:
            await self.files.gate().acquire()
            self._slot = True

    @sealed
    async def start(self) -> None:
        """Get to the first usable answer. Raises `TransferError`."""
        while self._response is None and not self._finished:
            try:
                await self._begin()
            except BadUrl as error:
                await self._renewed(f"its URL is malformed: {error}", None, "cannot be fetched")
            except FINAL as error:
                raise self.error(f"cannot be fetched: {_told(error)}") from clean_cause(error)
            except TRANSIENT as error:
                await self.again(error)

    async def pull(self) -> bytes:
        """Return the next bytes; empty at the end, when all are there. Raises `TransferError`."""
        while True:
            if self._response is None and not self._finished:
                await self.start()
            try:
                data = await self._step()
            except Rejected as error:
                await self._reject(error)
            except Unsupported as error:
                self._restart()
                raise self.error(str(error)) from None
            except TRANSIENT as error:
                await self.again(error)
            else:
                if data is None:
                    return b""
                if data:
                    self._given = True
                    return data

    def close(self) -> None:
        """Drop the connection, if there is one. May be called again."""
        self._drop()
        self._free()

    def refuses(self, head: bytes) -> str | None:
        """Return what a file that begins with ``head`` is, where that cannot be the result."""
        found = document_in(head, self.content_type or "")
        return found if self._textless else None

    def error(self, what: str, status: int | None = None) -> TransferError:
        """Return the error that says ``what`` happened to this download."""
        url = bare_url(self.output.url)
        return TransferError(
            f"{url} {what}", url=url, path=self.path, http_status=status, done=self.at
        )

    # -- one response ------------------------------------------------------------------------

    async def _begin(self) -> None:
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        # Without a validator nothing proves that the rest belongs to what was taken.
        asked = 0 if self._whole or self.validator is None else self.at
        if asked and self.validator is not None:
            headers["Range"] = f"bytes={asked}-"
            headers["If-Range"] = self.validator
        await self.enter()
        try:
            response = self._response = await self.files.get(self.output.url, headers)
            await self._accept(response, asked)
        except BaseException:
            self.close()
            raise
        if not self.hold_slot:
            self._free()

    async def _accept(self, response: aiohttp.ClientResponse, asked: int) -> None:
        status = response.status
        if status in (200, 201, 203) or (status == 206 and not asked):
            self._from_the_start(response)
        elif status == 206:
            self._go_on(response, asked)
        elif status == 416 and asked:
            found = re.fullmatch(r"bytes\s+\*/(\d+)", response.headers.get("Content-Range", ""))
            if found and int(found[1]) == asked and not self.encoded:
                self.total = asked
                self._end()
            else:
                self._changed("is shorter now than what was read of it")
        elif 400 <= status < 500 and status not in BUSY:
            await self._renewed(await refusal(response), status)
        else:
            raise Cut(f"HTTP {status}", after=retry_after(response))

    def _from_the_start(self, response: aiohttp.ClientResponse) -> None:
        headers, total = response.headers, response.content_length
        framed = total is not None or "chunked" in headers.get("Transfer-Encoding", "").lower()
        mime = _mime(response)
        if mime.startswith("multipart/"):
            raise Cut("ranges came that were not asked for")
        if response.status == 206 and "Content-Range" in headers:
            found = _RANGE.fullmatch(headers["Content-Range"].strip())
            if not found or int(found[1]):
                raise Cut("a range came that was not asked for")
            total = None if found[3] == "*" else int(found[3])
        if self.at and self.rewind:
            self._restart()
        elif self.at and (
            not self._same_version(response)
            or (self.total is not None and total is not None and total != self.total)
        ):
            raise self._changed_error()
        self._position, self.total = 0, total
        self._protocol = None if framed else _protocol(response)
        self.content_type, self.disposition = mime or None, headers.get("Content-Disposition")
        if self.at:
            self._repeated = hashlib.blake2b() if self.validator is None else None
            return
        self.validator = validator_of(response)
        self._codings = codings(headers.get("Content-Encoding"))
        self._decoders = [Decoder(coding) for coding in reversed(self._codings)]
        self._head, self._judged = b"", False
        self._taken = None if self.rewind or self.validator else hashlib.blake2b()

    def _go_on(self, response: aiohttp.ClientResponse, asked: int) -> None:
        found = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        total = int(found[3]) if found and found[3] != "*" else None
        if not found or int(found[1]) != asked or (total is None and self.total is None):
            self._whole = True  # a server that mixes up ranges gets none any more
            raise Cut("a range came that was not asked for")
        if (
            not self._same_version(response)
            or (total is not None and self.total is not None and total != self.total)
            or codings(response.headers.get("Content-Encoding")) != self._codings
            or (is_textual(_mime(response)) and self._textless)
        ):
            self._whole = True
            self._changed("changed while it was read")
        self._position, self._protocol = asked, None
        self.total = self.total if total is None else total

    def _same_version(self, response: aiohttp.ClientResponse) -> bool:
        """Return whether this is the version that was read before, where that can be told."""
        if self.validator is None:
            return True
        return self.validator in (
            response.headers.get("ETag", "").strip(),
            response.headers.get("Last-Modified", "").strip(),
        )

    async def _step(self) -> bytes | None:
        """Return more of the file, perhaps nothing yet; None at its end."""
        if self._decoders and any(decoder.pending for decoder in self._decoders):
            data = self._decode(b"")
        elif self._finished:
            return self._flush()
        else:
            assert self._response is not None  # noqa: S101  # `start` has made it
            data = await self._next(self._response)
            if data and self._decoders:
                data = self._decode(data)
        return self._judge(data)

    async def _next(self, response: aiohttp.ClientResponse) -> bytes:
        while True:
            data, end_of_chunk = await response.content.readchunk()
            if data:
                self._position += len(data)
                fresh = self._position - self.at
                if self._repeated is not None:
                    self._compare(data, fresh)
                if fresh <= 0:
                    continue  # read before: the server began again
                self.at = self._position
                if self.total is not None and self.at > self.total:
                    self._whole = True
                    self._changed(f"is longer than the {self.total:,} bytes announced")
                if self.at > self._best:
                    self._best, self._failures = self.at, 0
                if self.at - self._told >= REPORT_EVERY:
                    self._tell()
                data = data[-fresh:] if fresh < len(data) else data
                if self._taken is not None:
                    self._taken.update(data)
                return data
            if not end_of_chunk:
                break
        if self._position < max(self.total or 0, self.at):
            raise Cut(f"the answer ended at {self._position:,} of {self.total or self.at:,} bytes")
        # aiohttp takes any end of a connection for the end of such a body.
        if self._protocol is not None and isinstance(self._protocol.exception(), OSError):
            raise Cut("the connection was reset before the end")
        if not self.at:
            raise Rejected("is empty. Ask for the task's record again in a minute.")
        self._end()
        return b""

    def _compare(self, data: bytes, fresh: int) -> None:
        """Check that what is read again is what was taken, byte for byte."""
        self._repeated.update(data[: len(data) - max(0, fresh)])
        if fresh >= 0:
            if self._repeated.digest() != self._taken.digest():
                raise self._changed_error()
            self._repeated = None

    def _decode(self, data: bytes) -> bytes:
        first = 0
        if not data:
            # The innermost first: the others would give it more than it can hold.
            first = max(n for n, decoder in enumerate(self._decoders) if decoder.pending)
        try:
            for decoder in self._decoders[first:]:
                data = decoder.decode(data)
        except Damaged as error:
            raise Rejected(f"is damaged: {error}.") from error
        return data

    def _decode_end(self, data: bytes) -> bytes:
        try:
            for decoder in self._decoders:
                data = decoder.end(data)
        except Damaged as error:
            raise Rejected(f"is damaged: {error}.") from error
        return data

    def _flush(self) -> bytes | None:
        """Return what is left at the end of the last response; None when that was all."""
        if self._flushed:
            return None
        data = self._judge(self._decode_end(b""), last=True)
        if self._structure is not None:
            verdict = self._structure.verdict()
            if verdict == "cut" or (verdict == "unfinished" and self._protocol is not None):
                raise Rejected("is cut: the file itself says that there is more of it.")
        self._flushed = True
        return data

    def _judge(self, data: bytes, *, last: bool = False) -> bytes:
        """Return what may be given out: nothing before the first bytes were seen to be right."""
        if not self._judged:
            head = self._head = self._head + data
            if len(head) < HEAD_BYTES and not last:
                return b""
            if self._textless and not self._decoders and head.startswith(GZIP_MAGIC):
                # Packed, and no label says so; no media file begins like that.
                self._decoders, self._head = [Decoder("gzip")], b""
                data = self._decode_end(head) if last else self._decode(head)
                return self._judge(data, last=last)
            if what := self.refuses(head):
                wanted = _EXPECTED.get(self.output.media, "the result")
                raise Rejected(
                    f"gave {what} where {wanted} was expected. The link leads to a page about "
                    "the file, or the store shows an error; get a fresh URL."
                )
            self._judged, self._head, data = True, b"", head
            self._structure = structure_of(head)
        if self._structure is not None:
            self._structure.feed(data)
        return data

    # -- what happens between responses ------------------------------------------------------

    def _changed(self, what: str) -> None:
        """Begin again if the taker can; raises either way."""
        if not self.rewind:
            raise self._changed_error()
        self._restart()
        raise Cut(what)

    def _changed_error(self) -> TransferError:
        return self.error("changed while it was read. Read it again.")

    def _restart(self) -> None:
        self.restarts += 1
        self.at = self._told = 0
        self.validator = self.total = self._structure = None
        self._decoders, self._codings, self._head = [], (), b""
        self._judged = self._given = self._finished = self._flushed = False

    async def _reject(self, error: Rejected) -> None:
        """Begin again where a response was not the result, once by a fresh URL.

        Raises `TransferError` after the last try, or when some of it was taken for good.
        """
        self.close()
        failed = self.error(str(error), 200)
        final = self._given and not self.rewind
        self._restart()  # nothing of it is kept
        self._rejections += 1
        if final or self._rejections >= MAX_REJECTIONS:
            raise failed from error.__cause__
        await self.files.pause(self._rejections - 1)
        if self._rejections == 2 and self.renew is not None:
            self.output = await self.renew(self.output)

    async def _renewed(
        self, said: str, status: int | None, what: str = "is no longer available"
    ) -> None:
        """Go on with a fresh URL. Raises `TransferError` where there is none."""
        self.close()
        self._stale.add(self.output.url)
        if self.renew is None:
            raise self.error(f"{what} ({said}). Get a fresh URL.", status)
        if self._renewals >= MAX_RENEWALS:
            raise self.error(
                f"{what}: {MAX_RENEWALS} fresh URLs were refused as well ({said}).", status
            )
        if self._renewals:
            await self.files.pause(self._renewals - 1)
        self._renewals += 1
        fresh = await self.renew(self.output)
        if fresh.url in self._stale:
            raise self.error(
                f"{what}: the service gives the same URL again ({said}). Results are kept for a "
                "few days only.",
                status,
            )
        self.output = fresh

    async def again(self, error: Exception) -> None:
        """Give the place back and wait for the next try; raise `TransferError` after the last."""
        self.close()
        self._failures += 1
        if self._failures >= MAX_TRIES:
            raise self.error(
                f"could not be read to its end: {_told(error)} ({MAX_TRIES} tries in a row, "
                f"{self.at:,} bytes so far). Try again; what is there is kept."
            ) from clean_cause(error)
        after = error.after if isinstance(error, Cut) else 0.0
        await self.files.pause(self._failures - 1, at_least=after)

    def _end(self) -> None:
        self._finished = True
        self._drop()  # the place stays taken until the file is in its own
        if self._told != self.at or not self.at:
            self._tell()

    def _tell(self) -> None:
        self._told = self.at
        if (emit := self.files.emit) is not None:
            emit(Transfer(direction="down", name=self.name, done=self.at, total=self.total))

    def _drop(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.release() if self._finished else response.close()

    def _free(self) -> None:
        if self._slot:
            self._slot = False
            self.files.gate().release()


@define(eq=False, repr=False)
class Chunks:
    """Iterates over a stream; an object, because a generator must not hold its clean-up."""

    _source: Stream

    def __aiter__(self) -> "Chunks":
        return self

    async def __anext__(self) -> bytes:
        try:
            with self._source.files.interruptible():
                data = await self._source.pull()
        except BaseException as error:
            seal(error)
            raise
        if data:
            return data
        raise StopAsyncIteration


def validator_of(response: aiohttp.ClientResponse) -> str | None:
    """Return what If-Range can hold for this response: a strong ETag, or a settled date."""
    etag = response.headers.get("ETag", "").strip()
    if etag and not etag.startswith("W/"):
        return etag
    modified = response.headers.get("Last-Modified", "").strip()
    changed, now = _moment(modified), _moment(response.headers.get("Date", "")) or wall_time()
    return modified if changed is not None and now - changed >= SETTLED else None


def _moment(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


def _mime(response: aiohttp.ClientResponse) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _protocol(response: aiohttp.ClientResponse) -> Any:
    connection = response.connection
    return None if connection is None else connection.protocol


def retry_after(response: aiohttp.ClientResponse) -> float:
    """Return the seconds a server asked to wait, at most 60; 0 when it did not say."""
    try:
        return min(60.0, max(0.0, float(response.headers.get("Retry-After", "0"))))
    except ValueError:
        return 0.0  # a date: the backoff does as well


async def refusal(response: aiohttp.ClientResponse) -> str:
    """Return status and, where the store names it, the reason of a refusal.

    Only the code: the rest of a store's answer repeats what was signed.
    """
    try:
        found = _REASON.search(await response.content.read(4096))
    except (aiohttp.ClientError, OSError):
        found = None
    return f"HTTP {response.status}" + (f" {found[1].decode()}" if found else "")


def _told(error: BaseException) -> str:
    return redact(str(error)) or type(error).__name__
