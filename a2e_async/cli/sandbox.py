"""``sandbox``: a simulator of the service on this machine, in the foreground."""

import os
from typing import Annotated

from cyclopts import Parameter, validators

from a2e_async.cli.common_flags import OutputFlags
from a2e_async.cli.context import CommandContext
from a2e_async.cli.known_kinds import VARIABLE
from a2e_async.cli.printer import Printer
from a2e_async.cli.runner import report_error
from a2e_async.errors import ConfigurationError


def sandbox(
    *,
    host: Annotated[str, Parameter(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int,
        Parameter(
            help="Port of the API; 0 chooses a free one.",
            validator=validators.Number(gte=0, lte=65535),
        ),
    ] = 0,
    speed: Annotated[
        float, Parameter(help="How many times faster than in real time tasks run.")
    ] = 60,
    seed: Annotated[int | None, Parameter(help="Seed that makes runs repeatable.")] = None,
    flags: OutputFlags = OutputFlags(),  # noqa: B008  # frozen
) -> int:
    """Run a simulated A2E service on this machine until Ctrl-C. Free, offline.

    It also simulates the kinds of the file in A2E_KINDS.
    """
    from a2e_async.sandbox.__main__ import main as serve

    arguments = ["--host", host, "--port", str(port), "--speed", str(speed)]
    arguments += [] if seed is None else ["--seed", str(seed)]
    own = os.environ.get(VARIABLE, "").strip()
    arguments += ["--kinds", own] if own else []
    try:
        return serve([*arguments, "--json"] if flags.json else arguments)
    except (OSError, ValueError, OverflowError, ConfigurationError) as error:
        context = CommandContext(flags=flags, printer=Printer(as_json=flags.json))
        return report_error(error, context)
