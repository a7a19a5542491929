"""``results.jsonl``: what a batch has saved in a directory, one line for each task."""

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from a2e_async._core.typeguards import is_list, is_mapping

try:
    import fcntl
except ImportError:  # Windows has no advisory locks
    fcntl = None  # type: ignore[assignment]  # code below tests it for None

FILE_NAME: Final = "results.jsonl"


class Manifest:
    """The manifest of one directory. All methods block.

    Created by a batch for its directory. Other processes may append to the file at any time: what
    is new is read under a lock before a line is added, so that a task has one line, and a second
    one only if its files have changed.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        self._lines: dict[str, dict[str, Any]] = {}
        """The last line of each task, by ref."""
        self._offset = 0
        """How much of the file was read."""

    def is_intact(self, ref: str | None, paths: Iterable[Path]) -> bool:
        """Return whether these files exist with the sizes that were recorded.

        A file that has no line must only not be empty.
        """
        self._read_new()
        line = self._lines.get(ref) if ref else None
        sizes = {one["path"]: one["bytes"] for one in line["files"]} if line else {}
        try:
            return all(
                path.is_file()
                and (size := path.stat().st_size) > 0
                and size == sizes.get(path.name, size)
                for path in paths
            )
        except OSError:
            return False

    def record(
        self,
        *,
        key: str | None,
        kind: str,
        ref: str,
        paths: Iterable[Path],
        coins: int | None,
        seconds: float | None,
    ) -> None:
        """Append the line of a task, unless its last one has the same files. Raises OSError."""
        line: dict[str, Any] = {
            "key": key,
            "kind": kind,
            "ref": ref,
            "files": [_described(path) for path in paths],
            "coins": coins,
            "seconds": None if seconds is None else round(seconds, 1),
        }
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        fd = os.open(self._path, flags, 0o666)
        try:
            if fcntl is not None:
                with suppress(OSError):  # a file system without locks: appending is one write
                    fcntl.flock(fd, fcntl.LOCK_EX)
            self._read_new()
            known = self._lines.get(ref)
            if known is not None and known["files"] == line["files"]:
                return
            # A line that a crash has cut short is left alone, and ends here.
            data = b"" if _ends_with_newline(fd) else b"\n"
            data += f"{json.dumps(line, ensure_ascii=False)}\n".encode("utf-8", "replace")
            while data:  # one write, unless the disk is nearly full
                data = data[os.write(fd, data) :]
            os.fsync(fd)
            self._lines[ref] = line
        finally:
            os.close(fd)

    def _read_new(self) -> None:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return
        end = data.rfind(b"\n") + 1
        self._offset += end
        for text in data[:end].splitlines():
            if (line := _parsed(text)) is not None:
                self._lines[line["ref"]] = line


def _ends_with_newline(fd: int) -> bool:
    if os.fstat(fd).st_size == 0:
        return True
    os.lseek(fd, -1, os.SEEK_END)
    return os.read(fd, 1) == b"\n"


def _described(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
    return {"path": path.name, "bytes": size, "sha256": digest}


def _parsed(text: bytes) -> dict[str, Any] | None:
    """Return a line, None if it is none of ours: users may edit the file."""
    try:
        line: Any = json.loads(text)
    except ValueError:
        return None
    if not is_mapping(line) or not isinstance(line.get("ref"), str):
        return None
    files = line.get("files")
    if not is_list(files) or not all(is_mapping(one) and {*one} >= _FILE_FIELDS for one in files):
        return None
    return dict(line)


_FILE_FIELDS: Final = {"path", "bytes", "sha256"}
