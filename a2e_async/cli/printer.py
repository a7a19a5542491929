"""Writes results to stdout and everything else to stderr, on any terminal."""

import contextlib
import json
import re
import sys
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from a2e_async.cli import exit_codes
from a2e_async.cli.streams import is_dumb, is_terminal, write

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

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
            write(sys.stderr, f"{_escape_controls(text)}\n")

    def error(self, text: str) -> None:
        """Write a line to stderr, even if ``quiet``."""
        write(sys.stderr, f"{_escape_controls(text)}\n")

    def ask(self, question: str) -> None:
        """Write a question to stderr, even if ``quiet``; the answer follows on the same line."""
        write(sys.stderr, _escape_controls(question))

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
        error = write(sys.stdout, text)
        if error is not None:
            self.report_lost(error)

    def report_lost(self, error: OSError) -> None:
        """Print, once, that stdout cannot be written."""
        if not self._lost:
            self._lost = True
            self.error(
                f"error: stdout cannot be written: {error.strerror}. The command continues, and "
                "loses nothing that is paid; only its output is lost from here on."
            )

    def console(self, *, stderr: bool = True) -> "Console":
        """Return a rich console on stderr or stdout."""
        from rich.console import Console

        return Console(stderr=stderr, highlight=False, soft_wrap=not stderr)


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
