"""Inspect, hash and read local files that are to be uploaded. No network."""

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar
from attrs import define, field, frozen

from a2e_async._core.files.media_container import completeness_checker_for, has_sound_only
from a2e_async._core.files.media_types import (
    AUDIO_MIME_TYPES,
    SNIFF_BYTES,
    detect_document,
    extensions_for_media,
    matches_extension,
    sniff_media_type,
    unsupported_format,
)
from a2e_async._core.files.open_file import SharedFile, read_stream, share, unreadable_error
from a2e_async._core.http.error_mapping import sanitize_cause
from a2e_async._core.paths import local_path
from a2e_async._core.redact import describe
from a2e_async._core.schema.media_input import as_open_file
from a2e_async.errors import InvalidInput
from a2e_async.models import MediaType

MAX_UPLOAD_BYTES: Final = 5 * 1024**3
"""Maximum size of an upload in bytes: the limit of one presigned PUT."""

BLOCK_BYTES: Final = 1024 * 1024
"""Bytes per read."""

_INSPECTED_BYTES: Final = 64 * 1024  # leading bytes from which the media type is detected

_hash_limiter: RunVar[anyio.CapacityLimiter] = RunVar("a2e_hashers")

Fingerprint = tuple[int, int, int]

ReadAt = Callable[[int, int], bytes]
"""Returns up to a number of bytes at a position of a content; no bytes at its end."""


@frozen
class LocalUpload:
    """A local input, checked and hashed; nothing has been sent yet.

    ``digest`` is the SHA-256 of the content in hex, ``size`` its size in bytes, ``content_type``
    its MIME type, ``media`` its media type, ``name`` its name in messages.
    """

    digest: str
    size: int
    content_type: str
    media: MediaType
    name: str
    source: Any = field(repr=False, eq=False)
    """A path, bytes, or a seekable file object."""
    fingerprint: Fingerprint | None = field(default=None, repr=False, eq=False)
    """Size in bytes, mtime in ns and inode of the file when it was hashed; None for others."""
    offset: int = field(default=0, repr=False, eq=False)
    """Where the content begins in a file object, in bytes."""


async def prepare_upload(
    source: Any, *, allowed: tuple[MediaType, ...], field: str, max_bytes: int | None
) -> LocalUpload:
    """Check and hash a path, bytes, file object or stream for an upload; no network.

    ``allowed`` are the media types that the input ``field`` accepts ("file" accepts anything).
    Raises `InvalidInput` if the file is missing, not a regular file, empty, unreadable, truncated,
    of another type or larger than ``max_bytes``. A stream is copied to a temporary file, which is
    kept as long as the input is held (see `open_file`).
    """
    rules = _Rules(field, allowed, max_bytes)
    opened = as_open_file(field, source)
    if opened is not None and opened.reading != "seekable":
        source = await read_stream(opened, field, partial(rules.check_block, opened.filename))
    elif opened is not None:
        source = opened.source
    try:
        limiter = _hash_limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(2)  # hashing is CPU-bound
        _hash_limiter.set(limiter)
    stop = threading.Event()
    try:
        if opened is not None:
            # A stream's content begins at the start of its temporary file.
            start = None if opened.reading == "seekable" else 0
            return await anyio.to_thread.run_sync(
                _inspect_open_file, source, opened.filename, start, rules, stop, limiter=limiter
            )
        return await anyio.to_thread.run_sync(_inspect, source, rules, stop, limiter=limiter)
    finally:
        stop.set()  # Task.cancel() does not stop the thread: make it end soon


def check_local_file(
    path: str, *, allowed: tuple[MediaType, ...], field: str, max_bytes: int | None
) -> None:
    """Check a local file as `prepare_upload` does, but without hashing it.

    Blocks for the read of its first 64 KiB. Raises `InvalidInput` as `prepare_upload` does.
    """
    stop = threading.Event()
    stop.set()
    _inspect(path, _Rules(field, allowed, max_bytes), stop)


@frozen
class _Rules:
    """What an input must be. All methods raise `InvalidInput`."""

    field: str
    allowed: tuple[MediaType, ...]
    max_bytes: int | None

    def check_size(self, size: int, shown: str) -> None:
        if not size:
            raise InvalidInput(f"{shown} is empty.", field=self.field)
        if self.max_bytes is not None and size > self.max_bytes:
            raise InvalidInput(
                f"{shown} has {size:,} bytes; at most {self.max_bytes:,} are allowed.",
                field=self.field,
            )

    def check_block(self, name: str | None, block: bytes, size: int) -> None:
        """Check a block of a stream, after which the stream has ``size`` bytes."""
        shown = f"{self.field}: the stream"
        self.check_size(size, shown)
        if size == len(block) >= _INSPECTED_BYTES:  # refuse the first block of another type early
            head = block[:_INSPECTED_BYTES]
            if sniff_media_type(head, name)[0] != "video":  # which may turn out to be sound only
                self.check_type(head, name, shown)

    def check_type(
        self, head: bytes, name: str | None, shown: str, read_at: ReadAt | None = None
    ) -> tuple[MediaType, str]:
        """Return the media type and MIME type of a file that begins with ``head``."""
        media, mime = sniff_media_type(head, name)
        if name is not None and not matches_extension(head, name):
            what = (
                unsupported_format(head)
                or detect_document(head[:SNIFF_BYTES], "text/plain")
                or "something else"
            )
            if head.startswith(b"version https://git-lfs"):
                what = "a Git LFS pointer; fetch the file itself with `git lfs pull`"
            raise InvalidInput(
                f"{shown} does not match its file extension: it is {what}.", field=self.field
            )
        if read_at is not None and media == "video" and has_sound_only(mime, read_at):
            media, mime = "audio", AUDIO_MIME_TYPES[mime]
        if media in self.allowed or "file" in self.allowed:
            return media, mime
        listed = ", ".join(extensions_for_media(self.allowed))
        wanted = f"{' or '.join(self.allowed)} is required here ({listed})"
        if (unsupported := unsupported_format(head, name)) is not None:
            raise InvalidInput(
                f"{shown} is {unsupported}, whose type cannot be checked; {wanted}. Convert it, "
                "or pass its URL: the service may take it by URL.",
                field=self.field,
            )
        what = "of an unknown type" if mime == "application/octet-stream" else mime
        raise InvalidInput(f"{shown} is {what}; {wanted}.", field=self.field)

    def inspect(
        self,
        read_at: ReadAt,
        name: str | None,
        shown: str,
        stop: threading.Event,
        expected: int | None = None,
    ) -> tuple[str, int, str, MediaType]:
        """Return digest, size, MIME type and media type of a content.

        If ``stop`` is set, the content is not read to its end. ``expected`` is its size, if known.
        """
        head = read_at(0, _INSPECTED_BYTES)
        self.check_size(len(head) if expected is None else expected, shown)
        media, mime = self.check_type(head, name, shown, read_at)
        digest, done, checker = hashlib.sha256(head), len(head), completeness_checker_for(head)
        if checker is not None:
            checker.feed(head)
        while not stop.is_set() and (block := read_at(done, BLOCK_BYTES)):
            digest.update(block)
            done += len(block)
            self.check_size(done, shown)
            if checker is not None:
                checker.feed(block)
        if not stop.is_set() and checker is not None and checker.completeness() == "cut":
            raise InvalidInput(
                f"{shown} is truncated: its {mime} data ends before its own structure says. Give "
                "the complete file.",
                field=self.field,
            )
        return digest.hexdigest(), done, mime, media


def _inspect_open_file(
    file: Any, name: str | None, start: int | None, rules: _Rules, stop: threading.Event
) -> LocalUpload:
    shown = f"{rules.field}: the file object"
    try:
        shared = share(file)
        try:
            offset = shared.start or 0 if start is None else start

            def read_at(position: int, size: int) -> bytes:
                return shared.read_at(offset + position, size)

            if not read_at(0, 1):
                raise InvalidInput(
                    f"{shown} has nothing left to read: its position is {offset:,}. It is read "
                    "from its position on, so call .seek(0) first."
                    if offset
                    else f"{shown} is empty.",
                    field=rules.field,
                )
            digest, size, mime, media = rules.inspect(read_at, name, shown, stop)
        finally:
            shared.release()
    except InvalidInput:
        raise
    except Exception as error:
        raise unreadable_error(rules.field, error) from sanitize_cause(error)
    return LocalUpload(digest, size, mime, media, rules.field, file, None, offset)


def _inspect(source: Any, rules: _Rules, stop: threading.Event) -> LocalUpload:
    field = rules.field
    if isinstance(source, bytes):
        digest, size, mime, media = rules.inspect(
            lambda position, size: source[position : position + size],
            None,
            f"{field}: the bytes",
            stop,
            len(source),
        )
        return LocalUpload(digest, size, mime, media, field, source)
    path = local_path(source, field)
    named = str(path)
    shown = f"{field}: {named if len(named) <= 200 else f'{named[:60]}…{named[-30:]}'}"
    try:
        # O_NONBLOCK, because opening a FIFO without a writer would block for ever.
        fd = os.open(path, _READ_FLAGS)
        try:
            state = os.fstat(fd)
            if not stat.S_ISREG(state.st_mode):
                what = "a directory" if stat.S_ISDIR(state.st_mode) else "not a regular file"
                raise InvalidInput(f"{shown} is {what}. Give a file, bytes or a URL.", field=field)

            def read_at(position: int, size: int) -> bytes:
                os.lseek(fd, position, os.SEEK_SET)
                return os.read(fd, size)

            digest, _, mime, media = rules.inspect(read_at, path.name, shown, stop, state.st_size)
            if _fingerprint(os.fstat(fd)) != _fingerprint(state):
                raise InvalidInput(
                    f"{shown} changed while it was read. Wait until it is completely written.",
                    field=field,
                )
        finally:
            os.close(fd)
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInput(
            f"{shown} cannot be read: {reason}. Give an existing file, bytes, or a URL that begins "
            "with https://.",
            field=field,
        ) from (error if len(named) <= 200 else None)  # its text contains the whole path
    return LocalUpload(
        digest, state.st_size, mime, media, path.name, path.absolute(), _fingerprint(state)
    )


TOO_MANY_OPEN_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE})
"""Temporary errors of open(): the process, or the machine, has too many open files."""

_READ_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)


def _fingerprint(state: os.stat_result) -> Fingerprint:
    return state.st_size, state.st_mtime_ns, state.st_ino


_CHANGED: Final = "changed since it was checked, or while it was being sent"


def describe_change(upload: LocalUpload) -> str | None:
    """Return how a file changed since it was prepared; None if it did not. Blocks."""
    if not isinstance(upload.source, Path):
        closed = getattr(upload.source, "closed", False) is True
        return "was closed before it was sent" if closed else None
    try:
        state = upload.source.stat()
    except OSError as error:
        return f"can no longer be read: {error.strerror}"
    return None if _fingerprint(state) == upload.fingerprint else _CHANGED


class FileChangedError(OSError):
    """The file has changed since it was prepared."""


@define(eq=False)
class UploadSource:
    """The bytes to send. All methods block; a lock makes `close` wait for a running read.

    Created by the uploader for one upload, which closes it.
    """

    upload: LocalUpload
    failure: str | None = field(init=False, default=None)
    _shared: SharedFile | None = field(init=False, default=None)
    _fd: int = field(init=False, default=-1)
    _hash: Any = field(init=False, default=None)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    def open(self) -> None:
        """Open the file, unless it is bytes.

        Raises OSError; `failure` is set if another attempt would fail, too.
        """
        if isinstance(self.upload.source, bytes):
            return
        if not isinstance(self.upload.source, Path):
            try:
                self._shared = share(self.upload.source)
            except Exception as error:
                self._fail(error)
            return
        try:
            self._fd = os.open(self.upload.source, _READ_FLAGS)
        except OSError as error:
            if error.errno in TOO_MANY_OPEN_FILES:
                raise
            self.failure = f"can no longer be read: {error.strerror}"
            raise
        self.check_unchanged()

    def check_unchanged(self) -> None:
        """Raise `FileChangedError` if the file changed since it was prepared."""
        if self._fd >= 0 and _fingerprint(os.fstat(self._fd)) != self.upload.fingerprint:
            self.failure = _CHANGED
            raise FileChangedError(self.failure)

    def read(self, offset: int) -> bytes:
        """Return the block at ``offset``.

        Before the last block is returned, the hash of everything read is compared: content that
        changed without a new size or mtime must not be uploaded under the old digest. Raises
        `FileChangedError`.
        """
        if isinstance(self.upload.source, bytes):
            return self.upload.source[offset : offset + BLOCK_BYTES]
        size = min(BLOCK_BYTES, self.upload.size - offset)
        with self._lock:
            if self._shared is not None:
                try:
                    block = self._shared.read_at(self.upload.offset + offset, size)
                except Exception as error:
                    self._fail(error)
            elif self._fd >= 0:
                os.lseek(self._fd, offset, os.SEEK_SET)
                block = os.read(self._fd, size)
            else:
                raise FileChangedError("closed")
        if not block:
            self.failure = "became shorter while it was being sent"
            raise FileChangedError(self.failure)
        if not offset:
            self._hash = hashlib.sha256()
        self._hash.update(block)
        if offset + len(block) == self.upload.size and (
            self._hash.hexdigest() != self.upload.digest
        ):
            self.failure = _CHANGED
            raise FileChangedError(self.failure)
        return block

    def _fail(self, error: Exception) -> NoReturn:
        """Raise `FileChangedError` for an error of the user's file object."""
        self.failure = f"can no longer be read: {describe(error)}"
        raise FileChangedError(self.failure) from None

    def close(self) -> None:
        """Close the file, after a running read has finished; a file object stays open."""
        with self._lock:
            shared, self._shared = self._shared, None
            if shared is not None:
                shared.release()
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)
