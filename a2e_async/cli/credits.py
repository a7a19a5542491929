"""``credits``: the account's coins, and what they were spent on."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from a2e_async._core.converter import unstructure
from a2e_async.cli import exit_codes
from a2e_async.cli.common_flags import ServiceFlags, switch
from a2e_async.cli.context import CommandContext
from a2e_async.cli.formatting import format_coins, format_time
from a2e_async.cli.number_parsing import WHOLE
from a2e_async.cli.printer import columns
from a2e_async.cli.runner import run_command

if TYPE_CHECKING:
    from a2e_async.account.credits import Transaction


def coins(
    *,
    history: Annotated[
        bool,
        switch("List the account's transactions, too."),
    ] = False,
    page: Annotated[int, Parameter(help="Page of the history, from 1.", converter=WHOLE)] = 1,
    page_size: Annotated[int, Parameter(help="Transactions per page.", converter=WHOLE)] = 20,
    flags: ServiceFlags = ServiceFlags(),  # noqa: B008  # frozen
) -> int:
    """Print how many coins are left. Free."""

    async def work(context: CommandContext) -> int:
        async with context.client() as a2e:
            balance = await a2e.credits.balance()
            found = await a2e.credits.history(page=page, page_size=page_size) if history else None
        document = {"coins": balance.coins, "diamonds": balance.diamonds}
        diamonds = "" if balance.diamonds is None else f" · {balance.diamonds} diamonds"
        context.printer.out(format_coins(balance.coins) + diamonds)
        if found is None:
            context.printer.json(document)
            return exit_codes.OK
        context.printer.out(columns([_row(entry) for entry in found]))
        entries = [
            {"coins": e.coins, "created_at": unstructure(e.created_at), "raw": unstructure(e.raw)}
            for e in found
        ]
        context.printer.json({**document, "history": entries, "total": found.total, "page": page})
        return exit_codes.OK

    return run_command(flags, work)


def _row(entry: "Transaction") -> tuple[str, str, str]:
    names = ("description", "remark", "note", "type", "title")
    text = next((str(entry.raw[name]) for name in names if entry.raw.get(name)), "")
    return (
        format_time(entry.created_at) if entry.created_at else "",
        "" if entry.coins is None else f"{entry.coins:+d}",
        text,
    )
