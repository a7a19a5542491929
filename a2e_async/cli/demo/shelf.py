"""The directory of a demo's results, and what of it this run made."""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

from attrs import frozen

from a2e_async.transport.partfile import part_digest

if TYPE_CHECKING:
    from a2e_async.cli.demo.work import DemoJob


@frozen
class Shelf:
    """A directory as it was when the run began: its files, each with its inode and its age."""

    directory: Path
    before: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, directory: Path) -> Self:
        """Return the directory as it is now."""
        return cls(directory, _files(directory))

    def new_files(self) -> list[Path]:
        """Return the whole files that came since, or took the place of others."""
        now = _files(self.directory)
        return [self.directory / name for name in now if self.before.get(name) != now[name]]

    def drop_parts(self, jobs: "Iterable[DemoJob]") -> None:
        """Delete what was fetched in part: the sandbox that has the rest is gone."""
        for job in jobs:
            record = job.task.record if job.task is not None else None
            for output in record.outputs if record is not None else ():
                # Parts are named after their URL; those of another run are let alone.
                digest = part_digest(output.url)
                with contextlib.suppress(OSError):
                    for part in self.directory.glob(f".*.{digest}*.part"):
                        part.unlink(missing_ok=True)


def _files(directory: Path) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    with contextlib.suppress(OSError):
        for path in directory.iterdir():
            if path.is_file() and path.suffix != ".part":
                state = path.stat()
                found[path.name] = state.st_ino, state.st_mtime_ns
    return found
