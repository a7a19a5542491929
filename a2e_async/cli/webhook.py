"""The command ``webhook``: receives events, to see that they come."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter, validators

from a2e_async.cli import exits
from a2e_async.cli.desk import Desk, conduct
from a2e_async.cli.journal.entries import existing
from a2e_async.cli.numbers import WHOLE
from a2e_async.cli.settings import Settings
from a2e_async.config import clean_webhook_secret
from a2e_async.redact import redact

if TYPE_CHECKING:
    from a2e_async.tasks.journal import Entry, Journal
    from a2e_async.webhooks import Receipt

WEBHOOK = App(name="webhook", help="Receive webhook events, to see that they come.", sort_key=8)

_REFUSED = {
    401: "no token, or none that was made with this secret",
    405: "not a POST",
    429: "too many at once",
}


@WEBHOOK.command
def listen(
    *,
    port: Annotated[
        int,
        Parameter(
            help="Port to listen on; 0 for a free one.",
            validator=validators.Number(gte=0, lte=65535),
        ),
    ] = 8765,
    host: Annotated[str, Parameter(help="Address to listen on.")] = "127.0.0.1",
    journal: Annotated[
        Path | None,
        Parameter(help="Pass each event on to the programs that share this journal."),
    ] = None,
    count: Annotated[
        int | None,
        Parameter(
            help="End after so many requests.",
            converter=WHOLE,
            validator=validators.Number(gte=1),
        ),
    ] = None,
    settings: Settings = Settings(),  # noqa: B008  # frozen
) -> int:
    """Print each webhook event that comes, valid or not; Ctrl-C ends it. No API key is needed.

    The secret is read from A2E_WEBHOOK_SECRET. No token is printed.
    """

    async def work(desk: Desk) -> int:
        from aiohttp import web

        from a2e_async.webhooks import Receiver

        secret = clean_webhook_secret()
        opened = None if journal is None else existing(journal)
        seen: asyncio.Queue[Receipt] = asyncio.Queue()
        receiver = Receiver(secret, lambda hook: True, seen=seen.put_nowait)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", receiver.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            bound = runner.addresses[0][1]
            shown = f"[{host}]" if ":" in host else host
            desk.printer.note(f"Listening on http://{shown}:{bound}/ (Ctrl-C ends it)")
            told = 0
            while count is None or told < count:
                told += 1
                await _tell(desk, await seen.get(), opened)
        except asyncio.CancelledError:
            desk.printer.note(f"{receiver.received} received, {receiver.refused} refused")
        finally:
            await runner.cleanup()
            if opened is not None:
                await opened.aclose()
        return exits.OK

    return conduct(settings, work)


async def _tell(desk: Desk, receipt: "Receipt", journal: "Journal | None") -> None:
    """Print one request, and pass its event on where there is a journal."""
    entry: Entry | None = None
    if receipt.status == 204 and receipt.hook is not None and journal is not None:
        entry = await journal.heard(receipt.hook)
    event = _event(receipt.body)
    at = datetime.now(UTC).astimezone()
    document = {
        "at": at.isoformat(timespec="milliseconds"),
        "status": receipt.status,
        "valid": receipt.hook is not None,
        "start": receipt.hook,
        "event": event,
        "bytes": len(receipt.body),
        "ref": entry.ref if entry else None,
        "key": entry.key if entry and not entry.own_key else None,
    }
    desk.printer.json(document)
    if receipt.status != 204:
        said = f"refused: {_REFUSED.get(receipt.status, 'closed')}"
    else:
        what = (event or "an event", f"of start {receipt.hook},", f"{len(receipt.body)} bytes")
        said = " ".join(what)
        if journal is not None:
            said += f", {entry.ref or entry.key}" if entry else ", not in the journal"
    desk.printer.out(f"{at:%H:%M:%S} {receipt.status} {said}")


def _event(body: bytes) -> str | None:
    """Return what a body calls its event, if it does: nothing is documented of it."""
    try:
        document: Any = json.loads(body)
        event = document.get("event")
    except (ValueError, AttributeError, RecursionError):
        return None
    if not isinstance(event, str):
        return None
    return "".join(c for c in redact(event) if c.isprintable())[:40]
