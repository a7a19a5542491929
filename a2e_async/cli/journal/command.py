"""The commands of ``journal``."""

import json
import re
import shlex
import time
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter, validators

from a2e_async.cli import exits
from a2e_async.cli.ask import agreed
from a2e_async.cli.batch.bar import Tally
from a2e_async.cli.desk import Desk, conduct
from a2e_async.cli.flags import as_typed
from a2e_async.cli.journal.entries import (
    HEAD,
    PAGE,
    each,
    entry_json,
    entry_lines,
    entry_row,
    existing,
    settle_word,
)
from a2e_async.cli.journal.settle import Verdict
from a2e_async.cli.numbers import WHOLE
from a2e_async.cli.places import make_ready
from a2e_async.cli.printer import Printer, columns
from a2e_async.cli.settings import KindName, Online, Settings
from a2e_async.cli.show import counted
from a2e_async.errors import InvalidInput
from a2e_async.tasks.journal import LEASE, Entry, State
from a2e_async.tasks.kind import split_ref

if TYPE_CHECKING:
    from a2e_async.tasks.journal import Journal

JOURNAL = App(
    name="journal",
    help="Look at a journal of starts, finish what it has open, clear it, copy it.",
    sort_key=7,
)

Where = Annotated[Path, Parameter(help="The journal, such as jobs.db.")]

Whose = Annotated[
    str | None,
    Parameter(name="--account", help="Only this account; a2e journal accounts names them."),
]

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@JOURNAL.command(name="list")
def list_entries(
    journal: Where,
    /,
    *,
    all: Annotated[  # noqa: A002  # the flag's name
        bool,
        Parameter(
            negative="", show_default=False, help="Those, too, that have nothing left to do."
        ),
    ] = False,
    kind: Annotated[KindName | None, Parameter(name="--kind", help="Only this kind.")] = None,
    account: Whose = None,
    settings: Settings = Settings(),  # noqa: B008  # frozen
) -> int:
    """List what a journal has open, in the order it was begun. No network."""

    async def work(desk: Desk) -> int:
        count, items, unknown = 0, list[Any](), list[Entry]()
        async with aclosing(existing(journal, account)) as opened:
            # Which account is of interest only where there are several.
            head = (*HEAD, "ACCOUNT") if len(await opened.accounts()) > 1 else HEAD
            found = each(opened, open_only=not all, kind=kind)
            rows: list[tuple[str, ...]] = []
            async with aclosing(found) as entries:
                async for entry in entries:
                    count += 1
                    if (entry.state is State.INTENT or entry.missing) and not unknown:
                        unknown.append(entry)
                    if settings.json:
                        items.append(entry_json(entry))
                        continue
                    rows.append(entry_row(entry)[: len(head)])
                    if len(rows) == PAGE:
                        desk.printer.out(columns([head, *rows]))
                        rows.clear()
        if rows or not count:
            desk.printer.out(columns([head, *rows]))
        if unknown:
            desk.printer.note(settle_word(journal, unknown[0]))
        entries_word = "1 entry" if count == 1 else f"{count} entries"
        desk.printer.note(entries_word if all else f"{entries_word} open")
        desk.printer.json({"journal": str(journal), "items": items})
        return exits.OK

    return conduct(settings, work)


@JOURNAL.command
def show(
    journal: Where,
    key: Annotated[str, Parameter(help="A key, or a ref such as dubbing:66ea4dd8….")],
    /,
    *,
    account: Whose = None,
    settings: Settings = Settings(),  # noqa: B008  # frozen
) -> int:
    """Say what a journal knows of one start. No network."""

    async def work(desk: Desk) -> int:
        async with aclosing(existing(journal, account)) as opened:
            entry = await _find(opened, key, account)
        if entry is None:
            raise InvalidInput(f"{key!r:.80} is no key and no ref of {journal}.", field="key")
        desk.printer.out(columns(entry_lines(entry)))
        if entry.open:
            words = ["a2e", "journal", "resume", str(journal)]
            desk.printer.note(f"Finish it with: {shlex.join(words)}")
        if entry.state is State.INTENT or entry.missing:
            desk.printer.note(settle_word(journal, entry))
        desk.printer.json(entry_json(entry))
        return exits.OK

    return conduct(settings, work)


@JOURNAL.command
def resume(
    journal: Where,
    /,
    *,
    out: Annotated[
        Path, Parameter(name=("--out", "-o"), help="Where results are saved.")
    ] = Path(),  # never changed
    limit: Annotated[
        int,
        Parameter(
            help="How many tasks are waited for at once.",
            converter=WHOLE,
            validator=validators.Number(gte=1, lte=10_000),
        ),
    ] = 100,
    settings: Online = Online(),  # noqa: B008  # frozen
) -> int:
    """Wait for everything that is open, save it, and print where. Starts nothing."""

    async def work(desk: Desk) -> int:
        from a2e_async.cli.journal.resume import Resumed, resume_all

        opened = existing(journal)
        make_ready(out)
        words = ["a2e", "journal", "resume", str(journal), "--out", str(out)]
        desk.farewell = lambda: [f"Nothing is lost. Go on with: {shlex.join(words)}"]
        found = Resumed(tally=Tally(total=0))
        async with desk.client(opened) as a2e:
            await resume_all(desk, a2e, opened, found, out=out.absolute(), limit=limit)
        desk.running.clear()
        foreign = counted(found.foreign, "entry").replace("entrys", "entries")
        if found.foreign:
            desk.printer.error(
                f"{foreign} left to another process, at work on them now or within the last "
                f"{LEASE:.0f} s."
            )
        nothing = bool(desk.others) and not found.tally.over
        if nothing:
            desk.printer.error("Nothing in this journal is of this account.")
        counts = found.tally.counts
        desk.printer.note(
            f"{counts['ok']} saved"
            + "".join(f" · {counts[s]} {s}" for s in ("failed", "unknown", "error") if counts[s])
        )
        code = exits.OK if found.complete and not nothing else exits.PARTIAL
        desk.printer.json({"items": found.items, "foreign": found.foreign, "exit_code": code})
        return code

    return conduct(settings, work)


@JOURNAL.command
def settle(
    journal: Where,
    key: Annotated[str, Parameter(help="The key of the entry.")],
    /,
    *,
    verdict: Annotated[
        Verdict,
        Parameter(
            name="--as",
            help="paid: it was charged. unpaid: nothing of it is at the service, so that its key "
            "is free again; of a missing task: its coins were given back.",
        ),
    ],
    task: Annotated[
        str | None,
        Parameter(help="With paid: the task that it made, such as dubbing:66ea4dd8…, to be saved."),
    ] = None,
    coins: Annotated[
        int | None,
        Parameter(
            help="With paid: what it cost.", converter=WHOLE, validator=validators.Number(gte=0)
        ),
    ] = None,
    account: Whose = None,
    yes: Annotated[
        bool, Parameter(name=("--yes", "-y"), negative="", show_default=False, help="Do not ask.")
    ] = False,
    settings: Settings = Settings(),  # noqa: B008  # frozen
) -> int:
    """Close an entry whose outcome stays unknown, or whose task is missing, by what you saw.

    First let a2e journal resume, or the same batch, look for it; then look at the service's own
    list, or at a2e credits --history. No network.
    """
    from a2e_async.cli.journal import settle as by_hand

    async def work(desk: Desk) -> int:
        async with aclosing(existing(journal, account)) as opened:
            entry = await _find(opened, key, account)
            if entry is None:
                raise InvalidInput(f"{key!r:.80} is no key of {journal}.", field="key")
            what = await by_hand.prepare(opened, entry, verdict, ref=task, coins=coins)
            if not yes and not agreed(desk.printer, what.question, "settle", "settled"):
                return exits.USAGE
            await by_hand.settle(opened, what)
            left = await opened.get(entry.key)
        said = "forgotten" if left is None else f"settled as {by_hand.word(what)}"
        desk.printer.out(f"{entry.key} {said}")
        if left is not None and left.open:
            desk.printer.note(
                f"Save it with: {shlex.join(['a2e', 'journal', 'resume', str(journal)])}"
            )
        desk.printer.json({"key": entry.key, "entry": left and entry_json(left)})
        return exits.OK

    return conduct(settings, work)


@JOURNAL.command
def prune(
    journal: Where,
    /,
    *,
    older_than: Annotated[
        str, Parameter(help="How long ago they ended at least: 30d, 12h, 90m, 45s or 2w.")
    ],
    missing: Annotated[
        bool,
        Parameter(
            negative="", show_default=False, help="Those, too, that are missing for so long."
        ),
    ] = False,
    account: Whose = None,
    yes: Annotated[
        bool, Parameter(name=("--yes", "-y"), negative="", show_default=False, help="Do not ask.")
    ] = False,
    settings: Settings = Settings(),  # noqa: B008  # frozen
) -> int:
    """Forget entries with nothing left to do. Their keys are free again: used anew, they pay."""

    async def work(desk: Desk) -> int:
        async with aclosing(existing(journal, account)) as opened:
            pruned = await opened.prune(before, missing=missing)
        desk.printer.out(f"{pruned} forgotten")
        desk.printer.json({"journal": str(journal), "pruned": pruned})
        return exits.OK

    before = time.time() - seconds_of(older_than)
    printer = Printer(as_json=settings.json)
    question = (
        f"Forget what ended more than {older_than} ago in {journal}? A batch with those jobs would "
        "start, and pay, them again."
    )
    if not yes and not agreed(printer, question, "prune", "forgotten"):
        return exits.USAGE
    return conduct(settings, work)


@JOURNAL.command
def accounts(journal: Where, /, *, settings: Settings = Settings()) -> int:  # noqa: B008  # frozen
    """List the accounts that have entries in a journal. No network.

    An account is named by A2E_ACCOUNT and its host, otherwise by a digest of its key. Entries of
    earlier versions have none: they belong to the account that first goes on with them.
    """

    async def work(desk: Desk) -> int:
        async with aclosing(existing(journal)) as opened:
            found = await opened.accounts()
        rows = [(one.account or "-", str(one.entries), str(one.open)) for one in found]
        desk.printer.out(columns([("ACCOUNT", "ENTRIES", "OPEN"), *rows]))
        items = [{"account": o.account, "entries": o.entries, "open": o.open} for o in found]
        desk.printer.json({"journal": str(journal), "items": items})
        return exits.OK

    return conduct(settings, work)


@JOURNAL.command
def adopt(
    journal: Where,
    /,
    *,
    former: Annotated[
        str, Parameter(name="--from", help="The account; a2e journal accounts names them.")
    ],
    yes: Annotated[
        bool, Parameter(name=("--yes", "-y"), negative="", show_default=False, help="Do not ask.")
    ] = False,
    settings: Online = Online(),  # noqa: B008  # frozen
) -> int:
    """Give the entries of an account's former key, host or name to the account in use. No network.

    For a key that was changed: without it, entries of the former key are another account's.
    """

    async def work(desk: Desk) -> int:
        account = desk.account().label
        question = (
            f"Is {former} the same account as {account}? Its tasks are then looked for there."
        )
        if not yes and not agreed(desk.printer, question, "adopt", "adopted"):
            return exits.USAGE
        async with aclosing(existing(journal, account)) as opened:
            if former not in {one.account for one in await opened.accounts()}:
                raise InvalidInput(f"{journal} has no entries of {former!r:.120}.", field="from")
            adopted = await opened.adopt(former)
            left = sum(one.entries for one in await opened.accounts() if one.account == former)
        desk.printer.out(f"{adopted} adopted")
        if left:
            desk.printer.note(f"{left} left: {account} has their keys or tasks, too.")
        desk.printer.json({"account": account, "adopted": adopted, "left": left})
        return exits.OK

    return conduct(settings, work)


@JOURNAL.command
def export(journal: Where, /, *, settings: Settings = Settings()) -> int:  # noqa: B008  # frozen
    """Print all entries, a line of JSON for each. No prompts, no signed addresses. No network."""

    async def work(desk: Desk) -> int:
        async with (
            aclosing(existing(journal)) as opened,
            aclosing(each(opened, open_only=False)) as entries,
        ):
            async for entry in entries:
                # With --json or without: the lines are JSON anyhow.
                lines.out(json.dumps(entry_json(entry), ensure_ascii=False))
        return exits.OK

    lines = Printer()
    return conduct(settings, work)


def seconds_of(age: str) -> float:
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
            "This journal holds entries of several accounts, which may use the same key. Say which "
            "with --account; a2e journal accounts names them.",
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
