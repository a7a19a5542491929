"""The standard streams, which may be closed, broken, or a terminal of any kind.

Imports nothing that takes time: ``--version`` needs it.
"""

import contextlib
import errno
import os
import shutil
import sys
from typing import Final, TextIO

_ASCII: Final = str.maketrans({"·": "-", "…": "..."})

MIN_WIDTH: Final = 10
MAX_WIDTH: Final = 1000
"""The least and most columns of a terminal that are used."""


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal; a closed stream is not."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def is_dumb() -> bool:
    """Return whether the terminal cannot move its cursor."""
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def correct_terminal_width() -> None:
    """Set COLUMNS to a width for which help and progress can be laid out, if it is none.

    Some programs export COLUMNS=0. The layout never ends for a width below 3, and takes more
    than a minute for one of millions.
    """
    width = shutil.get_terminal_size().columns
    usable = min(max(width, MIN_WIDTH), MAX_WIDTH)
    if usable != width or "COLUMNS" in os.environ:
        os.environ["COLUMNS"] = str(usable)


def replace_unencodable_characters() -> None:
    """Replace characters that the terminal's encoding lacks, instead of raising at a result."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            if stream.errors == "strict":
                stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # only a TextIOWrapper has it


def encodable(text: str, encoding: str | None) -> str:
    """Return ``text`` with `·` and `…` in ASCII if the encoding lacks them."""
    try:
        text.encode(encoding or "ascii")
    except UnicodeEncodeError:
        return text.translate(_ASCII)
    return text


def write(stream: TextIO | None, text: str) -> OSError | None:
    """Write to a stream; return the error of one that is not closed, such as that of a full disk.

    Nothing is raised: a command has more to do than to print.
    """
    if stream is None:  # closed before the process started
        return None
    try:
        stream.write(encodable(text, stream.encoding))
        stream.flush()
    except ValueError:  # closed since
        return None
    except OSError as error:
        redirect_to_devnull(stream)
        # Windows reports a broken pipe as EINVAL; a closed terminal reports EIO.
        return None if error.errno in (errno.EPIPE, errno.EINVAL, errno.EIO) else error
    return None


def redirect_to_devnull(stream: TextIO) -> None:
    """Redirect a broken stream to the null device: the flush at exit would print a traceback."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
