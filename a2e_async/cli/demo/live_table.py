"""The table of the running demo: one block of rows for each kind, side by side."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from a2e_async.cli.demo.jobs import DemoJob
from a2e_async.cli.formatting import format_coins
from a2e_async.cli.printer import Printer

MIN_WIDTH = 78
"""Terminal columns that the blocks need."""

FRAME_HEIGHT = 6
"""Lines that are not rows: heading, borders, caption, and one spare line."""

_COLOURS = {"saved": "green", "succeeded": "green", "failed": "red", "bad file": "red"}


@asynccontextmanager
async def live_table(printer: Printer, jobs: Sequence[DemoJob]) -> AsyncGenerator[None]:
    """Redraw the jobs four times a second on a terminal; show nothing elsewhere."""
    if not printer.live:
        yield
        return
    console = printer.console()
    with Live(render(jobs, console), console=console, auto_refresh=False) as live:

        async def refresh() -> None:
            while True:
                await asyncio.sleep(0.25)
                live.update(render(jobs, console), refresh=True)

        drawing = asyncio.create_task(refresh())
        try:
            yield
        finally:
            drawing.cancel()
            await asyncio.wait([drawing])
            live.update(render(jobs, console), refresh=True)


def render(jobs: Sequence[DemoJob], console: Console) -> Table:
    """Return a table that fits the terminal: one row per job, or counts by kind."""
    kinds = list(dict.fromkeys(job.kind for job in jobs))
    groups = [[job for job in jobs if job.kind == kind] for kind in kinds]
    rows = max((len(group) for group in groups), default=0)
    if rows + FRAME_HEIGHT > console.height or console.width < MIN_WIDTH:
        return _counts(kinds, groups)
    blocks = Table.grid(padding=(0, 1))
    blocks.add_row(*(_kind_table(kind, group) for kind, group in zip(kinds, groups, strict=True)))
    table = Table(caption=_caption(jobs), show_header=False, box=None, padding=0)
    table.add_row(blocks)
    return table


def _kind_table(kind: str, group: Sequence[DemoJob]) -> Table:
    block = Table(title=kind, show_header=False, title_justify="left", padding=(0, 1, 0, 0))
    block.box = None
    block.add_column(width=5, no_wrap=True)
    block.add_column(width=9, no_wrap=True)
    block.add_column(width=5, justify="right", no_wrap=True)
    block.add_column(width=2, justify="right", no_wrap=True)
    for job in group:
        status = Text(job.status, style=_COLOURS.get(job.status, "yellow" if job.task else "dim"))
        spent = "" if job.elapsed is None else f"{job.elapsed:.1f}s"
        block.add_row(job.label, status, spent, "" if job.coins is None else str(job.coins))
    return block


def _counts(kinds: Sequence[str], groups: Sequence[Sequence[DemoJob]]) -> Table:
    table = Table(caption=_caption([job for group in groups for job in group]))
    for name in ("kind", "jobs", "open", "saved", "failed"):
        table.add_column(name, justify="left" if name == "kind" else "right")
    for kind, group in zip(kinds, groups, strict=True):
        count = Counter("open" if job.ended is None else job.stage for job in group)
        failed = len(group) - count["open"] - count["saved"]
        table.add_row(kind, *map(str, (len(group), count["open"], count["saved"], failed)))
    return table


def _caption(jobs: Sequence[DemoJob]) -> str:
    spent = sum(job.coins or 0 for job in jobs)
    saved = sum(job.saved for job in jobs)
    return f"{saved} of {len(jobs)} saved, {format_coins(spent)}"
