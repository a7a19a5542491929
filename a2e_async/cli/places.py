"""Where results are to be saved: made and tried before anything is paid."""

import os
import tempfile
from pathlib import Path

from attrs import frozen

from a2e_async.errors import InvalidInput


@frozen
class Place:
    """Where a task's results go: a directory, or a file if the task has just one."""

    path: Path
    is_file: bool

    def target(self, count: int) -> tuple[str, str | None]:
        """Return what `Output.save` takes for one of ``count`` results, and what to say of it."""
        if self.is_file and count == 1:
            return str(self.path), None
        if not self.is_file or count == 0:
            return f"{self.path}/", None
        # Paid by now: rather beside a file of that name than nowhere.
        directory = self.path.parent if self.path.is_file() else self.path
        said = f"There are {count} results, not one: they are saved in the directory {directory}."
        return f"{directory}/", said


def place_for(out: str, count: int = 1) -> Place:
    """Make ready where results are to be saved. Raises as `make_ready`.

    ``out`` is a file if it has a suffix, does not end with a slash and is no directory yet.
    ``count`` is how many results there are at least: a file is refused for more than one.
    """
    path = Path(out)
    is_file = bool(path.suffix) and not out.endswith(("/", os.sep)) and not path.is_dir()
    if is_file and count > 1:
        raise InvalidInput(
            f"--out {out} names a file, and there will be {count} results: give a directory, "
            f"such as {path.stem}/. Nothing was started.",
            field="out",
        )
    make_ready(path.parent if is_file else path)
    return Place(path, is_file)


def make_file_ready(out: str) -> str:
    """Make ready where one file is to be saved, and return it as `Output.save` takes it.

    ``out`` is a directory if it is one already, ends with a slash, or has no suffix and does not
    exist. Raises as `make_ready`.
    """
    path = Path(out)
    new = not path.suffix and not os.path.lexists(path)
    if out.endswith(("/", os.sep)) or path.is_dir() or new:
        make_ready(Path(out))
        return f"{out}/"
    make_ready(Path(out).parent)
    return out


def make_ready(directory: Path) -> None:
    """Make the directory and write, then delete, a file in it.

    Raises `InvalidInput` when results could not be saved there.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=".a2e-probe-", dir=directory) as probe:
            probe.write(b"a2e")
            probe.flush()
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        if directory.exists() and not directory.is_dir():
            why = "it is a file, not a directory"
        else:
            why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InvalidInput(
            f"Results cannot be saved in {directory}: {why}. Nothing was started; give another "
            "directory with --out.",
            field="out",
        ) from error
