"""The directory of a demo's results, and the files in it that this run made."""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

from attrs import frozen

from a2e_async._core.files.part_file import url_digest

if TYPE_CHECKING:
    from a2e_async.cli.demo.jobs import DemoJob


@frozen
class OutputDirectory:
    """A directory and its files at the start of the run, each with inode and modification time."""

    path: Path
    before: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, path: Path) -> Self:
        """Return the directory with its present files."""
        return cls(path, _files(path))

    def new_files(self) -> list[Path]:
        """Return the complete files that were added or replaced since."""
        now = _files(self.path)
        return [self.path / name for name in now if self.before.get(name) != now[name]]

    def delete_part_files(self, jobs: "Iterable[DemoJob]") -> None:
        """Delete partial downloads: the sandbox that serves the rest has ended."""
        for job in jobs:
            record = job.task.record if job.task is not None else None
            for output in record.outputs if record is not None else ():
                # Part files are named after their URL, so those of other runs are kept.
                digest = url_digest(output.url)
                with contextlib.suppress(OSError):
                    for part in self.path.glob(f".*.{digest}*.part"):
                        part.unlink(missing_ok=True)


def _files(directory: Path) -> dict[str, tuple[int, int]]:
    files: dict[str, tuple[int, int]] = {}
    with contextlib.suppress(OSError):
        for path in directory.iterdir():
            if path.is_file() and path.suffix != ".part":
                state = path.stat()
                files[path.name] = state.st_ino, state.st_mtime_ns
    return files
