"""``verify``: compares the service with the contract, and writes a report that can be published."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from attrs import evolve
from cyclopts import Group, Parameter

from a2e_async._core.clock import utc_now
from a2e_async.cli import exit_codes
from a2e_async.cli.common_flags import ServiceFlags, Yes, switch
from a2e_async.cli.confirmation import confirm
from a2e_async.cli.context import CommandContext
from a2e_async.cli.formatting import format_coins, format_count
from a2e_async.cli.known_kinds import known_kinds
from a2e_async.cli.number_parsing import WHOLE
from a2e_async.cli.printer import Printer
from a2e_async.cli.progress import progress_line
from a2e_async.cli.runner import run_command
from a2e_async.errors import InvalidInput

if TYPE_CHECKING:
    from a2e_async._core.tasks.kind import TaskKind
    from a2e_async.cli.verify.report import PaidRun, Report
    from a2e_async.cli.verify.verifier import Verifier

HELP: Final = (
    "Compare the service with what this package expects of it, and write a report. Free, unless "
    "--spend is given.\n\n"
    "About 110 requests, at most 140, in less than a minute. It only reads: the balance and its "
    "history, voices, avatars, the lists of all kinds, prices, and how failures look. The report "
    "has the shapes of the responses, without ids, names, texts, prompts, URLs or the API key, so "
    "that it can be pasted into a public issue."
)

_PAID = Group("Paid runs", sort_key=50)
_DEFAULT_KIND: Final = "text_to_image"
_REQUEST_TIMEOUT: Final = 20.0
"""Seconds for each request: the whole verification should take less than a minute."""


def verify(
    *,
    report: Annotated[
        Path,
        Parameter(name=("--report", "-o"), help="File to write; an existing one is replaced."),
    ] = Path("verify-report.json"),  # immutable
    resume: Annotated[
        bool, switch("Continue the report: request only what it does not have yet.")
    ] = False,
    spend: Annotated[
        int | None,
        Parameter(
            group=_PAID,
            converter=WHOLE,
            help="Most coins to spend on one cheap task of each of --kinds. Costs coins.",
        ),
    ] = None,
    kinds: Annotated[
        str,
        Parameter(group=_PAID, help="Kinds to run with --spend, separated by commas."),
    ] = _DEFAULT_KIND,
    yes: Yes = False,
    docs: Annotated[
        Path | None,
        Parameter(help="Only print the table of kinds of this report, in Markdown. No network."),
    ] = None,
    flags: ServiceFlags = ServiceFlags(),  # noqa: B008  # frozen
) -> int:
    """Compare the service with what this package expects of it, and write a report."""

    async def work(context: CommandContext) -> int:
        from a2e_async.cli.verify.report import Report, kinds_table

        known = [known_kinds().named(name) for name in known_kinds().names()]
        if docs is not None:
            table = kinds_table(_read(docs), [kind.name for kind in known])
            context.printer.out(table)
            context.printer.json({"table": table})
            return exit_codes.OK
        paid = _paid_kinds(kinds, spend)
        before = _read(report) if resume and report.exists() else Report()
        _check_writable(report)
        return await _verify(context, before, report, known, paid, spend, yes)

    return run_command(flags, work)


async def _verify(
    context: CommandContext,
    before: "Report",
    path: Path,
    kinds: "Sequence[TaskKind[..., Any]]",
    paid: "list[TaskKind[..., Any]]",
    spend: int | None,
    yes: bool,
) -> int:
    from a2e_async._core.http.retry import RetryPolicy
    from a2e_async._core.journal.sqlite import SqliteJournal
    from a2e_async._core.submission.budget import Budget
    from a2e_async.cli.verify.shapes import host_class
    from a2e_async.cli.verify.verifier import Verifier

    base_url = context.account().base_url
    service = host_class(base_url)
    if before.service not in ("", service):
        raise InvalidInput(
            f"{path} is a report about another service ({before.service}); give another --report.",
            field="report",
        )
    journal = None if spend is None else SqliteJournal(path.with_suffix(".db"))
    budget = None if spend is None else Budget(spend)
    retry = RetryPolicy(max_attempts=2)  # what does not work now is a finding
    with progress_line(context.printer, "verifying") as show:
        async with context.client(journal, budget=budget, retry=retry) as a2e:
            verifier = Verifier(
                a2e=a2e.with_options(request_timeout=_REQUEST_TIMEOUT),
                kinds=kinds,
                base_url=base_url,
                report=evolve(before, service=service, date=f"{utc_now():%Y-%m-%d}"),
                show=show,
            )
            a2e._observe_responses(verifier.on_response)  # pyright: ignore[reportPrivateUsage]  # of this package
            try:
                await verifier.run()
                if paid:
                    stopped = await _run_paid(context, verifier, paid, spend or 0, yes)
                    if stopped is not None:
                        return stopped
            finally:
                _write(path, verifier.report)
    return _print_result(context, verifier.report, path)


async def _run_paid(
    context: CommandContext,
    verifier: "Verifier",
    kinds: "list[TaskKind[..., Any]]",
    spend: int,
    yes: bool,
) -> int | None:
    """Run the paid tasks; return the exit code if the user does not confirm."""
    from a2e_async.cli.verify.paid_runs import pay_for, quote_runs

    done = {run.kind for run in verifier.report.paid_runs if run.outcome in ("succeeded", "failed")}
    quoted = await quote_runs(verifier, [kind for kind in kinds if kind.name not in done])
    by_name = {kind.name: kind for kind in kinds}
    affordable: list[PaidRun] = []
    left = spend
    for run in quoted:
        if run.quoted is not None and run.quoted <= left:
            left -= run.quoted
            affordable.append(run)
            context.printer.note(f"{run.kind}: {format_coins(run.quoted)}")
        else:
            price = "no price" if run.quoted is None else format_coins(run.quoted)
            context.printer.note(f"{run.kind}: {price}, not run within --spend {spend}")
            _keep(verifier, evolve(run, outcome="skipped"))
    if not affordable:
        return None
    number = format_count(len(affordable), "task")
    question = f"Start {number} for {format_coins(spend - left)}, at most {format_coins(spend)}?"
    if not yes and not confirm(context.printer, question, "spend", "spent"):
        return exit_codes.USAGE
    for run in affordable:
        _keep(verifier, await pay_for(verifier, context, by_name[run.kind], run))
    return None


def _keep(verifier: "Verifier", run: "PaidRun") -> None:
    """Add a paid run to the report, in place of an earlier one of its kind."""
    others = (one for one in verifier.report.paid_runs if one.kind != run.kind)
    verifier.report = evolve(verifier.report, paid_runs=(*others, run))


def _paid_kinds(names: str, spend: int | None) -> "list[TaskKind[..., Any]]":
    if spend is None:
        if names != _DEFAULT_KIND:
            raise InvalidInput("--kinds needs --spend: their tasks cost coins.", field="spend")
        return []
    if spend < 1:
        raise InvalidInput("--spend must be at least 1 coin.", field="spend")
    wanted = dict.fromkeys(name.strip() for name in names.split(",") if name.strip())
    return [known_kinds().named(name) for name in wanted]


def _read(path: Path) -> "Report":
    from a2e_async.cli.verify.report import read_report

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InvalidInput(f"{path} cannot be read: {reason}.", field="report") from None
    return read_report(text, str(path))


def _check_writable(path: Path) -> None:
    if path.is_dir() or not path.parent.is_dir():
        raise InvalidInput(
            f"{path} cannot be written: give a file in an existing directory.", field="report"
        )


def _write(path: Path, report: "Report") -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(report.to_text(), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise InvalidInput(f"{path} cannot be written: {error.strerror}.", field="report") from None


def _print_result(context: CommandContext, report: "Report", path: Path) -> int:
    printer, deviations = context.printer, report.deviations
    _print_table(printer, report)
    skew = report.clock_skew
    if skew is not None and abs(skew) > 60:
        direction = "ahead of" if skew > 0 else "behind"
        printer.note(f"The clock of this machine is {abs(skew)} s {direction} the service's.")
    found = format_count(len(deviations), "deviation") if deviations else "as documented"
    printer.note(
        f"{format_count(report.requests, 'request')}, {found}. {path} holds no values of the "
        "account: please attach it to an issue."
    )
    printer.json({**report.to_json(), "path": str(path), "deviations": len(deviations)})
    return exit_codes.DEVIATIONS if deviations else exit_codes.OK


def _print_table(printer: Printer, report: "Report") -> None:
    """Print what was checked, by part, and each deviation on a line of its own."""
    if printer.as_json:
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for head in ("PART", "CHECKED", "DEVIATIONS"):
        table.add_column(head, no_wrap=head == "PART")
    for part in dict.fromkeys(one.part for one in report.observations):
        mine = [one for one in report.observations if one.part == part]
        checked = [
            one.name.removesuffix(f" {part}") + (f" ({', '.join(one.notes)})" if one.notes else "")
            for one in mine
        ]
        count = sum(len(one.deviations) for one in mine)
        table.add_row(part, ", ".join(checked), str(count or ""))
    for run in report.paid_runs:
        table.add_row(run.kind, f"paid run: {_describe(run)}", "")
    printer.console(stderr=False).print(table)
    for one, deviation in report.deviations:
        printer.out(f"{one.name}: {deviation}")


def _describe(run: "PaidRun") -> str:
    """Return what was seen of a paid run, as one line."""
    facts = [f"{word} after {seconds:g} s" for seconds, word in run.statuses]
    if run.coins is not None:
        facts.append(format_coins(run.coins))
    if run.listed_after is not None:
        facts.append(f"listed after {run.listed_after:g} s")
    if run.name_echo:
        facts.append(f"name {run.name_echo}")
    if run.expires_hours is not None:
        facts.append(f"URL expires in {run.expires_hours:g} h")
    if run.result:
        facts.append(f"HEAD {run.head}, range {run.ranges}, {run.media_type} {run.encoding}")
    return ", ".join([run.outcome, *facts])
