"""``batch``: runs the jobs of a file."""

import asyncio
import errno
import os
import shlex
from contextlib import aclosing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from attrs import define, evolve, field, frozen
from cyclopts import Parameter

from a2e_async._core.batch.manifest import FILE_NAME
from a2e_async.cli import exit_codes
from a2e_async.cli.batch import results_page
from a2e_async.cli.batch.job_file import STDIN, JobFile, LineError, open_job_file
from a2e_async.cli.batch.progress_bar import (
    BatchProgress,
    budget_text,
    held_back_text,
    progress_bar,
)
from a2e_async.cli.batch.validation import (
    MAX_PRINTED_ERRORS,
    CheckedFile,
    ValidationResult,
    check_all,
    read_jobs,
)
from a2e_async.cli.common_flags import ServiceFlags, switch
from a2e_async.cli.context import CommandContext
from a2e_async.cli.error_messages import in_cli_words
from a2e_async.cli.formatting import format_coins, format_count
from a2e_async.cli.journal.entries import iter_entries
from a2e_async.cli.number_parsing import WHOLE
from a2e_async.cli.outage_notices import report_outages
from a2e_async.cli.output_paths import Name, check_name, prepare_directory
from a2e_async.cli.progress import progress_line
from a2e_async.cli.runner import run_command
from a2e_async.cli.start_commands import FILE_LENGTH_UNKNOWN, START_IN_PROGRESS
from a2e_async.errors import A2EError, BudgetExceeded, InvalidInput, TaskFailed

if TYPE_CHECKING:
    from collections.abc import Generator

    from a2e_async._core.batch.batch import Outcome
    from a2e_async._core.journal.protocol import Journal
    from a2e_async._core.submission.budget import Budget
    from a2e_async.cli.batch.dry_run import PriceTotals
    from a2e_async.cli.batch.report import BatchReport
    from a2e_async.cli.batch.results_page import ResultsPage
    from a2e_async.client import A2E

HELP: Final = (
    "Run the jobs of a file, each paid once, and save their results. Costs coins.\n\n"
    'A job in JSON is {"kind": "dubbing", "key": "talk-17", "input": {...}, "meta": {...}}, one a '
    "line (JSONL), or a list of them; the columns of a CSV file or Excel sheet are kind, key and "
    "inputs (empty cells are ignored; lists and objects are JSON). Lines that begin with # are "
    "comments. Local paths are relative to the file's directory. The whole file is checked before "
    "anything is spent. However a run ends, the same command continues it: jobs "
    "that are done are skipped, and it waits for running ones. Failed jobs are started again, and "
    "charged again, only with --retry-failed."
)


OnUnknown = Literal["raise", "resend-may-pay-twice"]


@frozen(kw_only=True)
class BatchOptions:
    """The arguments and flags of the command."""

    file: str
    out: Path
    journal: Path | None
    name: str | None
    manifest: bool
    html: bool
    limit: int
    retry_failed: int
    report: Path | None
    budget: int | None = None
    unknown_cost: int | None = None
    on_unknown: OnUnknown = "raise"
    sep: str | None = None
    encoding: str | None = None

    def command_line(self) -> str:
        """Return the command that continues this batch."""
        words = ["a2e", "batch", "-" if self.file == STDIN else self.file, "--out", str(self.out)]
        for flag, value, default in (
            ("--journal", self.journal, None),
            ("--name", self.name, None),
            ("--limit", self.limit, 10),
            ("--retry-failed", self.retry_failed, 0),
            ("--report", self.report, None),
            ("--budget", self.budget, None),
            ("--unknown-cost", self.unknown_cost, None),
            ("--on-unknown", self.on_unknown, "raise"),
            ("--sep", self.sep, None),
            ("--encoding", self.encoding, None),
        ):
            words += [] if value == default else [flag, str(value)]
        words += ["--manifest"] if self.manifest else []
        words += ["--html"] if self.html else []
        return shlex.join(words)


def batch(
    file: Annotated[
        Path,
        Parameter(help="File of jobs: JSONL, JSON, CSV (also with ; or tab) or .xlsx; - is stdin."),
    ],
    /,
    *,
    out: Annotated[
        Path,
        Parameter(
            name=("--out", "-o"),
            help="Directory for the results.",
        ),
    ] = Path(),  # immutable
    journal: Annotated[
        Path | None,
        Parameter(
            help="File that records each start before it is paid; required without --dry-run."
        ),
    ] = None,
    name: Name = None,
    manifest: Annotated[
        bool,
        switch("List the results in --out, with sizes and checksums, in results.jsonl there."),
    ] = False,
    html: Annotated[
        bool,
        switch("Show the results in --out, with thumbnails and players, in results.html there."),
    ] = False,
    limit: Annotated[
        int, Parameter(help="Most jobs that run at the same time.", converter=WHOLE)
    ] = 10,
    retry_failed: Annotated[
        int,
        Parameter(
            help="How many times a failed task is started, and charged, again.", converter=WHOLE
        ),
    ] = 0,
    report: Annotated[
        Path | None,
        Parameter(help="File for the outcomes, one line of JSON per job; overwritten."),
    ] = None,
    budget: Annotated[
        int | None,
        Parameter(
            converter=WHOLE,
            help="Most coins that the jobs may cost, in all runs that share the journal. A start "
            "that would exceed it ends the batch.",
        ),
    ] = None,
    unknown_cost: Annotated[
        int | None,
        Parameter(
            converter=WHOLE,
            help="Coins that a start counts in the budget if the service quotes no price.",
        ),
    ] = None,
    on_unknown: Annotated[
        OnUnknown,
        Parameter(
            help="What to do when a start got no response and its task cannot be found. raise: "
            "report it, do not submit it again. resend-may-pay-twice: submit it again 3 minutes "
            "later if the service's list does not show it; the list may be wrong."
        ),
    ] = "raise",
    sep: Annotated[
        str | None,
        Parameter(help="Separator of the columns of a CSV file, such as ; or tab; detected."),
    ] = None,
    encoding: Annotated[
        str | None,
        Parameter(
            help="Encoding of a text file that is not UTF-8, such as cp1252: CSV by Excel in "
            "Western Europe."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        switch("Check the file and print the price; spend nothing."),
    ] = False,
    flags: ServiceFlags = ServiceFlags(),  # noqa: B008  # frozen
) -> int:
    """Run the jobs of a file, each paid once, and save their results."""
    from a2e_async._core.batch.batch import validate_batch_options

    options = BatchOptions(
        file=str(file),
        out=out,
        journal=journal,
        name=name,
        manifest=manifest,
        html=html,
        limit=limit,
        retry_failed=retry_failed,
        report=report,
        budget=budget,
        unknown_cost=unknown_cost,
        on_unknown=on_unknown,
        sep=sep,
        encoding=encoding,
    )
    validate_batch_options(limit, retry_failed)
    # Before the event loop runs: reading a pipe may take long, and Ctrl-C ends it.
    with open_job_file(str(file), sep, encoding) as jobs:
        return run_command(flags, lambda context: _batch(context, options, jobs, dry_run=dry_run))


async def _batch(
    context: CommandContext, options: BatchOptions, file: JobFile, *, dry_run: bool
) -> int:
    from a2e_async.cli.batch.report import check_report

    budget = _budget(options)
    check_name(options.name, many_tasks=True)
    if options.journal is None and not dry_run:
        raise InvalidInput(
            "a2e batch needs --journal, such as --journal jobs.db: the file that records each "
            "start before it is paid. Without it, a crash or Ctrl-C could lose a paid task, and "
            "the next run would pay for it again.",
            field="journal",
        )
    if options.report is not None:
        others = [file.path, *([options.journal] if options.journal else [])]
        others += [options.out / FILE_NAME] if options.manifest else []
        others += [options.out / results_page.FILE_NAME] if options.html else []
        check_report(options.report, *others)
    if options.html and not dry_run:
        results_page.check_results_page(
            options.out, *([options.journal] if options.journal else [])
        )
    context.interruption_lines = lambda: ["Nothing was started."]
    with progress_line(context.printer, f"checking {file.label}", lines=True) as show:
        checked = await check_all(file, show)
    if checked.error_count:
        return _report_line_errors(context, file, checked)
    kinds = ", ".join(f"{count} {kind}" for kind, count in checked.kinds.most_common())
    context.printer.note(
        f"{file.label}: {format_count(checked.job_count, 'job')}: {kinds}"
        + (f" · {format_count(checked.comment_count, 'comment')}" if checked.comment_count else "")
    )
    if dry_run:
        return await _print_prices(context, options, file, checked)
    return await _run(context, options, file, checked.job_count, budget)


def _report_line_errors(
    context: CommandContext,
    file: JobFile,
    checked: ValidationResult,
    other_error: BaseException | None = None,
) -> int:
    """Print the errors in lines; return the exit code, that of ``other_error`` if there is one."""
    for error in checked.errors:
        context.printer.error(error.text(file.label))
    if checked.not_utf8_count > 1:
        lines = format_count(checked.not_utf8_count - 1, "further line")
        verb = "is" if checked.not_utf8_count == 2 else "are"
        context.printer.error(f"{file.label}: {lines} {verb} not UTF-8 text")
    count = checked.error_count
    if count > MAX_PRINTED_ERRORS:
        context.printer.error(f"... and {count - MAX_PRINTED_ERRORS} more")
    message = f"{file.label} has {format_count(count, 'error')}. Nothing was started."
    name, code = "InvalidInput", exit_codes.USAGE
    if other_error is not None:
        message = f"{format_count(count, 'job')} could not be priced. Nothing was started."
        name, code = type(other_error).__name__, exit_codes.code_for(other_error)
    context.printer.error(f"error: {message}")
    errors = [
        {"line": error.number, "field": error.field, "message": error.message}
        for error in checked.errors
    ]
    document = {"type": name, "message": message, "exit_code": code}
    context.printer.json({"error": {**document, "errors": errors, "count": count}})
    return code


async def _print_prices(
    context: CommandContext, options: BatchOptions, file: JobFile, checked: ValidationResult
) -> int:
    from a2e_async._core.batch.dry_run import SAMPLE_SIZE
    from a2e_async._core.journal.sqlite import SqliteJournal
    from a2e_async._core.submission.budget import Budget
    from a2e_async.cli.batch.dry_run import CONCURRENT_QUOTES, PriceTotals, duration_notice

    # A dry run creates no journal: without the file, nothing was started before.
    exists = options.journal is not None and options.journal.is_file()
    journal = SqliteJournal(options.journal) if exists and options.journal else None
    totals = PriceTotals()
    if notice := duration_notice(checked.job_count):
        context.printer.note(notice)
    async with context.client(journal) as a2e:
        outcomes = a2e.batch(
            read_jobs(file, totals.invalid.add),
            limit=CONCURRENT_QUOTES,
            retry_failed=options.retry_failed,
            download_to=options.out.absolute(),
            name=options.name,
            manifest=options.manifest,
            dry_run=True,
        )
        with progress_line(context.printer, "requesting prices", lines=True) as show:
            async with aclosing(outcomes):
                async for outcome in outcomes:
                    totals.add(outcome)
                    show(f"requesting prices: {totals.job_count} of {checked.job_count} jobs")
    if totals.invalid.error_count:
        return _report_line_errors(context, file, totals.invalid, totals.other_error)
    about = "about " if totals.approximate_count else ""
    lines = [f"{about}{format_coins(totals.coins)} for {format_count(totals.priced, 'job')}"]
    if totals.unpriced:
        lines.append(f"no quote from the service for {format_count(totals.unpriced, 'job')}")
    if totals.upload_count:
        lines.append(
            f"{format_count(totals.upload_count, 'file')} to upload: the service quotes no "
            "price, a budget counts 1 coin for each"
        )
    if totals.begun:
        lines.append(f"{format_count(totals.begun, 'job')} started before: free of charge")
    fits = None
    if options.budget is not None:
        # Unpriced jobs and uploads count what the batch itself will reserve for them.
        total = totals.paid + totals.coins + totals.unpriced * (options.unknown_cost or 0)
        total += totals.upload_count * Budget(0).upload_cost
        fits = total <= options.budget
        lines.append(_budget_fit(options, totals, total))
    context.printer.out("\n".join(lines))
    if totals.assumed_count:
        context.printer.note(
            f"{format_count(totals.assumed_count, 'job')} not quoted: other texts and media, but "
            f"the settings of {SAMPLE_SIZE} quoted jobs, which all have the same price."
        )
    if totals.approximate_count > totals.assumed_count:
        context.printer.note(FILE_LENGTH_UNKNOWN)
    context.printer.note("Nothing was started.")
    figures = {
        "coins": totals.coins,
        "about": bool(totals.approximate_count),
        "assumed": totals.assumed_count,
        "priced": totals.priced,
        "unpriced": totals.unpriced,
        "uploads": totals.upload_count,
        "budget": options.budget,
        "fits": fits,
    }
    context.printer.json(
        {"jobs": checked.job_count, "kinds": dict(checked.kinds), "begun": totals.begun, **figures}
    )
    return exit_codes.OK


def _budget_fit(options: BatchOptions, totals: "PriceTotals", total: int) -> str:
    before = f", including {totals.paid} paid before" if totals.paid else ""
    if options.budget is not None and total > options.budget:
        return f"exceeds the budget of {options.budget}: {format_coins(total)}{before}"
    open_ended = totals.unpriced and options.unknown_cost is None
    but = (
        "; a job without a quote ends the batch unless --unknown-cost is set" if open_ended else ""
    )
    return f"fits the budget of {options.budget}: {format_coins(total)}{before}{but}"


async def _run(
    context: CommandContext,
    options: BatchOptions,
    file: JobFile,
    jobs: int,
    budget: "Budget | None",
) -> int:
    from a2e_async._core.journal.sqlite import SqliteJournal
    from a2e_async.cli.batch.report import open_report

    assert options.journal is not None  # noqa: S101  # checked by the caller
    prepare_directory(options.out)
    if options.manifest:
        _check_manifest(options.out / FILE_NAME)
    progress, journal = (
        BatchProgress(total=jobs, budget=budget),
        SqliteJournal(options.journal),
    )
    context.interruption_lines = lambda: _interruption_lines(options, progress)
    context.event_listeners.append(progress.on_event)
    with (
        open_report(options.report, file.path, options.journal) as report,
        (
            results_page.open_results_page(options.out, options.journal)
            if options.html
            else nullcontext()
        ) as page,
    ):
        recorder = OutcomeRecorder(context, options, file, progress, report, page, journal)
        try:
            resend = options.on_unknown != "raise"
            async with context.client(journal, resend=resend) as a2e:
                await journal.open()
                try:
                    await _consume(context, a2e, options, recorder)
                finally:  # also when it is stopped
                    await recorder.write_page()
        except asyncio.CancelledError:
            raise  # `run_command` prints the interruption lines
        except Exception as error:
            if budget is not None and isinstance(error, BudgetExceeded):
                context.printer.note(held_back_text(progress, budget))
            for line in _interruption_lines(options, progress):
                context.printer.note(line)
            # The journal has all tasks, so the error report need not list them one by one.
            context.tasks.clear()
            if isinstance(error, BudgetExceeded):
                raise BudgetExceeded(_budget_message(error)) from error
            raise
    code = _finish(context, options, file, progress, added=progress.total - jobs)
    lost = (report and report.failed) or (page and page.failed) or recorder.manifest_failed
    return exit_codes.SERVICE if code == exit_codes.OK and lost else code


def _check_manifest(path: Path) -> None:
    """Raise `InvalidInput` if there is something at this path to which no line can be added."""
    if not os.path.lexists(path):
        return
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise OSError(errno.EINVAL, "it is not a regular file")
        path.open("ab").close()
    except OSError as error:
        raise InvalidInput(
            f"--manifest adds to {str(path)!r:.200}, which cannot be written: {error.strerror}. "
            "Nothing was started.",
            field="manifest",
        ) from error


@define(eq=False)
class OutcomeRecorder:
    """Handles the outcomes: counts them, writes the report, prints paths and errors.

    Created for one run of the command, which alone uses it.
    """

    context: CommandContext
    options: BatchOptions
    file: JobFile
    progress: BatchProgress
    report: "BatchReport | None"
    page: "ResultsPage | None"
    journal: "Journal"
    manifest_failed: bool = field(default=False, init=False)
    """Whether the manifest lacks a line, and that was printed."""
    _invalid: set[LineError] = field(factory=set[LineError], init=False)

    async def add(self, outcome: "Outcome[Any]") -> None:
        """Handle one outcome."""
        from a2e_async._core.batch.batch import retry_number
        from a2e_async.cli.batch.report import report_line

        self.progress.refused += isinstance(outcome.error, BudgetExceeded)
        if isinstance(outcome.error, TaskFailed):
            self.progress.retries = max(self.progress.retries, retry_number(outcome))
        self._add(report_line(outcome, await self._coins(outcome)))
        if outcome.manifest_error is not None and not self.manifest_failed:
            self.manifest_failed = True
            self.context.printer.error(
                f"error: {self.options.out / FILE_NAME} cannot be written: "
                f"{outcome.manifest_error.strerror}. The results are saved all the same; the same "
                "command adds the missing lines later."
            )

    def add_invalid(self, error: LineError) -> None:
        """Handle, once, an error in a line that was written after the file was checked."""
        from a2e_async.cli.batch.report import result_item

        if error in self._invalid:
            return
        if all(error.number != other.number for other in self._invalid):
            item = result_item("", None, None, "error")
            message = f"{f'{error.field}: ' if error.field else ''}{error.message}"
            self._add({"line": error.number, **item, "error": message})
        else:
            self.context.printer.error(error.text(self.file.label))
        self._invalid.add(error)

    def _add(self, line: dict[str, Any]) -> None:
        progress = self.progress
        progress.counts[line["status"]] += 1
        progress.total = max(progress.total, progress.ended)
        printer = self.context.printer
        if self.report is not None and (lost := self.report.write(line)):
            printer.error(
                f"error: the report {self.options.report} cannot be written: {lost.strerror}. The "
                "batch continues without it, and the journal has every outcome: "
                f"{shlex.join(['a2e', 'journal', 'list', str(self.options.journal), '--all'])}"
            )
        if self.page is not None:
            self.page.add(line)
        for path in line["paths"]:
            printer.out(path)
        if line["error"]:
            failure_count = self.progress.ended - self.progress.succeeded
            if failure_count <= MAX_PRINTED_ERRORS:
                printer.error(f"{self.file.label}:{line['line']}: {line['error']}")
            if failure_count == MAX_PRINTED_ERRORS:
                hint = f"see {self.options.report}" if self.report else "--report lists all of them"
                printer.error(f"... further errors are not printed; {hint}")

    async def write_page(self) -> None:
        """Write the page of results, if there is one, with those of earlier runs."""
        page, progress = self.page, self.progress
        if page is None:
            return
        with suppress(A2EError):  # a journal that fails ends the batch, and is reported there
            async with aclosing(iter_entries(self.journal, open_only=False)) as entries:
                async for entry in entries:
                    page.add_saved(entry)
        summary = [f"{progress.ended} of {progress.total} · {progress.summary()}"]
        if progress.budget is not None:
            summary.append(budget_text(progress.budget))
        if not progress.complete:
            summary.append(f"Continue with: {self.options.command_line()}")
        try:
            path = page.write(f"Results of {self.file.label}", summary)
        except OSError as error:
            page.failed = error
            self.context.printer.error(
                f"error: {self.options.out / results_page.FILE_NAME} cannot be written: "
                f"{error.strerror}. The results are saved all the same."
            )
        else:
            self.context.printer.note(f"all results: {path}")

    async def _coins(self, outcome: "Outcome[Any]") -> int | None:
        """Return what the job's task cost; the journal has the price of an earlier run's task."""
        task = outcome.task
        if task is None or task.coins is not None or task.key is None:
            return task.coins if task else None
        entry = await self.journal.get(task.key)
        return entry.coins if entry else None


async def _consume(
    context: CommandContext, a2e: "A2E", options: BatchOptions, recorder: OutcomeRecorder
) -> None:
    outcomes = a2e.batch(
        CheckedFile(recorder.file, recorder.progress.total, recorder.add_invalid),
        limit=options.limit,
        retry_failed=options.retry_failed,
        budget=recorder.progress.budget,
        # The journal keeps these paths, and the next run may start in another directory.
        download_to=options.out.absolute(),
        name=options.name,
        manifest=options.manifest,
    )
    with (
        progress_bar(context.printer, recorder.progress) as update,
        report_outages(context),
        _explain_cancellation(context),
    ):
        async with aclosing(outcomes):
            async for outcome in outcomes:
                await recorder.add(outcome)
                update()


@contextmanager
def _explain_cancellation(context: CommandContext) -> "Generator[None]":
    """Print why a cancelled batch does not end at once."""
    try:
        yield
    except asyncio.CancelledError:
        context.printer.note(START_IN_PROGRESS)
        raise


def _budget(options: BatchOptions) -> "Budget | None":
    from a2e_async._core.submission.budget import Budget

    for flag, value in (("budget", options.budget), ("unknown-cost", options.unknown_cost)):
        if value is not None and value < 0:
            raise InvalidInput(f"--{flag} must be 0 coins or more.", field=flag.replace("-", "_"))
    if options.budget is not None:
        return Budget(options.budget, unknown_cost=options.unknown_cost)
    if options.unknown_cost is not None:
        raise InvalidInput("--unknown-cost goes with --budget.", field="unknown_cost")
    return None


def _budget_message(error: BudgetExceeded) -> str:
    """Return what exceeded the budget, and which flag allows it."""
    message = in_cli_words(str(error))
    return message if "--unknown-cost" in message else f"{message} Raise --budget to continue."


def _interruption_lines(options: BatchOptions, progress: BatchProgress) -> list[str]:
    budget = progress.budget
    return [
        *([budget_text(budget)] if budget else []),
        f"{progress.succeeded} of {format_count(progress.total, 'job')} done and saved. Nothing "
        "is lost: what was started continues at the service and is in the journal.",
        f"Continue with: {options.command_line()}",
    ]


def _unknown_start_hints(options: BatchOptions) -> list[str]:
    """Return what can be done about starts of unknown outcome, the safest first."""
    resend = evolve(options, on_unknown="resend-may-pay-twice").command_line()
    settle = shlex.join(["a2e", "journal", "settle", str(options.journal)])
    return [
        "Unknown starts may have been charged and were not submitted again. The same command "
        f"searches for them first: {options.command_line()}",
        "If the service's list does not show one, free its key, then run the batch again: "
        f"{settle} KEY --as unpaid",
        *(
            [f"Or submit those that are proved absent again, 3 minutes later: {resend}"]
            if options.on_unknown == "raise"
            else []
        ),
    ]


def _finish(
    context: CommandContext,
    options: BatchOptions,
    file: JobFile,
    progress: BatchProgress,
    *,
    added: int,
) -> int:
    printer, counts = context.printer, progress.counts
    if added:
        printer.note(f"{format_count(added, 'row')} added to {file.label} while it ran")
    printer.note(f"{progress.ended} of {progress.total} · {progress.summary()}")
    if progress.started > options.limit:
        printer.note(f"at most {options.limit} ran at the same time (--limit)")
    budget = progress.budget
    if budget is not None:
        printer.note(budget_text(budget))
    retries = max(options.retry_failed, progress.retries)
    tries = "once" if not retries else f"up to {retries + 1} times"
    hints: list[tuple[bool, str]] = [
        (
            bool(counts["failed"]),
            f"{format_count(counts['failed'], 'job')} failed, each started {tries}. Another start "
            f"is charged again; --retry-failed {retries + 1} allows it.",
        ),
        *((bool(counts["unknown"]), hint) for hint in _unknown_start_hints(options)),
        (bool(counts["error"]), f"Retry the remaining jobs with: {options.command_line()}"),
        (
            progress.ended != progress.total,
            f"{file.label} was changed since it was checked.",
        ),
    ]
    for applies, hint in hints:
        if applies:
            printer.error(hint)
    code = exit_codes.OK if progress.complete else exit_codes.PARTIAL
    printer.json(
        {
            "jobs": progress.total,
            **{
                status: counts[status] for status in ("ok", "earlier", "failed", "unknown", "error")
            },
            "coins": progress.coins,
            "unpriced": progress.unpriced,
            "budget": budget
            and {"coins": budget.coins, "spent": budget.spent, "reserved": budget.reserved},
            "report": str(options.report) if options.report else None,
            "exit_code": code,
        }
    )
    return code
