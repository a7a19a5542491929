"""Where results are to be saved: made and tried before anything is paid."""

import tempfile
from pathlib import Path

from a2e_async.errors import InvalidInput


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
