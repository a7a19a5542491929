"""Write a download to disk: a locked, resumable ``.part`` file that is renamed atomically.

Everything here blocks and runs in a worker thread, one call at a time for each part file.
"""

import contextlib
import errno
import filecmp
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from a2e_async._core.redact import stable_url

try:
    import fcntl
except ImportError:  # Windows has no advisory locks, so part files are not shared between runs
    fcntl = None  # type: ignore[assignment]  # code below tests it for None

_CAN_LOCK: bool = fcntl is not None

DISK_FULL_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors after which the part file is removed: keeping it would keep the disk full."""

_VALIDATOR_ATTRIBUTE: Final = "user.a2e.version"
_MAX_WRITE_BLOCKS: Final = 512  # below IOV_MAX everywhere
_OPEN_FLAGS: Final = (
    os.O_RDWR
    | os.O_CREAT
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)


@define(eq=False)
class PartFile:
    """A partial download of ``directory / name``.

    The part file's name is derived from the file name and the URL without its signature, so that
    a later process can find and resume it. The writer that holds its lock owns it; other writers
    use a part file with a random name. A part file is kept only together with a ``validator``
    (for If-Range), since nothing else proves that the rest belongs to the same version.
    """

    directory: Path
    name: str
    url: str
    path: Path = field(init=False)
    size: int = field(init=False, default=0)
    validator: str | None = field(init=False, default=None)
    _fd: int = field(init=False, default=-1)
    _shared: bool = field(init=False, default=False)
    _sync_error: OSError | None = field(init=False, default=None)

    @property
    def resumable(self) -> bool:
        """Whether a later run can resume what was written."""
        return bool(self._shared and self._sync_error is None and self.size and self.validator)

    def open(self, *, target_is_file: bool) -> None:
        """Create the directory, open the part file and seek to its end. Raises OSError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if target_is_file:
            self._refuse_special_target(self.directory / self.name)
        digest = url_digest(self.url)
        short = os.fsencode(self.name)[:200].decode("utf-8", "ignore")
        if self._take(self.directory / f".{short}.{digest}.part"):
            return
        self.path = self.directory / f".{short}.{digest}.{secrets.token_hex(4)}.part"
        self._fd = os.open(self.path, _OPEN_FLAGS | os.O_EXCL, 0o666)

    @staticmethod
    def _refuse_special_target(target: Path) -> None:
        """Refuse a target that a rename would destroy: a directory, a pipe or a device."""
        try:
            mode = target.stat().st_mode
        except FileNotFoundError:
            return
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is not a regular file")

    def _take(self, path: Path) -> bool:
        """Open and lock the shared part file; return False if another writer owns it."""
        if fcntl is None:
            return False
        for _ in range(8):
            try:
                fd = os.open(path, _OPEN_FLAGS, 0o666)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR):
                    return False  # something else has this name: leave it alone
                raise
            try:
                state = os.fstat(fd)
                if not stat.S_ISREG(state.st_mode) or state.st_uid != os.geteuid():
                    os.close(fd)
                    return False
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The owner may have renamed it to its target between our open and lock.
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
            self.validator = _load_validator(fd) if self.size else None
            if self.size and self.validator is None:
                self.truncate()  # nothing proves to which version the bytes belong
            return True
        return False

    def head(self, size: int) -> bytes:
        """Return the first ``size`` bytes."""
        os.lseek(self._fd, 0, os.SEEK_SET)
        data = os.read(self._fd, size)
        os.lseek(self._fd, 0, os.SEEK_END)
        return data

    def write(self, blocks: Sequence[bytes], validator: str | None) -> None:
        """Append all of ``blocks``; store ``validator`` for a later run's resume."""
        if validator != self.validator:
            self.validator = validator if _store_validator(self._fd, validator) else None
        rest: list[bytes | memoryview] = list(blocks)
        while rest:
            written = _write_some(self._fd, rest[:_MAX_WRITE_BLOCKS])
            self.size += written
            passed = 0
            while passed < len(rest) and written >= len(rest[passed]):
                written -= len(rest[passed])
                passed += 1
            del rest[:passed]
            if written:
                rest[0] = memoryview(rest[0])[written:]

    def sync(self) -> None:
        """Flush what was written to disk (fsync). A failure is raised by `finish`.

        After one, the content on disk is unknown, and the system does not report it again.
        """
        try:
            os.fsync(self._fd)
        except OSError as error:
            self._sync_error = self._sync_error or error

    def truncate(self) -> None:
        """Discard the content and start at offset 0."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        _store_validator(self._fd, None)  # else a killed process leaves it beside other bytes
        self.size, self.validator = 0, None

    def finish(self, filename_for: Callable[[bytes], str], *, replace: bool) -> Path:
        """Move the complete file to its target, whose name ``filename_for`` derives from its head.

        The name may contain a directory, which is created. Without ``replace``, an existing file
        of other content is kept and the URL's digest is added to the new name.
        """
        target = self.directory / filename_for(self.head(512))
        target.parent.mkdir(parents=True, exist_ok=True)
        replace = replace or self._has_same_content(target)
        if replace:
            self._refuse_special_target(target)
        self.sync()
        if self._sync_error is not None:
            raise self._sync_error
        if not _CAN_LOCK:
            self._close_fd()  # Windows cannot rename an open file
        if replace or not self._link_new(target):
            if not replace:
                target = target.with_stem(f"{target.stem}-{_short_digest(self.url)}")
            self.path.replace(target)
        _store_validator(self._fd, None)  # not earlier: what cannot be moved is resumed
        self._close_fd()
        _sync_directory(target.parent)
        return target

    def _has_same_content(self, target: Path) -> bool:
        try:
            return filecmp.cmp(self.path, target, shallow=False)
        except OSError:  # there is no such file
            return False

    def _link_new(self, target: Path) -> bool:
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
        """Close the part file; delete it unless ``keep`` and a later run can resume it."""
        if self._fd < 0:
            return
        # Elsewhere it is unlinked before the lock is released, so that no other writer can open a
        # file about to vanish. Windows cannot unlink an open file, and has no locks here.
        drop = not (keep and self.resumable)
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


def url_digest(url: str) -> str:
    """Return the digest of a URL for the part file's name, ignoring the URL's signature."""
    return _short_digest(stable_url(url))


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


@cache
def _boot_id() -> str:
    """Return an id of this boot. Parts of earlier boots are not resumed.

    A power failure can leave holes of zeros in a file whose size is already updated.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return "-"


def _store_validator(fd: int, validator: str | None) -> bool:
    """Store a validator with the part file (as an extended attribute); False if not possible."""
    xattr: Any = os if hasattr(os, "setxattr") else None
    try:
        if validator:
            xattr.setxattr(fd, _VALIDATOR_ATTRIBUTE, f"{_boot_id()} {validator}".encode())
        else:
            xattr.removexattr(fd, _VALIDATOR_ATTRIBUTE)
    except (OSError, AttributeError):
        return False
    return True


def _load_validator(fd: int) -> str | None:
    xattr: Any = os if hasattr(os, "getxattr") else None
    try:
        boot, _, validator = xattr.getxattr(fd, _VALIDATOR_ATTRIBUTE).decode().partition(" ")
    except (OSError, ValueError, AttributeError):
        return None
    return validator if boot == _boot_id() else None


def _sync_directory(directory: Path) -> None:
    with contextlib.suppress(OSError):  # not supported on Windows and some network file systems
        fd = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
