"""Inspect, hash and read local files that are to be uploaded. No network."""

import errno
import hashlib
import os
import stat
import threading
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar
from attrs import define, field, frozen

from a2e_async._core.files.media_types import (
    SNIFF_BYTES,
    detect_document,
    extensions_for_media,
    matches_extension,
    sniff_media_type,
)
from a2e_async._core.paths import local_path
from a2e_async.errors import InvalidInput
from a2e_async.models import MediaType

MAX_UPLOAD_BYTES: Final = 5 * 1024**3
"""Maximum size of an upload in bytes: the limit of one presigned PUT."""

BLOCK_BYTES: Final = 1024 * 1024
"""Bytes per read."""

_INSPECTED_BYTES: Final = 64 * 1024  # leading bytes from which the media type is detected

_hash_limiter: RunVar[anyio.CapacityLimiter] = RunVar("a2e_hashers")

Fingerprint = tuple[int, int, int]


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
    source: Path | bytes = field(repr=False)
    fingerprint: Fingerprint | None = field(default=None, repr=False, eq=False)
    """Size in bytes, mtime in ns and inode of the file when it was hashed; None for bytes."""


async def prepare_upload(
    source: str | os.PathLike[str] | bytes,
    *,
    allowed: tuple[MediaType, ...],
    field: str,
    max_bytes: int | None,
) -> LocalUpload:
    """Check and hash a local file or bytes for an upload; no network.

    ``allowed`` are the media types that the input ``field`` accepts ("file" accepts anything).
    Raises `InvalidInput` if the file is missing, not a regular file, empty, unreadable, of another
    type or larger than ``max_bytes``.
    """
    try:
        limiter = _hash_limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(2)  # hashing is CPU-bound
        _hash_limiter.set(limiter)
    stop = threading.Event()
    try:
        return await anyio.to_thread.run_sync(
            _inspect, source, allowed, field, max_bytes, stop, limiter=limiter
        )
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
    _inspect(path, allowed, field, max_bytes, stop)


def _inspect(
    source: str | os.PathLike[str] | bytes,
    allowed: tuple[MediaType, ...],
    field: str,
    max_bytes: int | None,
    stop: threading.Event,
) -> LocalUpload:
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
        _check_size(len(data), f"{field}: the bytes", field, max_bytes)
        media, mime = _check_type(
            data[:_INSPECTED_BYTES], None, f"{field}: the bytes", allowed, field
        )
        return LocalUpload(hashlib.sha256(data).hexdigest(), len(data), mime, media, field, data)
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
            _check_size(state.st_size, shown, field, max_bytes)
            head = os.read(fd, _INSPECTED_BYTES)
            media, mime = _check_type(head, path.name, shown, allowed, field)
            digest = hashlib.sha256(head)
            while not stop.is_set() and (block := os.read(fd, BLOCK_BYTES)):
                digest.update(block)
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
        digest.hexdigest(),
        state.st_size,
        mime,
        media,
        path.name,
        path.absolute(),
        _fingerprint(state),
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


def _check_size(size: int, shown: str, field: str, max_bytes: int | None) -> None:
    if not size:
        raise InvalidInput(f"{shown} is empty.", field=field)
    if max_bytes is not None and size > max_bytes:
        raise InvalidInput(
            f"{shown} has {size:,} bytes; at most {max_bytes:,} are allowed.", field=field
        )


def _check_type(
    head: bytes, name: str | None, shown: str, allowed: tuple[MediaType, ...], field: str
) -> tuple[MediaType, str]:
    media, mime = sniff_media_type(head, name)
    if name is not None and not matches_extension(head, name):
        what = detect_document(head[:SNIFF_BYTES], "text/plain") or "something else"
        if head.startswith(b"version https://git-lfs"):
            what = "a Git LFS pointer; fetch the file itself with `git lfs pull`"
        raise InvalidInput(f"{shown} does not match its file extension: it is {what}.", field=field)
    if media in allowed or "file" in allowed:
        return media, mime
    what = "of an unknown type" if mime == "application/octet-stream" else mime
    raise InvalidInput(
        f"{shown} is {what}; {' or '.join(allowed)} is required here "
        f"({', '.join(extensions_for_media(allowed))}).",
        field=field,
    )


_CHANGED: Final = "changed since it was checked, or while it was being sent"


def describe_change(upload: LocalUpload) -> str | None:
    """Return how a file changed since it was prepared; None if it did not. Blocks."""
    if isinstance(upload.source, bytes):
        return None
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
    _fd: int = field(init=False, default=-1)
    _hash: Any = field(init=False, default=None)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    def open(self) -> None:
        """Open the file, unless it is bytes.

        Raises OSError; `failure` is set if another attempt would fail, too.
        """
        if isinstance(self.upload.source, bytes):
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
        with self._lock:
            if self._fd < 0:
                raise FileChangedError("closed")
            os.lseek(self._fd, offset, os.SEEK_SET)
            block = os.read(self._fd, min(BLOCK_BYTES, self.upload.size - offset))
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

    def close(self) -> None:
        """Close the file, after a running read has finished."""
        with self._lock:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)
