"""``sandbox``: the service on this machine, in the foreground."""

from typing import Annotated

from cyclopts import Parameter, validators

from a2e_async.cli.desk import Desk, tell
from a2e_async.cli.printer import Printer
from a2e_async.cli.settings import Settings


def sandbox(
    *,
    host: Annotated[str, Parameter(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int,
        Parameter(
            help="Port of the API; 0 for a free one.",
            validator=validators.Number(gte=0, lte=65535),
        ),
    ] = 0,
    speed: Annotated[float, Parameter(help="How many times faster than in truth tasks run.")] = 60,
    seed: Annotated[int | None, Parameter(help="Makes runs alike.")] = None,
    settings: Settings = Settings(),  # noqa: B008  # frozen
) -> int:
    """Serve A2E on this machine, to try things with, without coins; Ctrl-C ends it."""
    from a2e_async.sandbox.__main__ import main as serve

    words = ["--host", host, "--port", str(port), "--speed", str(speed)]
    words += [] if seed is None else ["--seed", str(seed)]
    try:
        return serve([*words, "--json"] if settings.json else words)
    except (OSError, ValueError, OverflowError) as error:
        desk = Desk(settings=settings, printer=Printer(as_json=settings.json))
        return tell(error, desk, debug=settings.debug)
