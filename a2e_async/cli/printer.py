"""All that the command writes: results to stdout, the rest to stderr, on any terminal."""

import contextlib
import errno
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, TextIO

from attrs import define

if TYPE_CHECKING:
    from rich.console import Console

_PLAIN: Final = str.maketrans({"·": "-", "…": "..."})


@define(kw_only=True)
class Printer:
    """Writes text. ``as_json``: stdout is for JSON alone; ``quiet``: stderr is for errors alone.

    A reader that went away never ends a command: what it started still runs to its end.
    """

    as_json: bool = False
    quiet: bool = False

    @property
    def live(self) -> bool:
        """True when progress may be drawn: stderr is a terminal that can move its cursor."""
        return not self.quiet and is_terminal(sys.stderr) and not is_dumb()

    def out(self, text: str) -> None:
        """Write a line of the result to stdout; nothing where stdout is for JSON."""
        if not self.as_json:
            _write(sys.stdout, f"{text}\n")

    def json(self, value: Any) -> None:
        """Write one JSON document to stdout, on one line; nothing without ``as_json``."""
        if self.as_json:
            _write(sys.stdout, f"{json.dumps(value, default=str)}\n")

    def note(self, text: str) -> None:
        """Write a line to stderr that is good to know."""
        if not self.quiet:
            _write(sys.stderr, f"{text}\n")

    def error(self, text: str) -> None:
        """Write a line to stderr that must be known."""
        _write(sys.stderr, f"{text}\n")

    def console(self, *, stderr: bool = True) -> "Console":
        """Return a rich console on stderr or stdout."""
        from rich.console import Console

        return Console(stderr=stderr, highlight=False, soft_wrap=not stderr)


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal; a closed one is none."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def is_dumb() -> bool:
    """Return whether the terminal cannot move its cursor."""
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def prepare_streams() -> None:
    """Let no character of a result end the command, whatever the terminal's encoding."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            if stream.errors == "strict":
                stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # only a TextIOWrapper has it


def fitting(text: str, encoding: str | None) -> str:
    """Return ``text`` as this encoding can show it; `·` and its like become ASCII."""
    try:
        text.encode(encoding or "ascii")
    except UnicodeEncodeError:
        return text.translate(_PLAIN)
    return text


def columns(rows: Sequence[Sequence[str]], *, gap: int = 2) -> str:
    """Return rows as lines whose cells stand below each other."""
    if not rows:
        return ""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    space = " " * gap
    return "\n".join(
        space.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def one_line(text: str) -> str:
    """Return a text without line breaks."""
    return " ".join(text.split())


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:  # closed before the command began
        return
    try:
        stream.write(fitting(text, stream.encoding))
        stream.flush()
    except ValueError:  # closed meanwhile
        return
    except OSError as error:
        # EINVAL is what Windows says of a broken pipe, EIO what a terminal says that went away.
        if error.errno not in (errno.EPIPE, errno.EINVAL, errno.EIO):
            raise
        silence(stream)


def silence(stream: TextIO) -> None:
    """Point a stream whose reader is gone at nothing, so that the interpreter's exit is quiet."""
    with contextlib.suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
