"""The command ``batch``."""

import asyncio
import shlex
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from attrs import evolve, frozen
from cyclopts import Parameter

from a2e_async.cli import exits
from a2e_async.cli.batch.bar import Tally, bar, budget_word, held_back_word
from a2e_async.cli.batch.check import SHOWN, CheckedFile, Found, check_all, read_jobs
from a2e_async.cli.batch.rows import check_file
from a2e_async.cli.desk import Desk, conduct
from a2e_async.cli.jobs import NOT_SEEN, UNDER_WAY
from a2e_async.cli.numbers import WHOLE
from a2e_async.cli.outages import outages
from a2e_async.cli.places import make_ready
from a2e_async.cli.progress import progress
from a2e_async.cli.settings import Online
from a2e_async.cli.show import coins_word, counted
from a2e_async.errors import BudgetExceeded, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Generator

    from a2e_async.cli.batch.quotes import Quotes
    from a2e_async.cli.batch.report import Report
    from a2e_async.client import A2E
    from a2e_async.tasks.batch import Outcome
    from a2e_async.tasks.budget import Budget
    from a2e_async.tasks.journal import Journal

HELP: Final = (
    "Run the jobs of a file, each paid once, and save their results. Costs coins.\n\n"
    'A line of JSONL is {"kind": "dubbing", "key": "talk-17", "input": {...}, "meta": {...}}; '
    "the columns of a CSV file are kind, key and inputs (an empty cell is not given, lists and "
    "objects are JSON). Local paths begin at the file's directory. The whole file is checked "
    "before anything is spent. Whatever ends a run, the same command goes on where it ended: what "
    "is done is skipped, what is under way is waited for. Jobs that the service failed stay "
    "failed, unless --retry-failed allows to pay anew."
)


OnUnknown = Literal["raise", "resend-may-pay-twice"]


@frozen(kw_only=True)
class _Order:
    """What the command was told."""

    file: Path
    out: Path
    journal: Path | None
    limit: int
    retry_failed: int
    report: Path | None
    budget: int | None = None
    unknown_cost: int | None = None
    on_unknown: OnUnknown = "raise"

    def again(self) -> str:
        """Return the command that goes on."""
        words = ["a2e", "batch", str(self.file), "--out", str(self.out)]
        for flag, value, usual in (
            ("--journal", self.journal, None),
            ("--limit", self.limit, 10),
            ("--retry-failed", self.retry_failed, 0),
            ("--report", self.report, None),
            ("--budget", self.budget, None),
            ("--unknown-cost", self.unknown_cost, None),
            ("--on-unknown", self.on_unknown, "raise"),
        ):
            words += [] if value == usual else [flag, str(value)]
        return shlex.join(words)


def batch(
    file: Annotated[Path, Parameter(help="The jobs: a file that ends with .jsonl or .csv.")],
    /,
    *,
    out: Annotated[
        Path, Parameter(name=("--out", "-o"), help="Where results are saved.")
    ] = Path(),  # never changed
    journal: Annotated[
        Path | None,
        Parameter(help="The file in which each start is written down before it is paid."),
    ] = None,
    limit: Annotated[
        int, Parameter(help="How many jobs are under way at most.", converter=WHOLE)
    ] = 10,
    retry_failed: Annotated[
        int,
        Parameter(help="How often a task that failed is started, and paid, anew.", converter=WHOLE),
    ] = 0,
    report: Annotated[
        Path | None,
        Parameter(help="A file for the outcomes, one line of JSON for each job; written anew."),
    ] = None,
    budget: Annotated[
        int | None,
        Parameter(
            converter=WHOLE,
            help="Coins that the jobs may cost at most, in all runs that share the journal; a "
            "start that would pass it ends the batch.",
        ),
    ] = None,
    unknown_cost: Annotated[
        int | None,
        Parameter(
            converter=WHOLE,
            help="Coins that a start counts for in the budget where the service says no price.",
        ),
    ] = None,
    on_unknown: Annotated[
        OnUnknown,
        Parameter(
            help="What becomes of a start whose answer was lost and which is not found. raise: it "
            "is not sent again. resend-may-pay-twice: it is, 3 minutes after it was sent, if the "
            "service's list shows that it is not there; the list may be wrong."
        ),
    ] = "raise",
    dry_run: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Check the file and ask for prices; spend nothing.",
        ),
    ] = False,
    settings: Online = Online(),  # noqa: B008  # frozen
) -> int:
    """Run the jobs of a file, each paid once, and save their results."""
    order = _Order(
        file=file,
        out=out,
        journal=journal,
        limit=limit,
        retry_failed=retry_failed,
        report=report,
        budget=budget,
        unknown_cost=unknown_cost,
        on_unknown=on_unknown,
    )
    return conduct(settings, lambda desk: _batch(desk, order, dry_run=dry_run))


async def _batch(desk: Desk, order: _Order, *, dry_run: bool) -> int:
    from a2e_async.cli.batch.report import check_report
    from a2e_async.tasks.batch import check_batch

    check_batch(order.limit, order.retry_failed)
    budget = _budget(order)
    check_file(order.file)
    if order.journal is None and not dry_run:
        raise InvalidInput(
            "a2e batch needs --journal, such as --journal jobs.db: the file in which each start is "
            "written down before it is paid. Without it a crash or Ctrl-C could lose a task that "
            "was paid, and running again would pay for it twice.",
            field="journal",
        )
    if order.report is not None:
        check_report(order.report, order.file, *([order.journal] if order.journal else []))
    desk.farewell = lambda: ["Nothing was started."]
    with progress(desk.printer, f"checking {order.file.name}") as say:
        found = await check_all(order.file, say)
    if found.count:
        return _refuse(desk, order, found)
    kinds = ", ".join(f"{count} {kind}" for kind, count in found.kinds.most_common())
    desk.printer.note(f"{order.file}: {counted(found.jobs, 'job')}{kinds and f': {kinds}'}")
    if dry_run:
        return await _estimate(desk, order, found)
    return await _run(desk, order, found.jobs, budget)


def _refuse(desk: Desk, order: _Order, found: Found) -> int:
    for wrong in found.wrong:
        desk.printer.error(wrong.said(str(order.file)))
    if found.count > SHOWN:
        desk.printer.error(f"... and {found.count - SHOWN} more")
    said = f"{order.file} has {counted(found.count, 'error')}. Nothing was started."
    desk.printer.error(f"error: {said}")
    errors = [
        {"line": wrong.number, "field": wrong.field, "message": wrong.what} for wrong in found.wrong
    ]
    document = {"type": "InvalidInput", "message": said, "exit_code": exits.USAGE}
    desk.printer.json({"error": {**document, "errors": errors, "count": found.count}})
    return exits.USAGE


async def _estimate(desk: Desk, order: _Order, found: Found) -> int:
    from a2e_async.cli.batch.quotes import AT_ONCE, Quotes
    from a2e_async.tasks.budget import Budget
    from a2e_async.tasks.journal_sqlite import SqliteJournal

    # One that is not there yet is not made: nothing was begun.
    there = order.journal is not None and order.journal.is_file()
    journal = SqliteJournal(order.journal) if there and order.journal else None
    quotes = Quotes()
    async with desk.client(journal) as a2e:
        outcomes = a2e.batch(
            read_jobs(order.file),
            limit=AT_ONCE,
            retry_failed=order.retry_failed,
            download_to=order.out.absolute(),
            dry_run=True,
        )
        with progress(desk.printer, "asking for prices") as say:
            async with aclosing(outcomes):
                async for outcome in outcomes:
                    quotes.take(outcome)
                    say(f"asking for prices: {quotes.jobs} jobs")
    if quotes.wrong.count:
        return _refuse(desk, order, quotes.wrong)
    about = "about " if quotes.about else ""
    lines = [f"{about}{coins_word(quotes.coins)} for {counted(quotes.priced, 'job')}"]
    if quotes.unpriced:
        lines.append(f"no figure from the service for {counted(quotes.unpriced, 'job')}")
    if quotes.uploads:
        lines.append(
            f"{counted(quotes.uploads, 'file')} to upload: the service tells no price, a budget "
            "counts 1 coin for each"
        )
    if quotes.begun:
        lines.append(f"{counted(quotes.begun, 'job')} begun before: nothing more to pay")
    fits = None
    if order.budget is not None:
        # The price of the rest is what the batch itself will count for it.
        total = quotes.paid + quotes.coins + quotes.unpriced * (order.unknown_cost or 0)
        total += quotes.uploads * Budget(0).upload_cost
        fits = total <= order.budget
        lines.append(_fit_word(order, quotes, total))
    desk.printer.out("\n".join(lines))
    if quotes.about:
        desk.printer.note(NOT_SEEN)
    desk.printer.note("Nothing was started.")
    figures = {
        "coins": quotes.coins,
        "about": bool(quotes.about),
        "priced": quotes.priced,
        "unpriced": quotes.unpriced,
        "uploads": quotes.uploads,
        "budget": order.budget,
        "fits": fits,
    }
    desk.printer.json(
        {"jobs": found.jobs, "kinds": dict(found.kinds), "begun": quotes.begun, **figures}
    )
    return exits.OK


def _fit_word(order: _Order, quotes: "Quotes", total: int) -> str:
    before = f", {quotes.paid} paid before included" if quotes.paid else ""
    if order.budget is not None and total > order.budget:
        return f"does not fit the budget of {order.budget}: {coins_word(total)}{before}"
    open_ended = quotes.unpriced and order.unknown_cost is None
    but = "; what has no figure ends the batch without --unknown-cost" if open_ended else ""
    return f"fits the budget of {order.budget}: {coins_word(total)}{before}{but}"


async def _run(desk: Desk, order: _Order, jobs: int, budget: "Budget | None") -> int:
    from a2e_async.cli.batch.report import reporting
    from a2e_async.tasks.journal_sqlite import SqliteJournal

    assert order.journal is not None  # noqa: S101  # asked for before
    make_ready(order.out)
    tally, journal = Tally(total=jobs, budget=budget), SqliteJournal(order.journal)
    desk.farewell = lambda: _farewell(order, tally)
    desk.listeners.append(tally.hear)
    with reporting(order.report, order.file, order.journal) as report:
        try:
            resend = order.on_unknown != "raise"
            async with desk.client(journal, resend=resend) as a2e:
                await journal.open()
                await _consume(desk, a2e, order, _Ledger(desk, order, tally, report, journal))
        except asyncio.CancelledError:
            raise  # told by the farewell
        except Exception as error:
            if budget is not None and isinstance(error, BudgetExceeded):
                desk.printer.note(held_back_word(tally, budget))
            for line in _farewell(order, tally):
                desk.printer.note(line)
            # The journal knows them all: nobody has to come back to each.
            desk.running.clear()
            if isinstance(error, BudgetExceeded):
                raise BudgetExceeded(_over(error)) from error
            raise
    return _close(desk, order, tally)


@frozen
class _Ledger:
    """Takes the outcomes in: counts them, reports them, tells what went wrong."""

    desk: Desk
    order: _Order
    tally: Tally
    report: "Report | None"
    journal: "Journal"

    async def take(self, outcome: "Outcome[Any]") -> None:
        """Take in one outcome."""
        from a2e_async.cli.batch.report import report_line

        line = report_line(outcome, await self._coins(outcome))
        self.tally.counts[line["status"]] += 1
        self.tally.refused += isinstance(outcome.error, BudgetExceeded)
        if self.report is not None:
            self.report.write(line)
        printer = self.desk.printer
        for path in line["paths"]:
            printer.out(path)
        if line["error"]:
            wrong = self.tally.over - self.tally.good
            if wrong <= SHOWN:
                printer.error(f"{self.order.file}:{line['line']}: {line['error']}")
            if wrong == SHOWN:
                where = f"are in {self.order.report}" if self.report else "need --report to be told"
                printer.error(f"... further ones {where}")

    async def _coins(self, outcome: "Outcome[Any]") -> int | None:
        """Return what the job's task cost; of an earlier run's task the journal knows it."""
        task = outcome.task
        if task is None or task.coins is not None or task.key is None:
            return task.coins if task else None
        entry = await self.journal.get(task.key)
        return entry.coins if entry else None


async def _consume(desk: Desk, a2e: "A2E", order: _Order, ledger: _Ledger) -> None:
    outcomes = a2e.batch(
        CheckedFile(order.file, ledger.tally.total),
        limit=order.limit,
        retry_failed=order.retry_failed,
        budget=ledger.tally.budget,
        # The journal keeps these paths, for whatever directory the next run is called from.
        download_to=order.out.absolute(),
    )
    with bar(desk.printer, ledger.tally) as update, outages(desk), _patience(desk):
        async with aclosing(outcomes):
            async for outcome in outcomes:
                await ledger.take(outcome)
                update()


@contextmanager
def _patience(desk: Desk) -> "Generator[None]":
    """Say why it takes a moment, when the work is cut off."""
    try:
        yield
    except asyncio.CancelledError:
        desk.printer.note(UNDER_WAY)
        raise


def _budget(order: _Order) -> "Budget | None":
    from a2e_async.tasks.budget import Budget

    for flag, value in (("budget", order.budget), ("unknown-cost", order.unknown_cost)):
        if value is not None and value < 0:
            raise InvalidInput(f"--{flag} must be 0 coins or more.", field=flag.replace("-", "_"))
    if order.budget is not None:
        return Budget(order.budget, unknown_cost=order.unknown_cost)
    if order.unknown_cost is not None:
        raise InvalidInput("--unknown-cost goes with --budget.", field="unknown_cost")
    return None


def _over(error: BudgetExceeded) -> str:
    """Return what went beyond the budget, and which flag allows it."""
    said = str(error)
    if "Budget(unknown_cost=…)" in said:
        return said.replace("Budget(unknown_cost=…)", "--unknown-cost COINS")
    return f"{said} A larger --budget allows to go on."


def _farewell(order: _Order, tally: Tally) -> list[str]:
    budget = tally.budget
    return [
        *([budget_word(budget)] if budget else []),
        f"{tally.good} of {counted(tally.total, 'job')} done and saved. Nothing is lost: what was "
        "started goes on at the service and is in the journal.",
        f"Go on with: {order.again()}",
    ]


def _ways(order: _Order) -> list[str]:
    """Return what can be done about unknown starts, the safest first."""
    again = evolve(order, on_unknown="resend-may-pay-twice").again()
    settle = shlex.join(["a2e", "journal", "settle", str(order.journal)])
    return [
        "Unknown starts may have been charged and were not sent again. Running this again looks "
        f"for them first: {order.again()}",
        f"If the service's own list shows that one is not there, free its key, then run it again: "
        f"{settle} KEY --as unpaid",
        *(
            [f"Or send again those that are proved to be absent, 3 minutes after: {again}"]
            if order.on_unknown == "raise"
            else []
        ),
    ]


def _close(desk: Desk, order: _Order, tally: Tally) -> int:
    printer, counts = desk.printer, tally.counts
    printer.note(f"{tally.over} of {tally.total} · {tally.words()}")
    budget = tally.budget
    if budget is not None:
        printer.note(budget_word(budget))
    hints: list[tuple[bool, str]] = [
        (
            bool(counts["failed"]),
            "Failed jobs are not started again, for that costs again; --retry-failed 1 allows it.",
        ),
        *((bool(counts["unknown"]), hint) for hint in _ways(order)),
        (bool(counts["error"]), f"Try what is left again with: {order.again()}"),
        (tally.over != tally.total, f"{order.file} was changed since it was checked."),
    ]
    for applies, hint in hints:
        if applies:
            printer.error(hint)
    code = exits.OK if tally.complete else exits.PARTIAL
    printer.json(
        {
            "jobs": tally.total,
            **{
                status: counts[status] for status in ("ok", "earlier", "failed", "unknown", "error")
            },
            "coins": tally.coins,
            "unpriced": tally.unpriced,
            "budget": budget
            and {"coins": budget.coins, "spent": budget.spent, "reserved": budget.reserved},
            "report": str(order.report) if order.report else None,
            "exit_code": code,
        }
    )
    return code
