"""The command ``mcp``: what agents can call, over stdin and stdout."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final

from attrs import frozen
from cyclopts import Parameter

from a2e_async.cli import exits
from a2e_async.cli.desk import Desk, conduct
from a2e_async.cli.numbers import WHOLE
from a2e_async.cli.places import make_ready
from a2e_async.cli.settings import Online
from a2e_async.errors import ConfigurationError, InvalidInput

HELP: Final = (
    "Serve A2E to an agent, by the Model Context Protocol over stdin and stdout. Its starts cost "
    "coins, within the budget.\n\n"
    "A start with the same kind and inputs is the same task and is paid once, in all runs that "
    "share the journal. Results are saved in --out and nowhere else; local inputs are read from "
    "--files and nowhere else."
)


@frozen(kw_only=True)
class _Order:
    budget: int | None
    unknown_cost: int | None
    journal: Path | None
    out: Path
    files: Path | None


def mcp(
    *,
    budget: Annotated[
        int | None,
        Parameter(
            converter=WHOLE,
            help="Coins that starts may cost at most, in all runs that share the journal. Without "
            "it nothing is started.",
        ),
    ] = None,
    unknown_cost: Annotated[
        int | None,
        Parameter(
            converter=WHOLE,
            help="Coins that a start counts for in the budget where the service says no price; "
            "without it such starts are refused.",
        ),
    ] = None,
    journal: Annotated[
        Path | None,
        Parameter(
            help="The file in which each start is written down before it is paid; otherwise "
            "a2e-jobs.db in --out."
        ),
    ] = None,
    out: Annotated[Path, Parameter(name=("--out", "-o"), help="Where results are saved.")] = Path(
        "a2e-results"
    ),  # never changed
    files: Annotated[
        Path | None, Parameter(help="The directory whose files may be inputs; without it, none.")
    ] = None,
    settings: Online = Online(),  # noqa: B008  # frozen
) -> int:
    """Serve A2E to an agent, over stdin and stdout."""
    order = _Order(budget=budget, unknown_cost=unknown_cost, journal=journal, out=out, files=files)
    return conduct(settings, lambda desk: _serve(desk, order))


async def _serve(desk: Desk, order: _Order) -> int:
    try:
        from a2e_async.contrib.mcp import make_server
    except ImportError as error:
        raise ConfigurationError(
            "a2e mcp needs the MCP SDK: pip install 'a2e-async[mcp]'."
        ) from error
    from a2e_async.tasks.budget import Budget
    from a2e_async.tasks.journal_sqlite import SqliteJournal

    if order.files is not None and not order.files.is_dir():
        raise InvalidInput(f"--files {order.files} is no directory.", field="files")
    if order.unknown_cost is not None and order.budget is None:
        raise InvalidInput("--unknown-cost needs --budget.", field="unknown_cost")
    make_ready(order.out)
    budget = None if order.budget is None else Budget(order.budget, unknown_cost=order.unknown_cost)
    book = SqliteJournal(str(order.journal or order.out / "a2e-jobs.db"))
    async with desk.client(book, budget=budget) as a2e:
        server = make_server(a2e, out=order.out.resolve(), files=order.files, budget=budget)
        await _until_told(server.run_stdio_async)
    return exits.OK


async def _until_told(serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Serve until stdin ends, or until this is cancelled, which makes it end.

    The SDK reads stdin in a thread, which no cancellation reaches; and a Ctrl-C at a terminal,
    or the SIGTERM of a host that keeps stdin open, must not wait for another line.
    """
    if os.name != "posix":
        await serve()
        return
    given = os.dup(0)
    ours, theirs = socket.socketpair()
    os.dup2(theirs.fileno(), 0)
    theirs.close()
    threading.Thread(target=_pass_on, args=(given, ours), daemon=True).start()
    serving = asyncio.create_task(serve())
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        _end(ours)
        await asyncio.wait([serving])
        raise


def _pass_on(given: int, ours: socket.socket) -> None:
    with suppress(OSError):  # nobody reads any more
        while part := os.read(given, 65536):
            ours.sendall(part)
    _end(ours)


def _end(ours: socket.socket) -> None:
    with suppress(OSError):
        ours.shutdown(socket.SHUT_WR)
