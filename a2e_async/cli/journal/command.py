"""The commands of ``journal``."""

import json
import re
import shlex
import time
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter, validators

from a2e_async._core.journal.protocol import LEASE_DURATION, Entry, State
from a2e_async._core.tasks.kind import split_ref
from a2e_async.cli import exit_codes
from a2e_async.cli.batch.progress_bar import BatchProgress
from a2e_async.cli.batch.results_page import open_results_page
from a2e_async.cli.common_flags import KindName, OutputFlags, ServiceFlags, Yes, switch
from a2e_async.cli.confirmation import confirm
from a2e_async.cli.context import CommandContext
from a2e_async.cli.formatting import format_count
from a2e_async.cli.input_flags import as_typed
from a2e_async.cli.journal.entries import (
    COLUMNS,
    PAGE,
    entry_json,
    entry_lines,
    entry_row,
    iter_entries,
    open_existing,
    settle_advice,
)
from a2e_async.cli.journal.settle import SettledAs
from a2e_async.cli.number_parsing import WHOLE
from a2e_async.cli.output_paths import Name, check_name, prepare_directory
from a2e_async.cli.printer import Printer, columns
from a2e_async.cli.runner import run_command
from a2e_async.errors import InvalidInput

if TYPE_CHECKING:
    from a2e_async._core.journal.protocol import Journal

JOURNAL = App(
    name="journal",
    help="List a journal's starts, finish open ones, delete old entries, export all.",
    sort_key=7,
)

JournalPath = Annotated[Path, Parameter(help="The journal's file, such as jobs.db.")]

AccountName = Annotated[
    str | None,
    Parameter(name="--account", help="Only this account; a2e journal accounts lists them."),
]

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@JOURNAL.command(name="list")
def list_entries(
    journal: JournalPath,
    /,
    *,
    all: Annotated[  # noqa: A002  # the flag's name
        bool,
        switch("List finished entries, too."),
    ] = False,
    kind: Annotated[KindName | None, Parameter(name="--kind", help="Only this kind.")] = None,
    account: AccountName = None,
    flags: OutputFlags = OutputFlags(),  # noqa: B008  # frozen
) -> int:
    """List a journal's open entries, oldest first. No network."""

    async def work(context: CommandContext) -> int:
        count, items, unknown = 0, list[Any](), list[Entry]()
        async with aclosing(open_existing(journal, account)) as opened:
            # The account matters only if the journal has several.
            several = len(await opened.accounts()) > 1
            header = (*COLUMNS, "ACCOUNT") if several else COLUMNS
            selected = iter_entries(opened, open_only=not all, kind=kind)
            rows: list[tuple[str, ...]] = []
            async with aclosing(selected) as entries:
                async for entry in entries:
                    count += 1
                    if (entry.state is State.INTENT or entry.missing) and not unknown:
                        unknown.append(entry)
                    if flags.json:
                        items.append(entry_json(entry))
                        continue
                    rows.append(entry_row(entry)[: len(header)])
                    if len(rows) == PAGE:
                        context.printer.out(columns([header, *rows]))
                        rows.clear()
        if rows or not count:
            context.printer.out(columns([header, *rows]))
        if unknown:
            context.printer.note(settle_advice(journal, unknown[0]))
        entries_text = format_count(count, "entry")
        context.printer.note(entries_text if all else f"{entries_text} open")
        context.printer.json({"journal": str(journal), "items": items})
        return exit_codes.OK

    return run_command(flags, work)


@JOURNAL.command
def show(
    journal: JournalPath,
    key: Annotated[str, Parameter(help="A key, or a ref such as dubbing:66ea4dd8….")],
    /,
    *,
    account: AccountName = None,
    flags: OutputFlags = OutputFlags(),  # noqa: B008  # frozen
) -> int:
    """Print a journal's entry. No network."""

    async def work(context: CommandContext) -> int:
        async with aclosing(open_existing(journal, account)) as opened:
            entry = await _find(opened, key, account)
        if entry is None:
            raise InvalidInput(f"{journal} has no key or ref {key!r:.80}.", field="key")
        context.printer.out(columns(entry_lines(entry)))
        if entry.open:
            words = ["a2e", "journal", "resume", str(journal)]
            context.printer.note(f"Wait for it and save it with: {shlex.join(words)}")
        if entry.state is State.INTENT or entry.missing:
            context.printer.note(settle_advice(journal, entry))
        context.printer.json(entry_json(entry))
        return exit_codes.OK

    return run_command(flags, work)


@JOURNAL.command
def resume(
    journal: JournalPath,
    /,
    *,
    out: Annotated[
        Path, Parameter(name=("--out", "-o"), help="Directory for the results.")
    ] = Path(),  # immutable
    name: Name = None,
    limit: Annotated[
        int,
        Parameter(
            help="Most tasks to wait for at the same time.",
            converter=WHOLE,
            validator=validators.Number(gte=1, lte=10_000),
        ),
    ] = 100,
    flags: ServiceFlags = ServiceFlags(),  # noqa: B008  # frozen
) -> int:
    """Wait for all open tasks, save their results and print the paths. Starts nothing."""

    async def work(context: CommandContext) -> int:
        from a2e_async.cli.journal.resume import ResumeProgress, resume_all

        template = check_name(name, many_tasks=True)
        opened = open_existing(journal)
        prepare_directory(out)
        words = ["a2e", "journal", "resume", str(journal), "--out", str(out)]
        words += [] if name is None else ["--name", name]
        context.interruption_lines = lambda: [
            f"Nothing is lost. Continue with: {shlex.join(words)}"
        ]
        found = ResumeProgress(progress=BatchProgress(total=0))
        async with context.client(opened) as a2e:
            await resume_all(
                context, a2e, opened, found, out=out.absolute(), name=template, limit=limit
            )
        context.tasks.clear()
        if found.foreign:
            context.printer.error(
                f"{format_count(found.foreign, 'entry')} skipped: held by another process, now or "
                f"within the last {LEASE_DURATION:.0f} s."
            )
        nothing = bool(context.other_accounts) and not found.progress.ended
        if nothing:
            context.printer.error("This journal has no entries of this account.")
        counts = found.progress.counts
        context.printer.note(
            f"{counts['ok']} saved"
            + "".join(f" · {counts[s]} {s}" for s in ("failed", "unknown", "error") if counts[s])
        )
        code = exit_codes.OK if found.complete and not nothing else exit_codes.PARTIAL
        context.printer.json({"items": found.items, "foreign": found.foreign, "exit_code": code})
        return code

    return run_command(flags, work)


@JOURNAL.command
def settle(
    journal: JournalPath,
    key: Annotated[str, Parameter(help="The key of the entry.")],
    /,
    *,
    verdict: Annotated[
        SettledAs,
        Parameter(
            name="--as",
            help="paid: it was charged. unpaid: the service has no such task, and the key is free "
            "again; for a missing task: its coins were refunded.",
        ),
    ],
    task: Annotated[
        str | None,
        Parameter(help="With paid: the task that it started, such as dubbing:66ea4dd8…."),
    ] = None,
    coins: Annotated[
        int | None,
        Parameter(
            help="With paid: what it cost.", converter=WHOLE, validator=validators.Number(gte=0)
        ),
    ] = None,
    account: AccountName = None,
    yes: Yes = False,
    flags: OutputFlags = OutputFlags(),  # noqa: B008  # frozen
) -> int:
    """Close an entry of unknown outcome, or whose task is missing, with what you found. No network.

    First run a2e journal resume, or the same batch: they search for the task. Then check the
    service's list, or a2e credits --history.
    """
    from a2e_async.cli.journal import settle as settling

    async def work(context: CommandContext) -> int:
        async with aclosing(open_existing(journal, account)) as opened:
            entry = await _find(opened, key, account)
            if entry is None:
                raise InvalidInput(f"{journal} has no key {key!r:.80}.", field="key")
            what = await settling.prepare(opened, entry, verdict, ref=task, coins=coins)
            if not yes and not confirm(context.printer, what.question, "settle", "settled"):
                return exit_codes.USAGE
            await settling.settle(opened, what)
            remaining = await opened.get(entry.key)
        done = "deleted" if remaining is None else f"settled as {settling.describe(what)}"
        context.printer.out(f"{entry.key} {done}")
        if remaining is not None and remaining.open:
            context.printer.note(
                f"Save it with: {shlex.join(['a2e', 'journal', 'resume', str(journal)])}"
            )
        context.printer.json({"key": entry.key, "entry": remaining and entry_json(remaining)})
        return exit_codes.OK

    return run_command(flags, work)


@JOURNAL.command
def prune(
    journal: JournalPath,
    /,
    *,
    older_than: Annotated[
        str, Parameter(help="Least time since an entry ended: 30d, 12h, 90m, 45s or 2w.")
    ],
    missing: Annotated[
        bool,
        switch("Delete entries missing for that long, too."),
    ] = False,
    account: AccountName = None,
    yes: Yes = False,
    flags: OutputFlags = OutputFlags(),  # noqa: B008  # frozen
) -> int:
    """Delete finished entries. Reusing their keys starts, and charges for, new tasks."""

    async def work(context: CommandContext) -> int:
        async with aclosing(open_existing(journal, account)) as opened:
            pruned = await opened.prune(before, missing=missing)
        context.printer.out(f"{pruned} deleted")
        context.printer.json({"journal": str(journal), "pruned": pruned})
        return exit_codes.OK

    before = time.time() - parse_age(older_than)
    printer = Printer(as_json=flags.json)
    question = (
        f"Delete the entries of {journal} that ended more than {older_than} ago? A batch with "
        "those jobs would start them again, and be charged again."
    )
    if not yes and not confirm(printer, question, "prune", "deleted"):
        return exit_codes.USAGE
    return run_command(flags, work)


@JOURNAL.command
def accounts(journal: JournalPath, /, *, flags: OutputFlags = OutputFlags()) -> int:  # noqa: B008  # frozen
    """List the accounts that have entries in a journal. No network.

    The name of an account is A2E_ACCOUNT and the host, or else a digest of the key. Entries of
    earlier versions have no account; the first account that continues them takes them over.
    """

    async def work(context: CommandContext) -> int:
        async with aclosing(open_existing(journal)) as opened:
            found = await opened.accounts()
        rows = [(one.account or "-", str(one.entries), str(one.open)) for one in found]
        context.printer.out(columns([("ACCOUNT", "ENTRIES", "OPEN"), *rows]))
        items = [{"account": o.account, "entries": o.entries, "open": o.open} for o in found]
        context.printer.json({"journal": str(journal), "items": items})
        return exit_codes.OK

    return run_command(flags, work)


@JOURNAL.command
def adopt(
    journal: JournalPath,
    /,
    *,
    former: Annotated[
        str, Parameter(name="--from", help="The former account; a2e journal accounts lists them.")
    ],
    yes: Yes = False,
    flags: ServiceFlags = ServiceFlags(),  # noqa: B008  # frozen
) -> int:
    """Move the entries of an account's former key, host or name to the current account. No network.

    Needed after the API key has changed: otherwise entries of the old key count as another
    account's.
    """

    async def work(context: CommandContext) -> int:
        account = context.account().label
        question = (
            f"Is {former} the same account as {account}? Its tasks are then requested with the "
            "current key."
        )
        if not yes and not confirm(context.printer, question, "adopt", "adopted"):
            return exit_codes.USAGE
        async with aclosing(open_existing(journal, account)) as opened:
            if former not in {one.account for one in await opened.accounts()}:
                raise InvalidInput(f"{journal} has no entries of {former!r:.120}.", field="from")
            adopted = await opened.adopt_account(former)
            remaining = sum(one.entries for one in await opened.accounts() if one.account == former)
        context.printer.out(f"{adopted} adopted")
        if remaining:
            context.printer.note(
                f"{remaining} left: {account} has entries with the same key or task."
            )
        context.printer.json({"account": account, "adopted": adopted, "left": remaining})
        return exit_codes.OK

    return run_command(flags, work)


@JOURNAL.command
def page(
    journal: JournalPath,
    /,
    *,
    out: Annotated[
        Path,
        Parameter(name=("--out", "-o"), help="The directory of the results."),
    ] = Path(),  # immutable
    account: AccountName = None,
    flags: OutputFlags = OutputFlags(),  # noqa: B008  # frozen
) -> int:
    """Write results.html, which shows the results that are saved in a directory. No network."""

    async def work(context: CommandContext) -> int:
        count = 0
        with open_results_page(out, journal) as results:
            async with (
                aclosing(open_existing(journal, account)) as opened,
                aclosing(iter_entries(opened, open_only=False)) as entries,
            ):
                async for entry in entries:
                    count += results.add_saved(entry)
            if not count:
                raise InvalidInput(
                    f"{journal} has no results that are saved in {str(out)!r:.200}; --out names "
                    "their directory.",
                    field="out",
                )
            path = results.write(f"Results of {journal.name}", [format_count(count, "result")])
        context.printer.out(str(path))
        context.printer.json({"path": str(path), "results": count})
        return exit_codes.OK

    return run_command(flags, work)


@JOURNAL.command
def export(journal: JournalPath, /, *, flags: OutputFlags = OutputFlags()) -> int:  # noqa: B008  # frozen
    """Print all entries, one line of JSON each, without prompts or signed URLs. No network."""

    async def work(context: CommandContext) -> int:
        async with (
            aclosing(open_existing(journal)) as opened,
            aclosing(iter_entries(opened, open_only=False)) as entries,
        ):
            async for entry in entries:
                # With or without --json: the lines are JSON.
                lines.out(json.dumps(entry_json(entry), ensure_ascii=False))
        return exit_codes.OK

    lines = Printer()
    return run_command(flags, work)


def parse_age(age: str) -> float:
    """Return an age such as 30d in seconds. Raises `InvalidInput`."""
    found = re.fullmatch(r"(\d{1,6})\s*([smhdw])", age.strip().lower())
    if found is None:
        raise InvalidInput(
            f"--older-than must be a number and s, m, h, d or w, such as 30d; got {age!r:.40}.",
            field="older_than",
        )
    return float(found[1]) * _UNITS[found[2]]


async def _find(journal: "Journal", key: str, account: str | None) -> "Entry | None":
    key = as_typed(key)
    if account is None and len(await journal.accounts()) > 1:
        raise InvalidInput(
            "This journal has entries of several accounts, which may use the same key. Choose one "
            "with --account; a2e journal accounts lists them.",
            field="account",
        )
    entry = await journal.get(key)
    if entry is not None:
        return entry
    try:
        kind, ids = split_ref(key)
    except InvalidInput:
        return None
    return await journal.find(kind, ids[0])
