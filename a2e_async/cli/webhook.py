"""``webhook``: receives webhook events and prints them, to test their delivery."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter, validators

from a2e_async._core.config import clean_webhook_secret
from a2e_async._core.redact import redact
from a2e_async.cli import exit_codes
from a2e_async.cli.common_flags import OutputFlags
from a2e_async.cli.context import CommandContext
from a2e_async.cli.journal.entries import open_existing
from a2e_async.cli.number_parsing import WHOLE
from a2e_async.cli.runner import run_command

if TYPE_CHECKING:
    from a2e_async._core.journal.protocol import Entry, Journal
    from a2e_async._core.webhooks.receiver import WebhookOutcome

WEBHOOK = App(name="webhook", help="Receive webhook events, to test their delivery.", sort_key=8)

_REJECTION_REASONS = {
    401: "no token, or a token that was not made with this secret",
    405: "not a POST request",
    429: "too many requests at once",
}


@WEBHOOK.command
def listen(
    *,
    port: Annotated[
        int,
        Parameter(
            help="Port to listen on; 0 chooses a free one.",
            validator=validators.Number(gte=0, lte=65535),
        ),
    ] = 8765,
    host: Annotated[str, Parameter(help="Address to listen on.")] = "127.0.0.1",
    journal: Annotated[
        Path | None,
        Parameter(help="Forward each event to the programs that share this journal."),
    ] = None,
    count: Annotated[
        int | None,
        Parameter(
            help="End after this many requests.",
            converter=WHOLE,
            validator=validators.Number(gte=1),
        ),
    ] = None,
    flags: OutputFlags = OutputFlags(),  # noqa: B008  # frozen
) -> int:
    """Print each webhook request, valid or not, until Ctrl-C. Needs no API key.

    The secret is read from A2E_WEBHOOK_SECRET. Tokens are never printed.
    """

    async def work(context: CommandContext) -> int:
        from aiohttp import web

        from a2e_async._core.webhooks.receiver import WebhookReceiver

        secret = clean_webhook_secret()
        opened = None if journal is None else open_existing(journal)
        requests: asyncio.Queue[WebhookOutcome] = asyncio.Queue()
        receiver = WebhookReceiver(secret, lambda hook: True, on_request=requests.put_nowait)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", receiver.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            bound = runner.addresses[0][1]
            shown = f"[{host}]" if ":" in host else host
            context.printer.note(f"Listening on http://{shown}:{bound}/ (Ctrl-C to stop)")
            printed = 0
            while count is None or printed < count:
                printed += 1
                await _print_request(context, await requests.get(), opened)
        except asyncio.CancelledError:
            context.printer.note(f"{receiver.received} received, {receiver.refused} rejected")
        finally:
            await runner.cleanup()
            if opened is not None:
                await opened.aclose()
        return exit_codes.OK

    return run_command(flags, work)


async def _print_request(
    context: CommandContext, receipt: "WebhookOutcome", journal: "Journal | None"
) -> None:
    """Print one request, and forward its event if there is a journal."""
    entry: Entry | None = None
    if receipt.status == 204 and receipt.webhook_id is not None and journal is not None:
        entry = await journal.record_event(receipt.webhook_id)
    event = _event_name(receipt.body)
    at = datetime.now(UTC).astimezone()
    document = {
        "at": at.isoformat(timespec="milliseconds"),
        "status": receipt.status,
        "valid": receipt.webhook_id is not None,
        "start": receipt.webhook_id,
        "event": event,
        "bytes": len(receipt.body),
        "ref": entry.ref if entry else None,
        "key": entry.key if entry and not entry.own_key else None,
    }
    context.printer.json(document)
    if receipt.status != 204:
        text = f"rejected: {_REJECTION_REASONS.get(receipt.status, 'closed')}"
    else:
        text = f"{event or 'an event'} of start {receipt.webhook_id}, {len(receipt.body)} bytes"
        if journal is not None:
            text += f", {entry.ref or entry.key}" if entry else ", not in the journal"
    context.printer.out(f"{at:%H:%M:%S} {receipt.status} {text}")


def _event_name(body: bytes) -> str | None:
    """Return the body's event name, if it has one: the service documents no format."""
    try:
        document: Any = json.loads(body)
        event = document.get("event")
    except (ValueError, AttributeError, RecursionError):
        return None
    if not isinstance(event, str):
        return None
    return "".join(c for c in redact(event) if c.isprintable())[:40]
