"""The progress of a batch: a bar on a terminal, a line every 30 s elsewhere."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from attrs import define, field

from a2e_async.cli.batch.report import STATUSES, Status
from a2e_async.cli.formatting import format_coins, format_duration
from a2e_async.cli.printer import Printer
from a2e_async.cli.streams import is_terminal
from a2e_async.events import Accepted, Event

if TYPE_CHECKING:
    from a2e_async._core.submission.budget import Budget

LINE_INTERVAL: Final = 30.0
"""Seconds between two lines if no bar can be drawn."""

MIN_JOBS_FOR_ESTIMATE: Final = 3
"""Jobs that must have ended before the remaining time is estimated."""


@define(kw_only=True)
class BatchProgress:
    """The outcomes so far. ``coins`` is what this run spent, including failed tasks' retries.

    Created by a command for one batch, which adds each outcome.
    """

    total: int
    counts: Counter[Status] = field(factory=Counter[Status])
    coins: int = 0
    budget: "Budget | None" = None
    started: int = 0
    """Starts that the service accepted."""
    refused: int = 0
    """Jobs that did not fit the budget."""
    unpriced: int = 0
    """Accepted starts of unknown price."""
    retries: int = 0
    """Most starts of a failed job after its first, in all runs."""
    began: float = field(factory=time.monotonic)

    def on_event(self, event: Event) -> None:
        """Count an accepted start and its price."""
        if isinstance(event, Accepted):
            self.started += 1
            self.coins += event.coins or 0
            self.unpriced += event.coins is None

    @property
    def ended(self) -> int:
        """The number of jobs that have an outcome."""
        return self.counts.total()

    @property
    def succeeded(self) -> int:
        """The number of jobs that are done and saved, by this run or an earlier one."""
        return self.counts["ok"] + self.counts["earlier"]

    @property
    def complete(self) -> bool:
        """Whether every job is done and saved."""
        return self.succeeded == self.total

    def summary(self) -> str:
        """Return the counts and coins as text."""
        counts = self.counts.copy()
        counts["error"] -= self.refused
        parts = [
            f"{counts[status]} {'done' if status == 'ok' else status}"
            for status in STATUSES
            if counts[status] or status == "ok"
        ]
        parts += [f"{self.refused} not started (budget)"] if self.refused else []
        return " · ".join([*parts, self._spending()])

    def _spending(self) -> str:
        priced = self.started - self.unpriced
        if not self.started:
            return "0 started"
        prices = [format_coins(self.coins)] if priced else []
        if self.unpriced:
            prices.append(f"{f'{self.unpriced} with ' if priced else ''}price not reported")
        return f"{self.started} started, {', '.join(prices)}"

    def rate(self, now: float) -> str:
        """Return the rate of this run and the estimated remaining time; "" if it is too early."""
        jobs = self.ended - self.counts["earlier"]
        seconds = now - self.began
        if jobs < MIN_JOBS_FOR_ESTIMATE or seconds <= 0:
            return ""
        per_second = jobs / seconds
        left = format_duration((self.total - self.ended) / per_second)
        rate = f"{per_second:.1f}/s" if per_second >= 1 else f"{per_second * 60:.1f}/min"
        return f" · {rate} · {left} left"


def held_back_text(progress: BatchProgress, budget: "Budget") -> str:
    """Return how many starts a used-up budget allowed, and how many it held back."""
    held_back = progress.refused + progress.total - progress.ended
    return (
        f"{progress.started} started, {held_back} held back by the budget: {budget.summary()} "
        f"of {format_coins(budget.coins)}"
    )


def budget_text(budget: "Budget") -> str:
    """Return how much of a budget is used, as text."""
    reserved = f", {budget.reserved} reserved for unknown starts" if budget.reserved else ""
    return f"budget: {budget.spent} of {format_coins(budget.coins)} spent{reserved}"


@contextmanager
def progress_bar(printer: Printer, progress: BatchProgress) -> Generator[Callable[[], None]]:
    """Show the progress of a batch; the yielded function updates it."""
    if not printer.live:
        yield _print_lines(printer, progress)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Column

    display = Progress(
        # On a narrow terminal the text wraps, so that no number is cut off.
        BarColumn(20, table_column=Column(no_wrap=True)),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=False)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        console=printer.console(),
        transient=True,
        # Only a terminal's stdout goes through the bar; a file or pipe must get it unchanged.
        redirect_stdout=is_terminal(sys.stdout),
    )
    with printer.drawing(display):
        line = display.add_task(progress.summary(), total=progress.total)

        def update() -> None:
            text = progress.summary() + progress.rate(time.monotonic())
            display.update(line, completed=progress.ended, description=text)

        yield update


def _print_lines(printer: Printer, progress: BatchProgress) -> Callable[[], None]:
    printed_at = time.monotonic()

    def update() -> None:
        nonlocal printed_at
        now = time.monotonic()
        if now - printed_at >= LINE_INTERVAL:
            printed_at = now
            counts = f"{progress.ended} of {progress.total}"
            printer.note(f"{counts} · {progress.summary()}{progress.rate(now)}")

    return update
