"""The disk side of a download: a locked, resumable ``.part`` that becomes the file at once.

Everything here blocks and runs in a worker thread, one call at a time for each part.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from a2e_async.redact import bare_url

try:
    import fcntl
except ImportError:  # Windows: no advisory locks, so no part is shared between runs there
    fcntl = None  # type: ignore[assignment]  # the name must exist either way

_CAN_LOCK: bool = fcntl is not None

DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Reasons for which a part is removed: it could not be completed, and it fills the disk."""

_ETAG_ATTRIBUTE: Final = "user.a2e.etag"
_MAX_VECTORS: Final = 512  # below IOV_MAX everywhere
_FLAGS: Final = (
    os.O_RDWR
    | os.O_CREAT
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)


@define(eq=False)
class PartFile:
    """One file on its way to ``directory / name``.

    The part's name follows from the name and the bare URL, so that a later process finds and
    resumes it; whoever holds its lock owns it, anyone else takes a part of a name of its own.
    """

    directory: Path
    name: str
    url: str
    path: Path = field(init=False)
    size: int = field(init=False, default=0)
    etag: str | None = field(init=False, default=None)
    resumable: bool = field(init=False, default=True)
    _fd: int = field(init=False, default=-1)
    _shared: bool = field(init=False, default=False)

    def open(self, *, target_is_file: bool) -> None:
        """Make the directory, take the part and go to its end. Raises OSError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if target_is_file:
            self._check_target(self.directory / self.name)
        digest = hashlib.sha256(bare_url(self.url).encode("utf-8", "replace")).hexdigest()[:8]
        short = os.fsencode(self.name)[:200].decode("utf-8", "ignore")
        if self._take(self.directory / f".{short}.{digest}.part"):
            return
        self.path = self.directory / f".{short}.{digest}.{secrets.token_hex(4)}.part"
        self._fd = os.open(self.path, _FLAGS | os.O_EXCL, 0o666)

    @staticmethod
    def _check_target(target: Path) -> None:
        """Refuse what a rename would destroy: a directory, a pipe, a device (``/dev/null``)."""
        try:
            mode = target.stat().st_mode
        except FileNotFoundError:
            return
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is no regular file")

    def _take(self, path: Path) -> bool:
        """Open and lock the shared part; False when it belongs to another writer."""
        if fcntl is None:
            return False
        for _ in range(8):
            try:
                fd = os.open(path, _FLAGS, 0o666)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR):
                    return False  # something else of that name: leave it alone
                raise
            try:
                state = os.fstat(fd)
                if not stat.S_ISREG(state.st_mode) or state.st_uid != os.geteuid():
                    os.close(fd)
                    return False
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The owner may have renamed it to its target between open and lock.
                here = path.lstat()
                if (here.st_dev, here.st_ino) != (state.st_dev, state.st_ino):
                    raise FileNotFoundError(path)
            except FileNotFoundError:
                os.close(fd)
                continue
            except OSError:  # locked, or a file system without locks
                os.close(fd)
                return False
            self.path, self._fd, self._shared = path, fd, True
            self.size = os.lseek(fd, 0, os.SEEK_END)
            self.etag = _recall(fd) if self.size else None
            return True
        return False

    def write(self, blocks: Sequence[bytes], etag: str | None) -> None:
        """Append all of ``blocks``; ``etag`` is remembered for the next run's resume."""
        if etag != self.etag:
            self.etag = etag
            _remember(self._fd, etag)
        rest: list[bytes | memoryview] = list(blocks)
        while rest:
            written = _write_some(self._fd, rest[:_MAX_VECTORS])
            self.size += written
            passed = 0
            while passed < len(rest) and written >= len(rest[passed]):
                written -= len(rest[passed])
                passed += 1
            del rest[:passed]
            if written:
                rest[0] = memoryview(rest[0])[written:]

    def restart(self) -> None:
        """Forget what is there."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self.size = 0

    def finish(self, name_for: Callable[[bytes], str], *, replace: bool) -> Path:
        """Put the complete part in its place under the name chosen by its first bytes.

        Without ``replace`` a name that is taken is left alone and the URL's digest added.
        """
        os.lseek(self._fd, 0, os.SEEK_SET)
        target = self.directory / name_for(os.read(self._fd, 512))
        _remember(self._fd, None)
        os.fsync(self._fd)
        if not _CAN_LOCK:
            self._close_fd()  # Windows renames no open file
        if replace or not self._place_new(target):
            if not replace:
                digest = hashlib.sha256(bare_url(self.url).encode("utf-8", "replace"))
                target = target.with_stem(f"{target.stem}-{digest.hexdigest()[:8]}")
            self.path.replace(target)
        self._close_fd()
        _sync_directory(self.directory)
        return target

    def _place_new(self, target: Path) -> bool:
        try:
            os.link(self.path, target)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            if target.exists():
                return False
            self.path.replace(target)
            return True
        self.path.unlink()
        return True

    def close(self, *, keep: bool) -> None:
        """Let go of the part; it stays on disk if ``keep`` and a later run can resume it."""
        if self._fd < 0:
            return
        drop = not (keep and self.resumable and self._shared and self.size)
        if drop and _CAN_LOCK:
            with contextlib.suppress(OSError):
                self.path.unlink()
        self._close_fd()
        if drop and not _CAN_LOCK:
            with contextlib.suppress(OSError):
                self.path.unlink()

    def _close_fd(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _write_some(fd: int, blocks: Sequence[bytes | memoryview]) -> int:
    if hasattr(os, "writev"):
        return os.writev(fd, blocks)
    return os.write(fd, blocks[0])


def _remember(fd: int, etag: str | None) -> None:
    xattr: Any = os if hasattr(os, "setxattr") else None
    if xattr is None:
        return
    with contextlib.suppress(OSError):  # a help for later runs, not a need
        if etag:
            xattr.setxattr(fd, _ETAG_ATTRIBUTE, etag.encode())
        else:
            xattr.removexattr(fd, _ETAG_ATTRIBUTE)


def _recall(fd: int) -> str | None:
    xattr: Any = os if hasattr(os, "getxattr") else None
    try:
        return xattr.getxattr(fd, _ETAG_ATTRIBUTE).decode("ascii") if xattr else None
    except (OSError, ValueError):
        return None


def _sync_directory(directory: Path) -> None:
    with contextlib.suppress(OSError):  # Windows and some network file systems cannot
        fd = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
