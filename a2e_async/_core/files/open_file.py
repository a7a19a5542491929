"""Read file objects and streams that users give as media inputs.

A seekable file is read in place, from its position when it is inspected, and its position is
restored after each pass; so one file object serves several starts and retries. A stream can be
read once: it is copied to a temporary file, which has no name on disk and disappears with the last
holder of the input, or at the latest with the process.
"""

import contextlib
import inspect
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable
from typing import Any, Final

import anyio
import anyio.to_thread
from attrs import define, field

from a2e_async._core.http.error_mapping import sanitize_cause
from a2e_async._core.redact import describe
from a2e_async._core.schema.media_input import OpenFile
from a2e_async.errors import InvalidInput, TransferError

_STREAM_BYTES: Final = 256 * 1024
"""Bytes per read of a stream."""

_MEMORY_BYTES: Final = 1024 * 1024
"""A stream up to this size is kept in memory instead of a temporary file."""

_LARGE_BYTES: Final = 64 * 1024 * 1024
"""Deleting a larger temporary file may take long enough to delay the event loop."""

CheckBlock = Callable[[bytes, int], None]
"""Checks a block of a stream, and the stream's size with it (bytes). Raises `InvalidInput`."""


# -- seekable files ---------------------------------------------------------------------------


@define(eq=False)
class SharedFile:
    """A user's file object while it is read, by one or more passes at the same time.

    Created by `share`, and shared by all its passes. The last of them restores the position.
    """

    file: Any
    start: int | None = field(init=False, default=None)
    """The user's position, in bytes; None until the first pass has asked for it."""
    users: int = field(init=False, default=0)
    lock: threading.Lock = field(init=False, factory=threading.Lock)

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes at ``offset``; blocks. Raises what the file raises."""
        with self.lock:
            if self.file.tell() != offset:
                self.file.seek(offset)
            block: Any = self.file.read(size)
        return _as_bytes(block)

    def release(self) -> None:
        """End a pass; the last one restores the position."""
        with self.lock:
            with _registry_lock:
                if self.users > 1:
                    self.users -= 1
                    return
            if self.start is not None:
                with contextlib.suppress(Exception):  # the user may have closed it
                    self.file.seek(self.start)
            with _registry_lock:
                self.users -= 1
                if not self.users:
                    del _shared[id(self.file)]


_shared: Final[dict[int, SharedFile]] = {}
_registry_lock: Final = threading.Lock()


def share(file: Any) -> SharedFile:
    """Begin a pass over a seekable file; blocks. Raises what its ``tell`` raises."""
    with _registry_lock:
        shared = _shared.setdefault(id(file), SharedFile(file))
        shared.users += 1
    try:
        with shared.lock:  # a second pass waits here until the first one knows the position
            if shared.start is None:
                shared.start = file.tell()
    except BaseException:
        shared.release()
        raise
    return shared


def _as_bytes(block: Any) -> bytes:
    if isinstance(block, bytes):
        return block
    if type(block) in (bytearray, memoryview):
        return bytes(block)
    if block is None:
        raise TypeError("it has no data yet, because it is in non-blocking mode")
    if isinstance(block, str):
        raise TypeError("it returns text. Open it in binary mode: open(path, 'rb')")
    raise TypeError(f"it returned {type(block).__name__} instead of bytes")


# -- streams ----------------------------------------------------------------------------------

_begun: Final[OrderedDict[int, Any]] = OrderedDict()
"""Streams that are being read, or were read in part: the rest of one is not a file."""

_MAX_BEGUN: Final = 1024


async def read_stream(opened: OpenFile, field: str, check: CheckBlock) -> Any:
    """Return the temporary file with the content of a stream; read the stream the first time.

    Raises `InvalidInput` if it cannot be read to its end, was read before, or ``check`` refuses
    it, and `TransferError` if the disk for temporary files is full.
    """
    if opened.lock is None:
        opened.lock = anyio.Lock()
    async with opened.lock:
        if opened.content is None:
            if opened.was_read:
                raise _read_once_error(field)
            opened.was_read = True
            content = tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES)  # noqa: SIM115  # its holders close it
            copy = _Copy(content, field, check)
            try:
                await _copy(opened, copy, field)
            except BaseException:
                copy.abandon()
                raise
            opened.content = content
            weakref.finalize(opened, _close, content).atexit = False
    return opened.content


async def _copy(opened: OpenFile, copy: "_Copy", field: str) -> None:
    source = opened.source
    if opened.reading == "async iterator":
        source = source.__aiter__()
    with _registry_lock:
        if id(source) in _begun:
            raise _read_once_error(field)
        _begun[id(source)] = source
        while len(_begun) > _MAX_BEGUN:
            _begun.popitem(last=False)
    if opened.reading == "stream":
        stop = threading.Event()
        try:
            await anyio.to_thread.run_sync(_copy_sync, source, copy, stop)
        finally:
            stop.set()  # Task.cancel() does not stop the thread: make it end soon
    else:
        await _copy_async(source, opened.reading, copy)
    with _registry_lock:
        _begun.pop(id(source), None)  # nothing is left: reading it again finds it empty
    if not copy.size:
        raise InvalidInput(
            f"{field}: the stream is empty, or was read to its end before. A stream can be read "
            "once.",
            field=field,
        )


@define
class _Copy:
    """The copy of a stream in a temporary file.

    Created for one stream, and used by the one thread or coroutine that reads it. A cancelled
    reader abandons it while a thread may still be writing: then that thread closes the file.
    """

    content: Any
    input_name: str
    check: CheckBlock
    size: int = 0
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _writing: bool = field(default=False, init=False)
    _abandoned: bool = field(default=False, init=False)

    def write(self, block: bytes) -> None:
        """Append a block; blocks for the disk."""
        with self._lock:
            if self._abandoned:
                return
            self._writing = True
        try:
            self._write(block)
        finally:
            with self._lock:
                self._writing = False
                abandoned = self._abandoned
            if abandoned:
                _close(self.content)

    def abandon(self) -> None:
        """Close the file as soon as no thread writes to it."""
        with self._lock:
            self._abandoned = True
            if self._writing:
                return
        _close(self.content)

    def _write(self, block: bytes) -> None:
        self.size += len(block)
        self.check(block, self.size)
        try:
            self.content.write(block)
        except OSError as error:
            raise TransferError(
                f"{self.input_name}: the stream cannot be kept in a temporary file: "
                f"{error.strerror}. Free some space, or set TMPDIR to another disk; nothing was "
                "sent or charged."
            ) from None


def _copy_sync(source: Any, copy: _Copy, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            block = _as_bytes(source.read(_STREAM_BYTES))
        except Exception as error:
            raise unreadable_error(copy.input_name, error) from sanitize_cause(error)
        if not block:
            _check_complete(source, copy.input_name)
            return
        copy.write(block)


async def _copy_async(source: Any, reading: str, copy: _Copy) -> None:
    pending = bytearray()
    try:
        while True:
            try:
                if reading == "async iterator":
                    block = await anext(source, None)
                elif reading == "async chunks":
                    block = await source.read_chunk(_STREAM_BYTES)
                else:
                    block = await source.read(_STREAM_BYTES)
            except Exception as error:
                raise unreadable_error(copy.input_name, error) from sanitize_cause(error)
            at_end = block is None or (not block and reading != "async iterator")
            if block is not None:
                try:
                    pending += _as_bytes(block)
                except TypeError as error:
                    raise unreadable_error(copy.input_name, error) from None
            if pending and (at_end or len(pending) >= _STREAM_BYTES):
                await anyio.to_thread.run_sync(copy.write, bytes(pending))
                pending.clear()
            if at_end:
                return
    finally:
        close = getattr(source, "aclose", None)
        if reading == "async iterator" and inspect.isasyncgen(source) and close is not None:
            with anyio.CancelScope(shield=True), contextlib.suppress(Exception):
                await close()


def _check_complete(source: Any, field: str) -> None:
    """Raise `InvalidInput` if an HTTP response ended before its Content-Length.

    The standard library's responses return the bytes that have arrived without an error.
    """
    for name in ("length", "length_remaining"):
        left = getattr(source, name, None)
        if hasattr(source, "getheader") and isinstance(left, int) and left > 0:
            raise unreadable_error(field, EOFError(f"it ended {left:,} bytes too early"))


# -- holders ----------------------------------------------------------------------------------


def hold_files(values: Iterable[Any]) -> None:
    """Keep the content of streams among these media inputs until `release_files`."""
    for value in values:
        if isinstance(value, OpenFile):
            value.holders += 1


def release_files(values: Iterable[Any]) -> None:
    """Release media inputs; the last holder's call deletes the temporary files."""
    for value in values:
        if isinstance(value, OpenFile):
            value.holders -= 1
            if not value.holders and value.content is not None:
                content, value.content = value.content, None
                _close(content)


@contextlib.contextmanager
def held_files(values: Iterable[Any]) -> Generator[None]:
    """Hold media inputs within a block."""
    held = list(values)
    hold_files(held)
    try:
        yield
    finally:
        release_files(held)


def _close(content: Any) -> None:
    """Close a temporary file, perhaps while its other holder does the same in a thread."""
    with contextlib.suppress(Exception):
        if content.tell() >= _LARGE_BYTES:
            threading.Thread(target=_close_now, args=(content,), daemon=True).start()
        else:
            _close_now(content)


def _close_now(content: Any) -> None:
    with contextlib.suppress(Exception):
        content.close()


# -- errors -----------------------------------------------------------------------------------


def unreadable_error(field: str, error: Exception) -> InvalidInput:
    """Return the error for a file object or stream that failed while it was read."""
    if isinstance(error, InvalidInput):
        return error
    reason = describe(error)
    return InvalidInput(
        f"{field}: the file object or stream cannot be read to its end: {reason}. Nothing was "
        "sent or charged.",
        field=field,
    )


def _read_once_error(field: str) -> InvalidInput:
    return InvalidInput(
        f"{field}: this stream has been read, at least in part. A stream can be read once: open it "
        "again, or save it to a file.",
        field=field,
    )
