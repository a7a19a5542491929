"""Where results are saved. Directories are created and tested before anything is paid."""

import os
import tempfile
from pathlib import Path

from attrs import frozen

from a2e_async.errors import InvalidInput


@frozen
class Destination:
    """Where a task's results go: a directory, or a file for a single result."""

    path: Path
    is_file: bool

    def target(self, count: int) -> tuple[str, str | None]:
        """Return the argument of `Output.save` for one of ``count`` results, and a notice."""
        if self.is_file and count == 1:
            return str(self.path), None
        if not self.is_file or count == 0:
            return f"{self.path}/", None
        # The task is paid by now, so the results are saved next to a file of that name.
        directory = self.path.parent if self.path.is_file() else self.path
        notice = f"There are {count} results, not one: they are saved in the directory {directory}."
        return f"{directory}/", notice


def prepare_destination(out: str, count: int = 1) -> Destination:
    """Return where results are saved, and create its directory. Raises like `prepare_directory`.

    ``out`` is a file if it has a suffix, does not end with a slash and is not a directory.
    ``count`` is the least number of results to expect: a file is refused for more than one.
    """
    path = Path(out)
    is_file = bool(path.suffix) and not out.endswith(("/", os.sep)) and not path.is_dir()
    if is_file and count > 1:
        raise InvalidInput(
            f"--out {out} names a file, but there will be {count} results: give a directory, "
            f"such as {path.stem}/. Nothing was started.",
            field="out",
        )
    prepare_directory(path.parent if is_file else path)
    return Destination(path, is_file)


def prepare_file_destination(out: str) -> str:
    """Create the directory for one file and return the argument of `Output.save`.

    ``out`` is a directory if it is one already, ends with a slash, or has no suffix and does not
    exist. Raises like `prepare_directory`.
    """
    path = Path(out)
    new = not path.suffix and not os.path.lexists(path)
    if out.endswith(("/", os.sep)) or path.is_dir() or new:
        prepare_directory(Path(out))
        return f"{out}/"
    prepare_directory(Path(out).parent)
    return out


def prepare_directory(directory: Path) -> None:
    """Create the directory if needed and check that a file can be written in it.

    Raises `InvalidInput` if results could not be saved there.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=".a2e-probe-", dir=directory) as probe:
            probe.write(b"a2e")
            probe.flush()
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        if directory.exists() and not directory.is_dir():
            reason = "it is a file, not a directory"
        else:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InvalidInput(
            f"Results cannot be saved in {directory}: {reason}. Nothing was started; give another "
            "directory with --out.",
            field="out",
        ) from error
