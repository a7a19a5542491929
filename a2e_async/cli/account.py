"""``credits``: what is left, and where it went."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from a2e_async.cli import exits
from a2e_async.cli.desk import Desk, conduct
from a2e_async.cli.numbers import WHOLE
from a2e_async.cli.printer import columns
from a2e_async.cli.settings import Online
from a2e_async.cli.show import coins_word, moment, plain

if TYPE_CHECKING:
    from a2e_async.resources.credits import Transaction


def coins(
    *,
    history: Annotated[
        bool, Parameter(negative="", show_default=False, help="What they went for, as well.")
    ] = False,
    page: Annotated[int, Parameter(help="Which page of the history, from 1.", converter=WHOLE)] = 1,
    page_size: Annotated[int, Parameter(help="Entries on a page.", converter=WHOLE)] = 20,
    settings: Online = Online(),  # noqa: B008  # frozen
) -> int:
    """Say how many coins are left."""

    async def work(desk: Desk) -> int:
        async with desk.client() as a2e:
            balance = await a2e.credits.balance()
            found = await a2e.credits.history(page=page, page_size=page_size) if history else None
        document = {"coins": balance.coins, "diamonds": balance.diamonds}
        also = "" if balance.diamonds is None else f" · {balance.diamonds} diamonds"
        desk.printer.out(coins_word(balance.coins) + also)
        if found is None:
            desk.printer.json(document)
            return exits.OK
        desk.printer.out(columns([_row(entry) for entry in found]))
        entries = [
            {"coins": e.coins, "created_at": plain(e.created_at), "raw": plain(e.raw)}
            for e in found
        ]
        desk.printer.json({**document, "history": entries, "total": found.total, "page": page})
        return exits.OK

    return conduct(settings, work)


def _row(entry: "Transaction") -> tuple[str, str, str]:
    words = ("description", "remark", "note", "type", "title")
    said = next((str(entry.raw[word]) for word in words if entry.raw.get(word)), "")
    return (
        moment(entry.created_at) if entry.created_at else "",
        "" if entry.coins is None else f"{entry.coins:+d}",
        said,
    )
