"""One download, over as many responses, pauses and renewed URLs as it takes."""

import re
import ssl
import zlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from attrs import define, field

from a2e_async.errors import TransferError, seal, sealed
from a2e_async.events import Transfer
from a2e_async.models import Output
from a2e_async.redact import bare_url, redact
from a2e_async.transport.wire import clean_cause

if TYPE_CHECKING:
    from a2e_async.transport.transfer import FileSession

Renew = Callable[[Output], Awaitable[Output]]

MAX_TRIES: Final = 6
"""Tries in a row that bring no new byte before a download is given up."""

MAX_RENEWALS: Final = 3
"""Fresh URLs asked for in one download."""

REPORT_EVERY: Final = 1024 * 1024
"""Bytes between two `Transfer` events."""

GONE: Final = frozenset({401, 403, 404, 410})
"""What a store answers for a URL whose time is over, or whose file is gone."""

BUSY: Final = frozenset({408, 425, 429})

_RANGE: Final = re.compile(r"bytes\s+(\d+)-(\d+)/(\d+|\*)")
_REASON: Final = re.compile(rb"<Code>([A-Za-z]{1,60})</Code>")


class Cut(Exception):
    """This response is of no more use; another try may be. ``after``: seconds to wait first."""

    def __init__(self, message: str, *, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


FINAL: Final = (aiohttp.InvalidURL, aiohttp.ClientSSLError, ssl.CertificateError)
"""Errors that trying again does not mend."""

TRANSIENT: Final = (Cut, aiohttp.ClientError, OSError)  # TimeoutError is an OSError


@define(eq=False, repr=False)
class Stream:
    """The bytes of one output, in order, each once, checked for length.

    With ``rewind`` the taker can begin anew: `restarts` grows when what it got before is void.
    Without it a server that knows no ranges is read past what was taken already, and a file
    that changed meanwhile is an error.
    """

    files: "FileSession"
    output: Output
    name: str
    renew: Renew | None
    rewind: bool = True
    hold_slot: bool = True
    at: int = field(init=False, default=0)
    """Bytes of the stored file taken so far, over all runs."""
    total: int | None = field(init=False, default=None)
    etag: str | None = field(init=False, default=None)
    content_type: str | None = field(init=False, default=None)
    disposition: str | None = field(init=False, default=None)
    restarts: int = field(init=False, default=0)
    path: str | None = field(init=False, default=None)
    _response: aiohttp.ClientResponse | None = field(init=False, default=None)
    _slot: bool = field(init=False, default=False)
    _position: int = field(init=False, default=0)
    _whole: bool = field(init=False, default=False)
    _finished: bool = field(init=False, default=False)
    _decoder: Any = field(init=False, default=None)
    _best: int = field(init=False, default=0)
    _failures: int = field(init=False, default=0)
    _renewals: int = field(init=False, default=0)
    _stale: set[str] = field(init=False, factory=set[str])
    _told: int = field(init=False, default=0)

    def resume(self, at: int, etag: str | None) -> None:
        """Go on behind ``at`` bytes that an earlier run left."""
        self.at = self._best = self._told = at
        self.etag = etag

    @property
    def encoded(self) -> bool:
        """True when the bytes given out are not those the server counts."""
        return self._decoder is not None

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
            except FINAL as error:
                raise self.error(f"cannot be fetched: {_told(error)}") from clean_cause(error)
            except TRANSIENT as error:
                await self.again(error)

    async def pull(self) -> bytes:
        """Return the next bytes; empty at the end, when all are there. Raises `TransferError`."""
        while True:
            if self._decoder is not None and self._decoder.unconsumed_tail:
                if data := self._decode(b""):
                    return data
                continue
            if self._finished:
                if self._decoder is not None and not self._decoder.eof:
                    raise self.error("is damaged: its compressed data ends too soon.")
                return b""
            if self._response is None:
                await self.start()
                continue
            try:
                data = await self._next(self._response)
            except TRANSIENT as error:
                await self.again(error)
                continue
            if data and self._decoder is not None:
                data = self._decode(data)
            if data:
                return data

    def close(self) -> None:
        """Drop the connection, if there is one. May be called again."""
        self._drop()
        self._free()

    def error(self, what: str, status: int | None = None) -> TransferError:
        """Return the error that says ``what`` happened to this download."""
        url = bare_url(self.output.url)
        return TransferError(
            f"{url} {what}", url=url, path=self.path, http_status=status, done=self.at
        )

    # -- one response ------------------------------------------------------------------------

    async def _begin(self) -> None:
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        asked = 0 if self._whole else self.at
        if asked:
            headers["Range"] = f"bytes={asked}-"
            if self.etag and not self.etag.startswith("W/"):
                headers["If-Range"] = self.etag
        await self.enter()
        response = self._response = await self.files.get(self.output.url, headers)
        try:
            await self._accept(response, asked)
        except BaseException:
            self.close()
            raise
        if not self.hold_slot:
            self._free()

    async def _accept(self, response: aiohttp.ClientResponse, asked: int) -> None:
        status = response.status
        if status == 200:
            self._check_kind(response)
            self._from_the_start(response)
        elif status == 206 and asked:
            self._check_kind(response)
            self._go_on(response, asked)
        elif status == 416 and asked:
            found = re.fullmatch(r"bytes\s+\*/(\d+)", response.headers.get("Content-Range", ""))
            if found and int(found[1]) == asked and not self.encoded:
                self.total = asked
                self._end()
            else:
                self._changed("is shorter now than what was read of it")
        elif status in GONE:
            await self._renewed(response)
        elif status in BUSY or status >= 500:
            raise Cut(f"HTTP {status}", after=retry_after(response))
        else:
            raise self.error(f"cannot be fetched: {await refusal(response)}.", status)

    def _check_kind(self, response: aiohttp.ClientResponse) -> None:
        mime = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if self.output.media != "file" and mime in ("text/html", "application/xhtml+xml"):
            raise self.error(
                f"gave a web page where a {self.output.media} was expected. The link leads to a "
                "page about the file, or the store shows an error; get a fresh URL.",
                response.status,
            )
        coding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if coding not in ("identity", "", "gzip", "x-gzip", "deflate"):
            raise self.error(f"is stored in an encoding not asked for ({coding}).", response.status)
        self.content_type = mime or None
        self.disposition = response.headers.get("Content-Disposition")

    def _from_the_start(self, response: aiohttp.ClientResponse) -> None:
        etag, length = response.headers.get("ETag"), response.content_length
        if self.at and self.rewind:
            self._restart()
        elif self.at and (
            (self.etag and etag and etag != self.etag)
            or (self.total is not None and length is not None and length != self.total)
        ):
            raise self._changed_error()
        self._position, self.etag, self.total = 0, etag, length
        coding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if coding not in ("identity", "") and not self.at:
            self._decoder = zlib.decompressobj(47 if "gzip" in coding else 15)

    def _go_on(self, response: aiohttp.ClientResponse, asked: int) -> None:
        found = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if not found or int(found[1]) != asked:
            self._whole = True  # a server that mixes up ranges gets none any more
            raise Cut("a range came that was not asked for")
        total = None if found[3] == "*" else int(found[3])
        etag = response.headers.get("ETag")
        if (
            (etag and self.etag and etag != self.etag)
            or (total is not None and self.total is not None and total != self.total)
            or (response.headers.get("Content-Encoding") and not self.encoded)
        ):
            self._changed("changed while it was read")
        self._position = asked
        self.etag = etag or self.etag
        self.total = total if total is not None else self.total or int(found[2]) + 1

    async def _next(self, response: aiohttp.ClientResponse) -> bytes:
        while True:
            data, end_of_chunk = await response.content.readchunk()
            if data:
                self._position += len(data)
                fresh = self._position - self.at
                if fresh <= 0:
                    continue  # read before: the server began anew
                self.at = self._position
                if self.total is not None and self.at > self.total:
                    raise self.error(f"is longer than the {self.total:,} bytes announced.")
                if self.at > self._best:
                    self._best, self._failures = self.at, 0
                if self.at - self._told >= REPORT_EVERY:
                    self._tell()
                return data[-fresh:] if fresh < len(data) else data
            if not end_of_chunk:
                break
        if self._position < max(self.total or 0, self.at):
            raise Cut(f"the answer ended at {self._position:,} of {self.total or self.at:,} bytes")
        if not self.at:
            raise self.error("is empty. Ask for the task's record again in a minute.", 200)
        self._end()
        return b""

    def _decode(self, data: bytes) -> bytes:
        try:
            given: bytes = self._decoder.decompress(
                self._decoder.unconsumed_tail + data, REPORT_EVERY
            )
        except zlib.error as error:
            raise self.error("is damaged: its compressed data cannot be read.") from error
        return given

    # -- what happens between responses ------------------------------------------------------

    def _changed(self, what: str) -> None:
        """Begin anew if the taker can; raises either way."""
        if not self.rewind:
            raise self._changed_error()
        self._restart()
        raise Cut(what)

    def _changed_error(self) -> TransferError:
        return self.error("changed while it was read. Read it again.")

    def _restart(self) -> None:
        self.restarts += 1
        self.at = self._told = 0
        self.etag = self.total = self._decoder = None

    async def _renewed(self, response: aiohttp.ClientResponse) -> None:
        status, said = response.status, await refusal(response)
        self.close()
        self._stale.add(self.output.url)
        if self.renew is None:
            raise self.error(f"is no longer available ({said}). Get a fresh URL.", status)
        if self._renewals >= MAX_RENEWALS:
            raise self.error(
                f"is no longer available: {MAX_RENEWALS} fresh URLs were refused as well ({said}).",
                status,
            )
        if self._renewals:
            await self.files.pause(self._renewals - 1)
        self._renewals += 1
        fresh = await self.renew(self.output)
        if fresh.url in self._stale:
            raise self.error(
                "is no longer available: the service still names it, the store refuses it "
                f"({said}). Results are kept for a few days only.",
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
            data = await self._source.pull()
        except BaseException as error:
            seal(error)
            raise
        if data:
            return data
        raise StopAsyncIteration


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
