"""Where results are to be saved: made and tried before anything is paid."""

import os
import tempfile
from pathlib import Path

from a2e_async.errors import InvalidInput


def make_file_ready(out: str) -> str:
    """Make ready where one file is to be saved, and return it as `Output.save` takes it.

    ``out`` is a directory if it is one already or ends with a slash. Raises as `make_ready`.
    """
    if out.endswith(("/", os.sep)) or Path(out).is_dir():
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
