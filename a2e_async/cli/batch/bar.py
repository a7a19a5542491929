"""How far a batch is: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from attrs import define, field

from a2e_async.cli.batch.report import STATUSES, Status
from a2e_async.cli.printer import Printer, is_terminal
from a2e_async.cli.show import coins_word, seconds_word
from a2e_async.events import Accepted, Event

if TYPE_CHECKING:
    from a2e_async.tasks.budget import Budget

EVERY: Final = 30.0
"""Seconds between two lines where no bar can be drawn."""

SURE: Final = 3
"""Jobs that must be over before the time that is left is told."""


@define(kw_only=True)
class Tally:
    """What became of the jobs so far. ``coins`` were spent by this run, retries included."""

    total: int
    counts: Counter[Status] = field(factory=Counter[Status])
    coins: int = 0
    budget: "Budget | None" = None
    started: int = 0
    """Starts that the service has accepted."""
    refused: int = 0
    """Jobs that did not fit the budget."""
    unpriced: int = 0
    """Starts of which the service has not said what they cost."""
    began: float = field(factory=time.monotonic)

    def hear(self, event: Event) -> None:
        """Count what a start cost."""
        if isinstance(event, Accepted):
            self.started += 1
            self.coins += event.coins or 0
            self.unpriced += event.coins is None

    @property
    def over(self) -> int:
        """How many jobs have an outcome."""
        return self.counts.total()

    @property
    def good(self) -> int:
        """How many jobs are done and saved, by this run or an earlier one."""
        return self.counts["ok"] + self.counts["earlier"]

    @property
    def complete(self) -> bool:
        """Whether every job is done and saved."""
        return self.good == self.total

    def words(self) -> str:
        """Return how it stands, as people read it."""
        said = [
            f"{self.counts[status]} {'done' if status == 'ok' else status}"
            for status in STATUSES
            if self.counts[status] or status == "ok"
        ]
        unpriced = f" and {self.unpriced} of unknown price" if self.unpriced else ""
        return " · ".join([*said, coins_word(self.coins) + unpriced])

    def pace(self, now: float) -> str:
        """Return jobs per second and the time that is left, as far as this run's jobs tell."""
        made = self.over - self.counts["earlier"]
        seconds = now - self.began
        if made < SURE or seconds <= 0:
            return ""
        rate = made / seconds
        left = seconds_word((self.total - self.over) / rate)
        each = f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.1f}/min"
        return f" · {each} · {left} left"


def held_back_word(tally: Tally, budget: "Budget") -> str:
    """Return what a budget that ended the batch has let through, as people read it."""
    held_back = tally.refused + tally.total - tally.over
    return (
        f"{tally.started} started, {held_back} held back by the budget: {budget.figures()} "
        f"of {coins_word(budget.coins)}"
    )


def budget_word(budget: "Budget") -> str:
    """Return how much of a budget is used, as people read it."""
    reserved = f", {budget.reserved} reserved for unknown starts" if budget.reserved else ""
    return f"budget: {budget.spent} of {coins_word(budget.coins)} spent{reserved}"


@contextmanager
def bar(printer: Printer, tally: Tally) -> Generator[Callable[[], None]]:
    """Show how far a batch is; the function given brings it up to date."""
    if not printer.live:
        yield _now_and_then(printer, tally)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Column

    # Lines for stdout go through the bar only where they are on the same terminal.
    with Progress(
        # On a narrow terminal the words wrap, before a figure is cut.
        BarColumn(20, table_column=Column(no_wrap=True)),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=False)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        console=printer.console(),
        transient=True,
        redirect_stdout=is_terminal(sys.stdout),
    ) as shown:
        line = shown.add_task(tally.words(), total=tally.total)

        def update() -> None:
            said = tally.words() + tally.pace(time.monotonic())
            shown.update(line, completed=tally.over, description=said)

        yield update


def _now_and_then(printer: Printer, tally: Tally) -> Callable[[], None]:
    said = time.monotonic()

    def update() -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= EVERY:
            said = now
            printer.note(f"{tally.over} of {tally.total} · {tally.words()}{tally.pace(now)}")

    return update
