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
from functools import cache
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from a2e_async.redact import stable_url

try:
    import fcntl
except ImportError:  # Windows: no advisory locks, so no part is shared between runs there
    fcntl = None  # type: ignore[assignment]  # the name must exist either way

_CAN_LOCK: bool = fcntl is not None

DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Reasons for which a part is removed: it could not be completed, and it fills the disk."""

_ATTRIBUTE: Final = "user.a2e.version"
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

    The part's name follows from the name and the URL without its signature, so that a later
    process finds and resumes it; whoever holds its lock owns it, anyone else takes a part of a
    name of its own. A part is worth keeping only with a ``validator`` (for If-Range) beside it.
    """

    directory: Path
    name: str
    url: str
    path: Path = field(init=False)
    size: int = field(init=False, default=0)
    validator: str | None = field(init=False, default=None)
    resumable: bool = field(init=False, default=True)
    _fd: int = field(init=False, default=-1)
    _shared: bool = field(init=False, default=False)

    def open(self, *, target_is_file: bool) -> None:
        """Make the directory, take the part and go to its end. Raises OSError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if target_is_file:
            self._check_target(self.directory / self.name)
        digest = part_digest(self.url)
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
            self.validator = _recall(fd) if self.size else None
            if self.size and self.validator is None:
                self.restart()  # nothing proves what it is a part of
            return True
        return False

    def head(self, size: int) -> bytes:
        """Return the first ``size`` bytes."""
        os.lseek(self._fd, 0, os.SEEK_SET)
        data = os.read(self._fd, size)
        os.lseek(self._fd, 0, os.SEEK_END)
        return data

    def write(self, blocks: Sequence[bytes], validator: str | None) -> None:
        """Append all of ``blocks``; ``validator`` is kept for the next run's resume."""
        if validator != self.validator:
            self.validator = validator if _remember(self._fd, validator) else None
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
        self.size, self.validator = 0, None

    def finish(self, name_for: Callable[[bytes], str], *, replace: bool) -> Path:
        """Put the complete part in its place under the name chosen by its first bytes.

        The name may lead into a directory, which is made. Without ``replace`` a name that is
        taken is left alone and the URL's digest added.
        """
        target = self.directory / name_for(self.head(512))
        target.parent.mkdir(parents=True, exist_ok=True)
        if replace:
            self._check_target(target)
        try:
            os.fsync(self._fd)
        except OSError:
            self.resumable = False  # what is on disk is not known any more
            raise
        _remember(self._fd, None)
        if not _CAN_LOCK:
            self._close_fd()  # Windows renames no open file
        if replace or not self._place_new(target):
            if not replace:
                target = target.with_stem(f"{target.stem}-{_digest(self.url)}")
            self.path.replace(target)
        self._close_fd()
        _sync_directory(target.parent)
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
        drop = not (keep and self.resumable and self._shared and self.size and self.validator)
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


def part_digest(url: str) -> str:
    """Return what stands for a URL in the name of its part, however it is signed."""
    return _digest(stable_url(url))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


@cache
def _boot() -> str:
    """Return what changes when the machine starts: a power cut can leave holes in a part."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return "-"


def _remember(fd: int, validator: str | None) -> bool:
    """Keep a validator beside the part for a later run; False where that cannot be."""
    xattr: Any = os if hasattr(os, "setxattr") else None
    try:
        if validator:
            xattr.setxattr(fd, _ATTRIBUTE, f"{_boot()} {validator}".encode())
        else:
            xattr.removexattr(fd, _ATTRIBUTE)
    except (OSError, AttributeError):
        return False
    return True


def _recall(fd: int) -> str | None:
    xattr: Any = os if hasattr(os, "getxattr") else None
    try:
        boot, _, validator = xattr.getxattr(fd, _ATTRIBUTE).decode().partition(" ")
    except (OSError, ValueError, AttributeError):
        return None
    return validator if boot == _boot() else None


def _sync_directory(directory: Path) -> None:
    with contextlib.suppress(OSError):  # Windows and some network file systems cannot
        fd = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
