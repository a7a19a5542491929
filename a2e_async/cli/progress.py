"""A line on the terminal that says what is going on; nothing elsewhere."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from a2e_async.cli.printer import Printer
from a2e_async.events import Event, Transfer


@contextmanager
def progress(printer: Printer, said: str) -> Generator[Callable[[str], None]]:
    """Show ``said`` and the time it takes; the function given changes the words."""
    if not printer.live:
        yield _nothing
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = printer.console()
    # Spinners are drawn in Braille, which not every terminal has.
    spinner = "dots" if console.encoding.startswith("utf") else "line"
    words = TextColumn("{task.description}", markup=False)
    with Progress(
        SpinnerColumn(spinner), words, TimeElapsedColumn(), console=console, transient=True
    ) as shown:
        line = shown.add_task(said, total=None)
        yield lambda text: shown.update(line, description=text)


def transfers(say: Callable[[str], None]) -> Callable[[Event], None]:
    """Return a listener that says how far an up- or download is."""

    def hear(event: Event) -> None:
        if isinstance(event, Transfer):
            verb = "uploading" if event.direction == "up" else "downloading"
            of = f" of {_megabytes(event.total)}" if event.total else ""
            say(f"{verb} {event.name}: {_megabytes(event.done)}{of}")

    return hear


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _nothing(_: str) -> None:
    pass
