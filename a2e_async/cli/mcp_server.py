"""``mcp``: a Model Context Protocol server on stdin and stdout, for agents."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from a2e_async.cli import exit_codes
from a2e_async.cli.common_flags import ServiceFlags
from a2e_async.cli.context import CommandContext
from a2e_async.cli.number_parsing import WHOLE
from a2e_async.cli.output_paths import prepare_directory
from a2e_async.cli.runner import run_command
from a2e_async.errors import ConfigurationError, InvalidInput

HELP: Final = (
    "Serve A2E to an agent with the Model Context Protocol, over stdin and stdout. The agent's "
    "starts cost coins, up to the budget.\n\n"
    "Starts of the same kind with the same inputs are one task, paid once in all runs that share "
    "the journal. Results are saved only in --out; local inputs are read only from --files."
)


def mcp(
    *,
    budget: Annotated[
        int | None,
        Parameter(
            converter=WHOLE,
            help="Most coins that starts may cost, in all runs that share the journal. Without it "
            "nothing is started.",
        ),
    ] = None,
    unknown_cost: Annotated[
        int | None,
        Parameter(
            converter=WHOLE,
            help="Coins that a start counts in the budget if the service quotes no price; without "
            "it such starts are refused.",
        ),
    ] = None,
    journal: Annotated[
        Path | None,
        Parameter(
            help="File that records each start before it is paid; default: a2e-jobs.db in --out."
        ),
    ] = None,
    out: Annotated[Path, Parameter(name=("--out", "-o"), help="Directory for the results.")] = Path(
        "a2e-results"
    ),  # immutable
    files: Annotated[
        Path | None, Parameter(help="Directory whose files may be inputs; without it, none may.")
    ] = None,
    flags: ServiceFlags = ServiceFlags(),  # noqa: B008  # frozen
) -> int:
    """Serve A2E to an agent, over stdin and stdout."""

    async def serve(context: CommandContext) -> int:
        try:
            from a2e_async.contrib.mcp import make_server
        except ImportError as error:
            raise ConfigurationError(
                "a2e mcp needs the MCP SDK: pip install 'a2e-async[mcp]'."
            ) from error
        from a2e_async._core.journal.sqlite import SqliteJournal
        from a2e_async._core.submission.budget import Budget

        if files is not None and not files.is_dir():
            raise InvalidInput(f"--files {files} is not a directory.", field="files")
        if unknown_cost is not None and budget is None:
            raise InvalidInput("--unknown-cost needs --budget.", field="unknown_cost")
        prepare_directory(out)
        limit = (
            None
            if budget is None
            else Budget(budget, unknown_cost=unknown_cost, whole_journal=True)
        )
        opened = SqliteJournal(str(journal or out / "a2e-jobs.db"))
        async with context.client(opened, budget=limit) as a2e:
            server = make_server(a2e, out=out.resolve(), files=files, budget=limit)
            await _run_until_cancelled(server.run_stdio_async)
        return exit_codes.OK

    return run_command(flags, serve)


async def _run_until_cancelled(serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Serve until stdin ends; cancellation ends it, too.

    The MCP SDK reads stdin in a thread, which cannot be cancelled. Ctrl-C at a terminal, or the
    SIGTERM of a host that keeps stdin open, must not wait for another line. So the SDK reads from
    a socket that this side can close.
    """
    if os.name != "posix":
        await serve()
        return
    stdin = os.dup(0)
    writer, reader = socket.socketpair()
    os.dup2(reader.fileno(), 0)
    reader.close()
    threading.Thread(target=_forward, args=(stdin, writer), daemon=True).start()
    serving = asyncio.create_task(serve())
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        _end_stream(writer)
        await asyncio.wait([serving])
        raise


def _forward(stdin: int, writer: socket.socket) -> None:
    with suppress(OSError):  # the reader is closed
        while part := os.read(stdin, 65536):
            writer.sendall(part)
    _end_stream(writer)


def _end_stream(writer: socket.socket) -> None:
    with suppress(OSError):
        writer.shutdown(socket.SHUT_WR)
