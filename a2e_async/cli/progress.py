"""A progress line on the terminal; elsewhere nothing, or a line now and then."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from a2e_async.cli.printer import Printer
from a2e_async.events import Event, Transfer

LINE_INTERVAL: Final = 10.0
"""Seconds between two lines where no progress line can be drawn."""


@contextmanager
def progress_line(
    printer: Printer, text: str, *, lines: bool = False
) -> Generator[Callable[[str], None]]:
    """Show ``text`` and the elapsed time; the yielded function changes the text.

    ``lines``: where stderr is not a terminal, print a changed text every 10 s.
    """
    if not printer.live:
        yield _print_lines(printer) if lines else _ignore
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = printer.console()
    # The default spinner is drawn in Braille, which some terminals lack.
    spinner = "dots" if console.encoding.startswith("utf") else "line"
    column = TextColumn("{task.description}", markup=False)
    progress = Progress(
        SpinnerColumn(spinner), column, TimeElapsedColumn(), console=console, transient=True
    )
    with printer.drawing(progress):
        line = progress.add_task(text, total=None)
        yield lambda new_text: progress.update(line, description=new_text)


def transfer_listener(show: Callable[[str], None]) -> Callable[[Event], None]:
    """Return an event listener that shows how far an upload or download is."""

    def on_event(event: Event) -> None:
        if isinstance(event, Transfer):
            verb = "uploading" if event.direction == "up" else "downloading"
            total = f" of {_megabytes(event.total)}" if event.total else ""
            show(f"{verb} {event.name}: {_megabytes(event.done)}{total}")

    return on_event


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _print_lines(printer: Printer) -> Callable[[str], None]:
    printed_at = time.monotonic()

    def show(text: str) -> None:
        nonlocal printed_at
        if time.monotonic() - printed_at >= LINE_INTERVAL:
            printed_at = time.monotonic()
            printer.note(text)

    return show


def _ignore(_: str) -> None:
    pass
