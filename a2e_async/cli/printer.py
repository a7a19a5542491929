"""Writes results to stdout and everything else to stderr, on any terminal."""

import contextlib
import errno
import json
import os
import re
import sys
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, Final, TextIO

from attrs import define, field

from a2e_async.cli import exit_codes

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

_ASCII: Final = str.maketrans({"·": "-", "…": "..."})

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters that a terminal obeys instead of showing them, but for the tab and the line feed."""


@define(kw_only=True)
class Printer:
    """Writes text. ``as_json``: only JSON on stdout; ``quiet``: only errors on stderr.

    A closed pipe never ends a command: what it started must still be saved. Control characters are
    escaped, so that no text of the service and no file name can operate the terminal.
    """

    as_json: bool = False
    quiet: bool = False
    _lost: bool = field(default=False, init=False)
    """Whether stdout could not be written, as on a full disk."""
    _display: "Progress | None" = field(default=None, init=False)
    """What draws the progress at the moment."""

    @property
    def live(self) -> bool:
        """True if progress can be drawn: stderr is a terminal that can move its cursor."""
        return not self.quiet and is_terminal(sys.stderr) and not is_dumb()

    def out(self, text: str) -> None:
        """Write a line of the result to stdout; nothing if ``as_json``."""
        if not self.as_json:
            # Programs that read a pipe need the names of files as they are.
            shown = _escape_controls(text) if is_terminal(sys.stdout) else text
            self._write_result(f"{shown}\n")

    def image(self, sequence: str) -> None:
        """Write the control sequence that shows an image to the terminal on stdout."""
        self._write_result(f"{sequence}\n")

    def json(self, value: Any) -> None:
        """Write one JSON document to stdout, on one line; nothing unless ``as_json``."""
        if self.as_json:
            self._write_result(f"{json.dumps(value, default=str)}\n")

    def note(self, text: str) -> None:
        """Write an informative line to stderr; nothing if ``quiet``."""
        if not self.quiet:
            _write(sys.stderr, f"{_escape_controls(text)}\n")

    def error(self, text: str) -> None:
        """Write a line to stderr, even if ``quiet``."""
        _write(sys.stderr, f"{_escape_controls(text)}\n")

    @contextlib.contextmanager
    def drawing(self, display: "Progress") -> Generator[None]:
        """Draw a progress display in the block, or until `stop_drawing` is called."""
        self._display = display
        try:
            with display:
                yield
        finally:
            self._display = None

    def stop_drawing(self) -> None:
        """Clear the progress display and show the cursor, though its block has not ended."""
        if self._display is not None:
            self._display.stop()

    def exit_code(self, code: int) -> int:
        """Return the exit code of a command: not success if what it printed is lost."""
        return exit_codes.SERVICE if self._lost and code == exit_codes.OK else code

    def _write_result(self, text: str) -> None:
        error = _write(sys.stdout, text)
        if error is not None and not self._lost:
            self._lost = True
            self.error(
                f"error: stdout cannot be written: {error.strerror}. The command continues, and "
                "loses nothing that is paid; only its output is lost from here on."
            )

    def console(self, *, stderr: bool = True) -> "Console":
        """Return a rich console on stderr or stdout."""
        from rich.console import Console

        return Console(stderr=stderr, highlight=False, soft_wrap=not stderr)


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal; a closed stream is not."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def is_dumb() -> bool:
    """Return whether the terminal cannot move its cursor."""
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


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


def columns(rows: Sequence[Sequence[str]], *, gap: int = 2) -> str:
    """Return rows as lines with aligned columns."""
    if not rows:
        return ""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    space = " " * gap
    return "\n".join(
        space.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _escape_controls(text: str) -> str:
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def one_line(text: str) -> str:
    """Return a text without line breaks."""
    return " ".join(text.split())


def _write(stream: TextIO | None, text: str) -> OSError | None:
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
